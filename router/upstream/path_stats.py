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
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import Final, TypeVar

from router.upstream.endpoint_stats import EndpointStats
from router.upstream.paths import LAST, RESERVE, USABLE, Route, Trouble

HOLD = 5.0
"""Seconds: longer than control needs to find out more."""
MOST_HOLD = 160.0
"""What it doubles to: a name that is cut off is shown rarely by a worker that is left alone."""
TOLD_FOR = 30.0
"""Seconds for which a cut is told to a new control process though this worker goes by it no more,
because the one before had left the path out: it may have died before that was stored."""
LONG: Final = 64 << 10
"""Bytes of an answer from which on its end shows that answers do not stop dead after some."""
MOST: Final = 512
"""Entries of each map; beyond it the oldest goes."""

K = TypeVar("K")
V = TypeVar("V")
_Key = tuple[str, str, int]
"""Hostname, address and port. Without hostname: the endpoint under every name; without address: the
name at every address."""
PathKey = tuple[str, str, str]
"""Mirror, hostname, address."""


class PathStats:
    """The owner of what one worker's traffic has shown of paths."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._held: dict[_Key, float] = {}
        """Until when each is tried after the others, on the clock."""
        self._cut_names: dict[_Key, None] = {}
        """Names that are held for a cut, not for a handshake that was overtaken."""
        self._seconds: dict[_Key, float] = {}
        """How long each path was held the last time, while it has not worked since."""
        self._endpoints: dict[tuple[str, int], EndpointStats] = {}
        """By address and port."""
        self._failed: dict[tuple[PathKey, str, str], None] = {}
        """Failures that control is to be told of, in their order: path, operation, failure."""
        self._troubles: dict[PathKey, tuple[Trouble, float]] = {}
        """The last failure of each path that has not worked since, and when that was."""
        self._opened: dict[PathKey, tuple[float, float]] = {}
        """How long the last opening of each took, and when it was."""
        self._transfers: list[tuple[str, int, bool]] = []
        """Longer answers that control is to be told of: mirror, bytes, True if it broke off."""
        self._served: dict[str, float] = {}
        """When each mirror has last given a whole answer of a model, on the clock."""
        self.noticed = asyncio.Event()
        """Set when a name was cut off where it worked: others are about to show it elsewhere."""

    def __repr__(self) -> str:
        return f"<PathStats, {len(self._held)} held>"

    def failed(self, mirror: str, trouble: Trouble) -> None:
        """A path failed, or kept a request waiting."""
        route, path = trouble.route, _of_path(trouble.route)
        until = self._clock() + self._grown(path)
        if trouble.is_cut and not self._runs(path):
            self.noticed.set()
        self._held[path] = until
        if trouble.may_be_cut:
            endpoint, name = _of_cut(route)
            if not self._runs(endpoint) or self._runs(name):  # else another name has shut it
                self._hold_name(name, until, cut=trouble.is_cut)
                if trouble.is_cut:
                    self._endpoint(route).cut_off(route.host, self._clock(), route.successes)
            self._held[endpoint] = until
        _bound(self._held)
        self._troubles[(mirror, route.host, route.address)] = trouble, self._clock()
        _bound(self._troubles)
        self._tell(mirror, trouble)

    def _hold_name(self, name: _Key, until: float, *, cut: bool) -> None:
        if cut:
            self._cut_names[name] = None
            _bound(self._cut_names)
        elif not self._runs(name):
            self._cut_names.pop(name, None)
        self._held[name] = until

    def _tell(self, mirror: str, trouble: Trouble) -> None:
        """Have control told of a failure: of a cut first under the name that may have shut the
        address, so that the one that failed is not blamed for it."""
        route = trouble.route
        blamed = self._endpoint(route).blamed(self._clock()) if trouble.is_cut else ""
        for host in (blamed or route.host, route.host):
            key = (mirror, host, route.address)
            self._failed[(key, trouble.operation, trouble.failure)] = None
        _bound(self._failed)

    def tell_again(self) -> None:
        """Have a new control process told of the failures that this worker goes by, and of cuts
        that the one before may have known and not stored."""
        now = self._clock()
        for (mirror, _, _), (trouble, at) in self._troubles.items():
            unstored = trouble.is_cut and now - at < TOLD_FOR
            if unstored or self._runs(_of_path(trouble.route)):
                self._tell(mirror, trouble)

    def opened(self, mirror: str, route: Route, seconds: float) -> None:
        """A connection came about, TCP and TLS, in this time."""
        path = (mirror, route.host, route.address)
        self._opened[path] = (seconds, self._clock())
        _bound(self._opened)
        self._troubles.pop(path, None)
        self._endpoint(route).opened(route.host, seconds, self._clock())
        self._release(route)

    def _endpoint(self, route: Route) -> EndpointStats:
        """The address and port that a route leads to."""
        if (known := self._endpoints.get(route.endpoint)) is None:
            known = self._endpoints[route.endpoint] = EndpointStats()
            _bound(self._endpoints)
        return known

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
        for held in (_of_path(route), *_of_cut(route)):
            self._held.pop(held, None)

    def broke_off(self, endpoint: tuple[str, int]) -> None:
        """A connection ended in place of an answer: for a moment another address is better."""
        self._held["", *endpoint] = self._clock() + HOLD
        _bound(self._held)

    def served(self, mirror: str, now: float) -> None:
        """A mirror has given a whole answer of a model."""
        self._served[mirror] = now

    def stalled(self, mirror: str, received: int) -> None:
        """An answer broke off after this many bytes of its body."""
        self._note(mirror, received, True)

    def completed(self, mirror: str, received: int) -> None:
        """An answer of at least `LONG` bytes came to its end."""
        self._note(mirror, received, False)

    def _note(self, mirror: str, received: int, stopped: bool) -> None:
        if len(self._transfers) < MOST:
            self._transfers.append((mirror, received, stopped))

    def in_order(
        self, routes: Iterable[Route], *, one_address: bool = False, beside: Iterable[Route] = ()
    ) -> list[Route]:
        """The routes, those that are held last, for more than one reason last of all, and after
        them what control has left out: it knows more. Its word counts from now on, so what was held
        against those by this worker is forgotten.

        `one_address`: nothing leads round the address of these, nor round that of the routes
        `beside` them, which are other mirrors'. Then names that might shut it are left out as long
        as there is hope for another one.
        """
        known, now = list(routes), self._clock()
        for route in known:
            if route.rank_after_a_cut != USABLE:
                self._release(route)
            endpoint, left_out = self._endpoint(route), route.rank == LAST
            if route.rank == RESERVE:  # it fails for another reason
                endpoint.let_in(route.host)
            endpoint.control_says(route.host, left_out, now, route.successes)
        known.sort(key=self._place)
        if not one_address or not known:
            return known
        return self._without_names_that_shut(known, beside)

    def _without_names_that_shut(
        self, known: Sequence[Route], beside: Iterable[Route]
    ) -> list[Route]:
        """The routes to the only address, but for names that might shut it: these only where there
        is no hope for another name, and then by one request at a time, after all others."""
        endpoint, now = self._endpoint(known[0]), self._clock()
        if endpoint.stays_open(now):
            return list(known)
        shut_by = endpoint.shut_by(now)
        safe = [route for route in known if route.rank < LAST and route.host != shut_by]
        others = [route for route in beside if route.rank < LAST and route.host != shut_by]
        # such as have not failed again after a first hold
        hopeful = any(self._seconds.get(_of_path(route), 0.0) <= HOLD for route in (*safe, *others))
        if hopeful or ((safe or others) and not endpoint.claim_trial(now)):
            return safe
        return [*safe, *(replace(route, rank=LAST) for route in known if route not in safe)]

    def worked_lately(self, route: Route) -> bool:
        """True if a connection came about over it a moment ago."""
        known = self._endpoints.get(route.endpoint)
        return known is not None and known.worked_lately(route.host, self._clock())

    def _place(self, route: Route) -> tuple[int, int]:
        """Its rank, and the weight of what it is held for."""
        endpoint, name = _of_cut(route)
        weight = 2 * self._runs(_of_path(route)) + 2 * self._runs(endpoint)
        if self._runs(name):  # a slow machine shows an overtaken handshake of any name
            weight += 2 if name in self._cut_names else 1
        return route.rank_after_a_cut, weight

    def _runs(self, key: _Key) -> bool:
        """True if it is held now."""
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
        served, self._served = self._served, {}
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
