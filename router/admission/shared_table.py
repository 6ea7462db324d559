"""Counts and rates that all workers of a host share, exact to one, in an anonymous file.

A row belongs to a key: a client, a mirror, an issued key. It has one count per worker, a column
each, and the times of its rate. Rows stand in buckets of `WAYS`; a bucket is looked at and changed
under a lock (`robust_mutex.py`), which passes on when its holder is killed. A count is written by
its own worker alone, so giving a place back needs no lock; and a dead worker's column can be
cleared at one stroke, whatever the others are doing. A place is first taken and then given back if
that makes too many: so no limit is exceeded even by a worker that does not have the lock.

Nobody waits for a lock. One that others have is tried a few times; then the request is counted
without it (`busy`): in the row of its key, where two at the same moment may both be refused the
last place, and a rate may miss a request. A key without a row is refused if the code that asks
tries again by itself, else counted by this worker alone, until the place is given back. A lock
that one process has kept for `STUCK_AFTER` is reported (`on_stuck`): its holder hangs.

A client whose bucket is full of others with open requests is let in without being counted (`full`):
the innocent are never refused for the table's sake.

Rates follow the generic cell rate algorithm (ITU-T I.371, "virtual scheduling"): a request comes
too early if the theoretical arrival time is more than the burst's worth ahead.

Where several hosts share the limits (`router/cluster`), a row has this host's share of them, set by
control: without one it is an even share. A refusal for want of a share is told (`on_short`).
"""

from __future__ import annotations

import mmap
import os
import re
import secrets
import time
from collections.abc import Callable
from math import ceil
from typing import Final

from router.admission.robust_mutex import (
    SIZE,
    address_of,
    grab,
    holder_in,
    holder_of,
    make_locks,
    taken,
    try_lock,
    unlock,
)

ROWS: Final = 1 << 16
"""Keys that are known at once; a row with nothing open is given away, the best rested first."""
WAYS = 16
_BUCKETS = ROWS // WAYS
STRIPES = 1024
"""Locks, each of several buckets."""
KEY: Final = 16
"""Bytes of a key."""
_STAMPS, _KEYS = 64, 4096
"""Between these, behind what places are drawn by, the moments of `Table.stamp_of`."""
_TIMES = _KEYS + ROWS * KEY
_LOCKS = _TIMES + ROWS * 16
_SHARES: Final = _LOCKS + STRIPES * SIZE
"""Two numbers of a row: this host's share of connections and of the rate, plus one; 0: none."""
_COUNTS: Final = _SHARES + 4 * ROWS
_HOSTS: Final = 16
"""The number of hosts that share all limits; 0 or 1: this one alone."""
_MASK = (1 << 128) - 1
_SHIFT = 128 - (_BUCKETS - 1).bit_length()
_MOST: Final = 0xFFFF
_USED = re.compile(rb"[^\0]")
_NOTHING: Final = bytes(4096)
_REMEMBERED = 4096
UNITS = 4096
"""Of a held amount; its counts go to sixteen times that."""
RATE_UNITS = 1000
"""Parts of a rate that hosts share."""

TRIES = 20
"""How often a lock that somebody has is tried again at once, the core being offered to others
before each: 20 µs in all when nobody wants it. It is held for 2 to 5 µs, if nothing interrupts."""
_INTERRUPTED = 0.05
"""Seconds for which a holder may be interrupted where many processes share a core: several slices
of Linux' scheduler (3 ms)."""
STUCK_AFTER = 1.0
"""Seconds after which a process that still holds the same lock hangs; also the time between two
messages of it."""
LONGEST_PATIENCE = 10.0
"""Seconds that those who are refused are spread over."""
_ROUNDING: Final = 1e-9

UNCOUNTED: Final = -1
"""A place that nobody has to give back."""
TOO_MANY = -2
TOO_FAST = -3

Answer = tuple[int, float]
"""A place, or why there is none, and then the seconds after which to try again."""


def create(columns: int) -> int:
    """A descriptor of an empty table for this many workers; the caller closes it.

    The place of a key is not to be guessed from outside, or a bucket could be filled on purpose.
    """
    fd = os.memfd_create("mirrorgate-table", os.MFD_CLOEXEC)
    os.ftruncate(fd, _COUNTS + 2 * ROWS * columns)
    with mmap.mmap(fd, _COUNTS) as memory:
        memory[:16] = (secrets.randbits(128) | 1).to_bytes(16, "little")
        address, anchor = address_of(memory, _LOCKS)
        make_locks(address, STRIPES)
        del anchor
    return fd


