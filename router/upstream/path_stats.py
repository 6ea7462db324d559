"""Statistics of paths from traffic: kept here for a moment, and reported to control.

A path that fails is held by this worker at once, before control has said anything: the next
requests try it last, for twice as long each time that it fails again, since control may not be
there to say anything; once control has left the path out, its word counts. Where something on the
way cut off a TLS handshake, that goes for the whole endpoint, because every name may be cut off
there for a while, and for the name, because at another address it might do the same to that. A
handshake that another path has overtaken may have been dropped there, and counts as much.

Where all names lead to one address, the one that was cut off first is left out for much longer,
as long as another one works: it would shut that address for all of them again.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Final, TypeVar

from router.upstream.paths import CUT, LAST, SLOW, USABLE, Route, Trouble
from router.upstream.trials import Trials

HOLD = 5.0
"""Seconds: longer than control needs to find out more."""
MOST_HOLD = 160.0
"""What it doubles to: a name that is cut off is shown rarely by a worker that is left alone."""
MOST_ASIDE = 1800.0
"""Seconds that a name which was cut off is left out at an address that it shares with others, and
that the time between two trials of it doubles to while these do not work either."""
AT_ONCE = 1.5
"""Seconds after a cut within which another name that is answered at the same address shows that
nothing was shut by it ..."""
OPEN_FOR = 60.0
"""... and for which that is taken to stay so."""
LATELY = 5.0
"""Seconds since it was opened for which a path is tried once more when it is cut off: a server that
resets some hellos does so; a censor does not come between two requests as often."""
LONG: Final = 64 << 10
"""Bytes of an answer from which on its end shows that answers do not stop dead after some."""
MOST: Final = 512
"""Entries of each map; beyond it the oldest goes."""

K = TypeVar("K")
V = TypeVar("V")
_Key = tuple[str, str, int]
PathKey = tuple[str, str, str]
"""Mirror, hostname, address."""


class PathStats:
    """The owner of what one worker's traffic has shown of paths."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._held: dict[_Key, float] = {}
        self._seconds: dict[_Key, float] = {}
        """How long each path was held the last time, while it has not worked since."""
        self._aside: dict[_Key, float] = {}
        """Until when a path is left out where others lead to the same address, for its name was cut
        off there first."""
        self._trials: dict[tuple[str, int], Trials] = {}
        """By endpoint: those of names that are left out."""
        self._cut: dict[tuple[str, int], tuple[str, float]] = {}
        """By endpoint: the name that was cut off last there, and when."""
        self._stays_open: dict[tuple[str, int], float] = {}
        """By endpoint: until when a cut is taken to concern one name alone."""
        self._worked: dict[_Key, float] = {}
        """When each path was opened last."""
        self._failed: dict[tuple[PathKey, str, str], None] = {}
        self._opened: dict[PathKey, tuple[float, float]] = {}
        """How long the last opening of each took, and when it was."""
        self._transfers: list[tuple[str, int, bool]] = []
        self.served: dict[str, float] = {}
        """When each mirror has last given a whole answer of a model."""
        self.noticed = asyncio.Event()
        """Set when a name was cut off where it worked: others are about to show it elsewhere."""

    def __repr__(self) -> str:
        return f"<PathStats, {len(self._held)} held>"

    def failed(self, mirror: str, trouble: Trouble) -> None:
        """A path failed, or kept a request waiting."""
        route, shown = trouble.route, trouble.operation == "tls_handshake"
        cut = shown and trouble.failure in CUT
        until = self._clock() + self._grown(_of_path(route))
        if cut and not self._runs(_of_path(route)):
            self.noticed.set()
        self._held[_of_path(route)] = until
        if cut or (shown and trouble.failure == SLOW):
            endpoint, name = _of_cut(route)
            if not self._runs(endpoint) or self._runs(name):  # else another name has shut it
                self._held[name] = until
                if cut:
                    self._leave_out(route)
            self._held[endpoint] = until
        _bound(self._held)
        _bound(self._aside)
        # a control process that has just begun must not take the wrong name for the blocked one
        guilty = self._shut_by(route) if cut else None
        for host in (guilty or route.host, route.host):
            key = (mirror, host, route.address)
            self._failed[(key, trouble.operation, trouble.failure)] = None
        _bound(self._failed)

    def opened(self, mirror: str, route: Route, seconds: float) -> None:
        """A connection came about, TCP and TLS, in this time."""
        self._opened[(mirror, route.host, route.address)] = (seconds, self._clock())
        _bound(self._opened)
        self._worked.pop(_of_path(route), None)
        self._worked[_of_path(route)] = self._clock()
        _bound(self._worked)
        self._see_open(route, seconds)
        if self._held or self._seconds or self._aside:
            self._release(route)

    def _leave_out(self, route: Route) -> None:
        """The name was cut off while its address was not shut, as far as is known: one that is left
        out already may have shut it for longer than that is kept in mind."""
        endpoint, now = (route.address, route.port), self._clock()
        self._cut[endpoint] = (route.host, now)
        _bound(self._cut)
        if not self._is_open(endpoint) and self._shut_by(route) in (None, route.host):
            self._aside[_of_path(route)] = now + MOST_ASIDE

    def _shut_by(self, route: Route) -> str | None:
        """The name that is left out at the address of a route, if there is one."""
        endpoint, now = (route.address, route.port), self._clock()
        left_out = (k[0] for k, until in self._aside.items() if k[1:] == endpoint and now < until)
        return next(left_out, None)

    def _see_open(self, route: Route, seconds: float) -> None:
        """Note what an opened connection says about the address of names that were cut off."""
        endpoint, now = (route.address, route.port), self._clock()
        self._trials.pop(endpoint, None)
        name, at = self._cut.get(endpoint, (route.host, now))
        if name != route.host and at <= now - seconds and now - at < AT_ONCE:
            self._stays_open[endpoint] = now + OPEN_FOR
            _bound(self._stays_open)
            self._aside = {key: u for key, u in self._aside.items() if key[1:] != endpoint}

    def _is_open(self, endpoint: tuple[str, int]) -> bool:
        return self._clock() < self._stays_open.get(endpoint, 0.0)

    def _grown(self, key: _Key) -> float:
        """The seconds to hold a path that fails: longer if that was over when it failed again."""
        known = self._seconds.get(key)
        again = known is not None and not self._runs(key)
        seconds = min(2 * known, MOST_HOLD) if known and again else known or HOLD
        self._seconds[key] = seconds
        _bound(self._seconds)
        return seconds

    def _release(self, route: Route) -> None:
        self._seconds.pop(_of_path(route), None)
        self._aside.pop(_of_path(route), None)
        for held in (_of_path(route), *_of_cut(route)):
            self._held.pop(held, None)

    def broke_off(self, endpoint: tuple[str, int]) -> None:
        """A connection ended in place of an answer: for a moment another address is better."""
        self._held["", *endpoint] = self._clock() + HOLD
        _bound(self._held)

    def stalled(self, mirror: str, received: int) -> None:
        """An answer broke off after this many bytes of its body."""
        self._note(mirror, received, True)

    def completed(self, mirror: str, received: int) -> None:
        """An answer of at least `LONG` bytes came to its end."""
        self._note(mirror, received, False)

    def _note(self, mirror: str, received: int, stopped: bool) -> None:
        if len(self._transfers) < MOST:
            self._transfers.append((mirror, received, stopped))

    def in_order(self, routes: Iterable[Route], *, one_address: bool = False) -> list[Route]:
        """The routes, those that are held last, for more than one reason last of all, and after
        them what control has left out: it knows more, and its word is what counts from then on.

        `one_address`: nothing leads round the address of these. Then names that might shut it are
        left out as long as there is hope for another one.
        """
        known = list(routes)
        if self._held or self._seconds or self._aside:
            for route in known:
                if route.rank_after_a_cut != USABLE:
                    self._release(route)
            known.sort(key=self._place)
        if not one_address or not known or self._is_open((known[0].address, known[0].port)):
            return known
        safe = [r for r in known if r.rank < LAST and not self._is_aside(r)]
        hopeful = any(self._seconds.get(_of_path(route), 0.0) <= HOLD for route in safe)
        if hopeful or (safe and not self._may_try(safe[0])):
            return safe
        return [*safe, *(replace(route, rank=LAST) for route in known if route not in safe)]

    def worked_lately(self, route: Route) -> bool:
        """True if a connection came about over it a moment ago."""
        return self._clock() < self._worked.get(_of_path(route), -LATELY) + LATELY

    def _may_try(self, route: Route) -> bool:
        """True if it is time to try a name that is left out at this address: one request does."""
        endpoint, now = (route.address, route.port), self._clock()
        trials = self._trials.get(endpoint) or Trials(MOST_ASIDE)
        if not trials.may(now):
            return False
        trials.began(now)
        self._trials[endpoint] = trials
        _bound(self._trials)
        return True

    def _place(self, route: Route) -> tuple[int, int]:
        return route.rank_after_a_cut, sum(map(self._runs, (_of_path(route), *_of_cut(route))))

    def _is_aside(self, route: Route) -> bool:
        return self._clock() < self._aside.get(_of_path(route), 0.0)

    def _runs(self, key: _Key) -> bool:
        until = self._held.get(key)
        if until is None:
            return False
        if self._clock() < until:
            return True
        del self._held[key]
        return False

    def take_failed(self) -> list[list[object]]:
        """Failures since the last time: mirror, hostname, address, operation, failure."""
        failed, self._failed = self._failed, {}
        self.noticed.clear()
        return [[*path, operation, failure] for path, operation, failure in failed]

    def take_opened(self) -> list[list[object]]:
        """Paths that worked since the last time: the seconds that the last opening took, and how
        long ago it was, for somebody else may have failed since."""
        opened, self._opened = self._opened, {}
        now = self._clock()
        return [
            [*path, round(seconds, 6), round(now - at, 3)] for path, (seconds, at) in opened.items()
        ]

    def take_served(self) -> list[list[object]]:
        """Mirrors that served a request since the last time, and how long ago the last one was."""
        served, self.served = self.served, {}
        now = self._clock()
        return [[mirror, round(now - at, 3)] for mirror, at in served.items()]

    def take_transfers(self) -> list[list[object]]:
        """Longer answers since the last time: mirror, bytes, whether they broke off."""
        transfers, self._transfers = self._transfers, []
        return [list(transfer) for transfer in transfers]


def _of_path(route: Route) -> _Key:
    return (route.host, route.address, route.port)


def _of_cut(route: Route) -> tuple[_Key, _Key]:
    """The endpoint under every name, and the name at every endpoint."""
    return ("", route.address, route.port), (route.host, "", route.port)


def _bound(entries: dict[K, V]) -> None:
    while len(entries) > MOST:
        del entries[next(iter(entries))]
