"""Counts and rates that all workers of a host share, exact to one, in an anonymous file.

A row belongs to a key: a client, a mirror, an issued key. It has one count per worker, a column
each, and the times of its rate. Rows stand in buckets of `WAYS`; a bucket is looked at and changed
under a lock (`locks.py`), which passes on when its holder is killed. A count is written by its own
worker alone, so giving a place back needs no lock; and a dead worker's column can be cleared at one
stroke, whatever the others are doing.

Whoever waits for a lock longer than `LONGEST_WAIT`, or finds his bucket full of others with open
requests, is let in without being counted: the innocent are never refused for the table's sake. Both
are counted (`busy`, `full`).

Rates follow the generic cell rate algorithm (ITU-T I.371, "virtual scheduling"): a request comes
too early if the theoretical arrival time is more than the burst's worth ahead.
"""

from __future__ import annotations

import mmap
import os
import secrets
import time

from router.admission.locks import SIZE, address_of, grab, make_locks, taken, try_lock, unlock

ROWS = 1 << 16
"""Keys that are known at once; a row with nothing open is given away, the best rested first."""
WAYS = 16
_BUCKETS = ROWS // WAYS
_STRIPES = 1024
KEY = 16
"""Bytes of a key."""
_KEYS = 4096
_TIMES = _KEYS + ROWS * KEY
_LOCKS = _TIMES + ROWS * 16
_COUNTS = _LOCKS + _STRIPES * SIZE
_MASK = (1 << 128) - 1
_SHIFT = 128 - (_BUCKETS - 1).bit_length()
_MOST = 0xFFFF
_REMEMBERED = 4096

LONGEST_WAIT = 0.05
"""Seconds for a lock that is held for microseconds, unless its holder is stopped in between."""
LONGEST_PATIENCE = 10.0
"""Seconds that those who are refused are spread over."""
_ROUNDING = 1e-9

UNCOUNTED = -1
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
        make_locks(address, _STRIPES)
        del anchor
    return fd


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


class Table:
    """The table as one worker sees it. Not for threads: locks belong to one."""

    def __init__(self, fd: int, column: int, columns: int) -> None:
        """`fd` stays the caller's."""
        self.busy = 0
        """Requests that were not counted because a lock did not come in time."""
        self.full = 0
        """Requests that were not counted because no row was free for them."""
        self._file = mmap.mmap(fd, _COUNTS + 2 * ROWS * columns)
        whole = memoryview(self._file)
        self._times = whole[_TIMES:_LOCKS].cast("d")
        self._counts = whole[_COUNTS:].cast("H")
        self._own = column * ROWS
        self._factor = int.from_bytes(self._file[:16], "little")
        self._locks, self._anchor = address_of(self._file, _LOCKS)
        self._spots: dict[bytes, _Spot] = {}
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
        return sum(self._counts[self._own : self._own + ROWS])

    def acquire(self, key: bytes, limit: int) -> int:
        """A place among at most `limit` over all workers, to be given back; TOO_MANY if none."""
        return self.admit(key, 0.0, limit, 0.0, 0)[0]

    def gcra(self, key: bytes, rate: float, burst: int, now: float) -> float:
        """Count one request at `now`, or tell in how many seconds it may come; 0: it may.

        `rate` per second, `burst` more at once; `now` on the monotonic clock of this host.
        """
        return self.admit(key, now, 0, rate, burst)[1]

    def admit(
        self, key: bytes, now: float, limit: int, rate: float, burst: int, in_line: bool = True
    ) -> Answer:
        """Both at once: counted in both or in neither. A limit or rate of 0 is none.

        `in_line`: who finds no place is told when to try again; else he looks again by himself. The
        seconds told grow from one refusal to the next as if those refused stood in a line, so that
        they do not all come back at the same moment.
        """
        spot = self._spots.get(key) or self._spot(key)
        answer = grab(spot.lock)
        if answer and not taken(spot.lock, answer) and not self._insist(spot.lock):
            self.busy += 1
            return UNCOUNTED, 0.0
        try:
            row = spot.row
            if self._file[_KEYS + row * KEY : _KEYS + (row + 1) * KEY] != key:
                row = self._look_up(spot, key, now)
                if row < 0:
                    self.full += 1
                    return UNCOUNTED, 0.0
            if limit and sum(self._counts[row::ROWS]) >= limit:
                return TOO_MANY, self._patience(row, now, 0.0, 1 / limit) if in_line else 0.0
            if rate:
                interval, due = 1.0 / rate, self._times[2 * row]
                wait = due - now - burst * interval
                if wait > _ROUNDING:
                    wait = min(wait, interval)  # more only after the rate was raised
                    return TOO_FAST, self._patience(row, now, wait, interval)
                self._times[2 * row] = (due if due > now else now) + interval
            return (self._take(row) if limit else UNCOUNTED), 0.0
        finally:
            unlock(spot.lock)

    def release(self, place: int) -> None:
        """Give a place back, once."""
        if place >= 0:
            self._counts[self._own + place] -= 1

    def close(self) -> None:
        """Unmap the file."""
        self._times.release()
        self._counts.release()
        del self._anchor

    def _take(self, row: int) -> int:
        cell = self._own + row
        held = self._counts[cell]
        if held == _MOST:
            return UNCOUNTED
        self._counts[cell] = held + 1
        return row

    def _patience(self, row: int, now: float, least: float, step: float) -> float:
        """How long who is refused now shall wait: until after those refused before him."""
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
        spot = self._spots[key] = _Spot(bucket, self._locks + bucket % _STRIPES * SIZE)
        return spot

    def _look_up(self, spot: _Spot, key: bytes, now: float) -> int:
        """The key's row, a new one if need be; -1 if there is none."""
        start = _KEYS + spot.bucket * WAYS * KEY
        at = self._file.find(key, start, start + WAYS * KEY)
        while at >= 0 and at % KEY:
            at = self._file.find(key, at + 1, start + WAYS * KEY)
        row = (at - _KEYS) // KEY if at >= 0 else self._claim(spot.bucket, key, now)
        spot.row = max(row, spot.bucket * WAYS)
        return row

    def _claim(self, bucket: int, key: bytes, now: float) -> int:
        """The row of the bucket that nothing is open on and that has rested for longest."""
        rows = range(bucket * WAYS, (bucket + 1) * WAYS)
        times, counts = self._times, self._counts
        idle = [row for row in rows if not any(counts[row::ROWS])]
        if not idle:
            return -1
        row = min(idle, key=lambda row: times[2 * row])
        if times[2 * row] > now:
            self.full += 1  # somebody's rate is forgotten: he may come sooner than he should
        times[2 * row] = times[2 * row + 1] = 0.0
        self._file[_KEYS + row * KEY : _KEYS + (row + 1) * KEY] = key
        return row

    def _insist(self, lock: int) -> bool:
        """Another worker is at it: let it go on, and try again for a while."""
        until = time.monotonic() + LONGEST_WAIT
        while time.monotonic() < until:
            os.sched_yield()
            if try_lock(lock):
                return True
        return False