def holder_of_lock(fd: int, lock: int) -> int:
    """The process that has this lock, as numbered by `Table.on_stuck`; 0: none."""
    return holder_in(fd, _LOCKS + lock * SIZE)


def clear_column(fd: int, column: int) -> None:
    """Give back whatever the worker of this column holds: it is dead, or has just begun."""
    os.pwrite(fd, bytes(2 * ROWS), _COUNTS + 2 * ROWS * column)


class _Spot:
    """Where a key belongs, as it was found the last time."""

    __slots__ = ("bucket", "lock", "row")

    def __init__(self, bucket: int, lock: int) -> None:
        self.bucket = bucket
        self.lock = lock
        """The address of the bucket's lock."""
        self.row = bucket * WAYS
        """Where the key stood, if anywhere."""


class _HeldUp:
    """A lock that was never free when it was looked at."""

    __slots__ = ("due", "holder", "since")

    def __init__(self, holder: int, since: float) -> None:
        self.holder = holder
        self.since = since
        self.due = since + STUCK_AFTER
        """When to tell of it next."""


class Table:
    """The table as one worker sees it. Not for threads: locks belong to one."""

    __deletable__ = ("_anchor",)

    def __init__(
        self, fd: int, column: int, columns: int, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """`fd` stays the caller's; `clock` tells for how long a lock has been held."""
        self.busy = 0
        """Requests that were counted without the lock."""
        self.full = 0
        """Requests that were not counted because no row was free for them."""
        self.on_stuck: Callable[[int, int], None] = lambda lock, holder: None
        """Told the number of a lock and the process that does not give it back."""
        self.on_short: Callable[[bytes, int, float], None] = lambda key, limit, tolerance: None
        """Told of a refusal for want of a share: the key, and its limit over all hosts, or 0 and
        the seconds by which requests may come too early for its rate."""
        self.short = False
        """True if the last refusal was for want of a share."""
        self._file = mmap.mmap(fd, _COUNTS + 2 * ROWS * columns)
        whole = memoryview(self._file)
        self.stamps = whole[_STAMPS:_KEYS].cast("d")
        """Moments of the monotonic clock that every process may set and read."""
        self._times = whole[_TIMES:_LOCKS].cast("d")
        self._hosts = whole[_HOSTS : _HOSTS + 2].cast("H")
        self._shares = whole[_SHARES:_COUNTS].cast("H")
        self._counts = whole[_COUNTS:].cast("H")
        self._own = column * ROWS
        self._factor = int.from_bytes(self._file[:16], "little")
        self._locks, self._anchor = address_of(self._file, _LOCKS)
        self._spots: dict[bytes, _Spot] = {}
        self._clock = clock
        self._held_up: dict[int, _HeldUp] = {}
        """By the address of the lock."""
        self._private: Table | None = None
        """What this worker counts alone."""
        self._privately = 0
        """Places in it."""
        clear_column(fd, column)

    @classmethod
    def alone(cls) -> Table:
        """A table of one worker, which needs no locks."""
        fd = create(1)
        try:
            return cls(fd, 0, 1)
        finally:
            os.close(fd)

    def __repr__(self) -> str:
        return f"<Table column {self._own // ROWS}, {self.held} held, {self.full} uncounted>"

    @property
    def held(self) -> int:
        """Places that this worker holds."""
        return sum(self._counts[self._own : self._own + ROWS]) + self._privately

    def lock_of(self, key: bytes) -> int:
        """The address of the lock under which a key is counted."""
        return (self._spots.get(key) or self._spot(key)).lock

    def acquire(self, key: bytes, limit: int) -> int:
        """A place among at most `limit` over all workers of this host, to be given back; TOO_MANY
        if none."""
        return self.admit(key, 0.0, limit, 0.0, 0, with_wait=False, here=True)[0]

    def gcra(self, key: bytes, rate: float, burst: int, now: float) -> float:
        """Count one request at `now`, or tell in how many seconds it may come; 0: it may.

        `rate` per second, `burst` more at once; `now` on the monotonic clock of this host.
        """
        return self.admit(key, now, 0, rate, burst)[1]

    def admit(
        self,
        key: bytes,
        now: float,
        limit: int,
        rate: float,
        burst: int,
        with_wait: bool = True,
        here: bool = False,
    ) -> Answer:
        """Both at once: counted in both or in neither. A limit or rate of 0 is none.

        `with_wait`: a refusal comes with the seconds after which to try again; without, the caller
        tries again by itself. The seconds grow from one refusal to the next as if those refused
        were queued, so that they do not all come back at once. `here`: the limit is this host's.
        """
        self.short = False
        spot = self._spots.get(key) or self._spot(key)
        lock = spot.lock
        answer = grab(lock)
        if answer and not taken(lock, answer) and not self._insist(lock):
            found = self._without_lock(spot, key, now, limit, rate, burst, with_wait, here)
        else:
            if self._held_up:
                self._held_up.pop(lock, None)
            try:
                row = spot.row
                if self._file[_KEYS + row * KEY : _KEYS + (row + 1) * KEY] != key:
                    row = self._look_up(spot, key, now)
                    if row < 0:
                        return UNCOUNTED, 0.0
                found = self._enter(key, row, now, limit, rate, burst, with_wait, here)
            finally:
                unlock(lock)
        if self.short:
            too_many = found[0] == TOO_MANY
            self.on_short(key, limit if too_many else 0, 0.0 if too_many else burst / rate)
        return found

    def _enter(
        self,
        key: bytes,
        row: int,
        now: float,
        limit: int,
        rate: float,
        burst: int,
        with_wait: bool,
        here: bool,
    ) -> Answer:
        """Count a request in a row of its key."""
        counts, times, place, part, most = self._counts, self._times, UNCOUNTED, 1.0, limit
        if self._hosts[0] > 1 and not here:
            most, part = self._share(row, limit)
        cell = self._own + row
        own = counts[cell] if limit else _MOST  # no other process writes it
        if own != _MOST:
            place, less = row, most < limit
            counts[cell] = own + 1
            if self._privately:
                most -= self._open_privately(key)
            if sum(counts[row::ROWS]) > most:
                counts[cell] = own
                self.short = less
                return TOO_MANY, self._patience(row, now, 0.0, 1 / limit) if with_wait else 0.0
        if rate:
            interval, due = 1.0 / rate, times[2 * row]
            wait = due - now - burst * interval
            if wait > _ROUNDING or not part:
                self.release(place)
                self.short = part < 1.0
                wait = min(max(wait, 0.0), interval)  # more only after the rate was raised
                return TOO_FAST, self._patience(row, now, wait, interval)
            times[2 * row] = (due if due > now else now) + interval / part
        return place, 0.0

    def hold(self, key: bytes, now: float, amount: float, most: float, scale: float) -> Answer:
        """Hold an amount, in place of what this worker has held of this key, if all workers
        together then hold at most `most`. A place for `hold_less`, or why there is none; and what
        the others hold.

        Amounts are counted in units, rounded up: `UNITS` to the scale that the first holder names.
        """
        spot = self._spots.get(key) or self._spot(key)
        lock = spot.lock
        answer = grab(lock)
        if answer and not taken(lock, answer) and not self._insist(lock):
            self.busy += 1
            row = self._find(spot.bucket, key)
            known = row >= 0 and any(self._counts[row::ROWS])
            return self._hold_in(row, now, amount, most) if known else (UNCOUNTED, 0.0)
        self._held_up.pop(lock, None)
        try:
            row = spot.row
            if self._file[_KEYS + row * KEY : _KEYS + (row + 1) * KEY] != key:
                row = self._look_up(spot, key, now)
                if row < 0:
                    return UNCOUNTED, 0.0
            if not any(self._counts[row::ROWS]):
                self._times[2 * row + 1] = scale / UNITS
            return self._hold_in(row, now, amount, most)
        finally:
            unlock(lock)

    def _hold_in(self, row: int, now: float, amount: float, most: float) -> Answer:
        """Write first and look then: so the sum is kept also without the lock."""
        counts, cell, unit = self._counts, self._own + row, self._times[2 * row + 1]
        before, counts[cell] = counts[cell], min(_MOST, ceil(amount / unit))
        others = (sum(counts[row::ROWS]) - counts[cell]) * unit
        if others + amount > most:
            counts[cell] = before
            return TOO_MANY, others
        self._times[2 * row] = now
        return (row if counts[cell] else UNCOUNTED), others

    def hold_less(self, place: int, amount: float) -> None:
        """Hold no more than this from now on; with nothing held, the place is given back."""
        if place >= 0:
            unit = self._times[2 * place + 1]
            self._counts[self._own + place] = min(_MOST, ceil(max(amount, 0.0) / unit))

    def release(self, place: int) -> None:
        """Give a place back, once."""
        if place >= ROWS:
            assert self._private is not None
            self._privately -= 1
            self._private.release(place - ROWS)
        elif place >= 0:
            self._counts[self._own + place] -= 1

    # Shares of several hosts

    def set_hosts(self, hosts: int) -> None:
        """Share all limits with so many hosts, this one included."""
        self._hosts[0] = min(hosts, _MOST)

    @property
    def hosts(self) -> int:
        """The number of hosts that share the limits; 0 or 1: this one alone."""
        return self._hosts[0]

    def set_share(
        self, key: bytes, now: float, connections: int | None, rate: int | None, tolerance: float
    ) -> bool:
        """Set what this host may use of a key's limits; None: an even share. False if that has to
        be tried again.

        `rate` in `RATE_UNITS`. Requests that may still come at once stay as many: what a rate gains
        is empty at first (`tolerance`: seconds by which requests may come too early, burst/rate),
        so that a share that goes to and fro lets nobody send more.
        """
        spot = self._spots.get(key) or self._spot(key)
        lock = spot.lock
        answer = grab(lock)
        if answer and not taken(lock, answer) and not self._insist(lock):
            return False
        self._held_up.pop(lock, None)
        try:
            row = self._look_up(spot, key, now)
            if row < 0:
                return False
            _, before = self._share(row, 0)
            self._shares[2 * row] = 0 if connections is None else min(connections + 1, _MOST)
            self._shares[2 * row + 1] = 0 if rate is None else min(rate, RATE_UNITS) + 1
            _, after = self._share(row, 0)
            if after and after != before:
                ahead = min(max(self._times[2 * row] - now, 0.0), tolerance)
                kept = min(before * (tolerance - ahead) / after, tolerance)
                self._times[2 * row] = now + tolerance - kept
            return True
        finally:
            unlock(lock)

    def use_of(self, key: bytes) -> tuple[int, float]:
        """Places that all workers hold of a key, and its theoretical arrival time; nothing is
        locked."""
        row = self._find(self._spot(key).bucket, key)
        return (sum(self._counts[row::ROWS]), self._times[2 * row]) if row >= 0 else (0, 0.0)

    def forget_shares(self) -> None:
        """Go back to even shares of everything, as control does when it begins."""
        self._file[_SHARES:_COUNTS] = bytes(_COUNTS - _SHARES)

    def _share(self, row: int, limit: int) -> tuple[int, float]:
        """The part of a limit, and of the rate, that this host may use."""
        hosts = self._hosts[0]
        if hosts < 2:
            return limit, 1.0
        connections, rate = self._shares[2 * row], self._shares[2 * row + 1]
        most = connections - 1 if connections else -(-limit // hosts)
        return min(most, limit), (rate - 1) / RATE_UNITS if rate else 1.0 / hosts

    def stamp_of(self, key: bytes) -> int:
        """The place of a key's moment in `stamps`; two keys may share one."""
        return int.from_bytes(key, "little") % len(self.stamps)

    def open_by_key(self) -> dict[bytes, int]:
        """Places that all workers together hold, by key; about right, as nothing is locked."""
        places = range(_COUNTS, len(self._file), len(_NOTHING))
        used = (at for at in places if self._file[at : at + len(_NOTHING)] != _NOTHING)
        rows = {
            (found.start() - _COUNTS) // 2 % ROWS
            for at in used
            for found in _USED.finditer(self._file, at, at + len(_NOTHING))
        }
        return {
            bytes(self._file[_KEYS + row * KEY : _KEYS + (row + 1) * KEY]): sum(
                self._counts[row::ROWS]
            )
            for row in rows
        }

    def close(self) -> None:
        """Unmap the file."""
        self.stamps.release()
        self._times.release()
        self._hosts.release()
        self._shares.release()
        self._counts.release()
        del self._anchor
        if self._private is not None:
            self._private.close()

    # A lock that others have

    def _insist(self, lock: int) -> bool:
        """Try it a few times more, unless that failed before: then find its holder."""
        held_up, holder = self._held_up.get(lock), holder_of(lock)
        if held_up is None or held_up.holder != holder:
            for _ in range(TRIES):
                os.sched_yield()
                if try_lock(lock):
                    return True
            self._held_up[lock] = _HeldUp(holder, self._clock())
        elif self._clock() >= held_up.due and holder:
            held_up.due = self._clock() + STUCK_AFTER
            self.on_stuck((lock - self._locks) // SIZE, holder)
        return False

    def _without_lock(
        self,
        spot: _Spot,
        key: bytes,
        now: float,
        limit: int,
        rate: float,
        burst: int,
        with_wait: bool,
        here: bool,
    ) -> Answer:
        """As `admit`, as far as that can be done without the lock."""
        row = self._find(spot.bucket, key)
        if row >= 0:
            answer = self._enter(key, row, now, limit, rate, burst, with_wait, here)
            if self._find(spot.bucket, key) == row:
                self.busy += 1
                return answer
            self.release(answer[0])  # the row was given away in the same moment
        held_up = self._held_up[spot.lock]
        if limit and not with_wait and self._clock() < held_up.since + _INTERRUPTED:
            return TOO_MANY, 0.0
        self.busy += 1
        if self._private is None:
            self._private = Table.alone()
        place, wait = self._private.admit(key, now, limit, rate, burst, with_wait)
        if place < 0:
            return place, wait
        self._privately += 1
        return place + ROWS, wait

    def _open_privately(self, key: bytes) -> int:
        """Places of a key that only this worker knows of."""
        private = self._private
        assert private is not None
        row = private._find(private._spot(key).bucket, key)
        return private._counts[row] if row >= 0 else 0

    # Rows

    def _patience(self, row: int, now: float, least: float, step: float) -> float:
        """Seconds that the next rejected request shall wait: until after those rejected before
        it."""
        cell = 2 * row + 1
        turn = max(now + least, min(self._times[cell], now + LONGEST_PATIENCE) + step)
        turn = min(turn, max(now + least, now + LONGEST_PATIENCE))
        self._times[cell] = turn
        return turn - now

    def _spot(self, key: bytes) -> _Spot:
        """Where a key belongs: multiply-shift hashing with a secret factor."""
        if len(self._spots) >= _REMEMBERED:
            self._spots.clear()
        bucket = (int.from_bytes(key, "little") * self._factor & _MASK) >> _SHIFT
        spot = self._spots[key] = _Spot(bucket, self._locks + bucket % STRIPES * SIZE)
        return spot

    def _look_up(self, spot: _Spot, key: bytes, now: float) -> int:
        """The key's row, a new one if need be; -1, which is counted, if there is none."""
        row = self._find(spot.bucket, key)
        if row < 0:
            row = self._claim(spot.bucket, key, now)
        self.full += row < 0
        spot.row = max(row, spot.bucket * WAYS)
        return row

    def _find(self, bucket: int, key: bytes) -> int:
        """The row where the key stands; -1 if it stands nowhere."""
        start = _KEYS + bucket * WAYS * KEY
        at = self._file.find(key, start, start + WAYS * KEY)
        while at >= 0 and at % KEY:
            at = self._file.find(key, at + 1, start + WAYS * KEY)
        return (at - _KEYS) // KEY if at >= 0 else -1

    def _claim(self, bucket: int, key: bytes, now: float) -> int:
        """The row of the bucket that nothing is open on and that has rested for longest."""
        rows = range(bucket * WAYS, (bucket + 1) * WAYS)
        times, counts = self._times, self._counts
        idle = [row for row in rows if not any(counts[row::ROWS])]
        if not idle:
            return -1
        row = min(idle, key=lambda row: times[2 * row])
        at = slice(_KEYS + row * KEY, _KEYS + (row + 1) * KEY)
        before, self._file[at] = self._file[at], key
        if any(counts[row::ROWS]):  # a process without the lock was faster
            self._file[at] = before
            return -1
        if times[2 * row] > now:
            self.full += (
                1  # the rate of another key is forgotten: its next request may come too soon
            )
        times[2 * row] = times[2 * row + 1] = 0.0
        self._shares[2 * row] = self._shares[2 * row + 1] = 0
        return row
