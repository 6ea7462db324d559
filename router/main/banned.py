"""The bans in force, as control knows them."""

from __future__ import annotations

import time
from bisect import bisect_left, insort
from collections.abc import Callable, Collection, Iterable, Sequence
from heapq import heapify, heappop, heappush

from monitor.bans import Ban

_FEW = 64
"""More changes than these at once are cheaper as one pass over all bans."""

_Row = tuple[float, str, str]
"""When a ban began, its id and its network."""


class Banned:
    """The bans in force, in memory; the store keeps them, the workers enforce them.

    There may be very many, and somebody always looks: they are kept in order, and those that end
    are found in a heap, so that neither a change nor a page of the list costs a pass over all.
    """

    def __init__(self, bans: Iterable[Ban], clock: Callable[[], float] = time.time) -> None:
        self._by_network = {ban.network: ban for ban in sorted(bans, key=lambda ban: ban.since)}
        self._clock = clock
        self._rows: list[_Row] = []
        self._ends: list[tuple[float, str]] = []
        """When the ban on which network ends; some of them may be gone or replaced."""
        self._order()

    def __contains__(self, network: str) -> bool:
        ban = self._by_network.get(network)
        return ban is not None and ban.holds(self._clock())

    def __len__(self) -> int:
        self._end()
        return len(self._rows)

    def newest(self, most: int, after: tuple[float, str] | None = None) -> Sequence[Ban]:
        """Up to so many, newest first; `after`: only those behind this beginning and id."""
        self._end()
        stop = len(self._rows) if after is None else bisect_left(self._rows, after)
        rows = self._rows[max(0, stop - most) : stop]
        return [self._by_network[network] for _, _, network in reversed(rows)]

    def in_force(self) -> Sequence[Ban]:
        """All that hold now, newest first."""
        return self.newest(len(self))

    def add(self, bans: Iterable[Ban]) -> None:
        """Take more, each in place of an older one on the same network."""
        bans = {ban.network: ban for ban in bans}.values()
        self.remove([ban.network for ban in bans if ban.network in self._by_network])
        self._by_network.update((ban.network, ban) for ban in bans)
        if len(bans) > _FEW or len(self._ends) > 2 * len(self._by_network) + _FEW:
            return self._order()
        for ban in bans:
            insort(self._rows, _row(ban))
            if ban.until is not None:
                heappush(self._ends, (ban.until, ban.network))

    def remove(self, networks: Iterable[str]) -> None:
        """Forget those on exactly these networks."""
        gone = [ban for n in networks if (ban := self._by_network.pop(n, None)) is not None]
        self._drop(gone)

    def _end(self) -> None:
        """Forget those whose time is over."""
        now, gone = self._clock(), []
        while self._ends and self._ends[0][0] <= now:
            _, network = heappop(self._ends)
            ban = self._by_network.get(network)
            if ban is not None and not ban.holds(now):
                gone.append(self._by_network.pop(network))
        self._drop(gone)

    def _drop(self, gone: Collection[Ban]) -> None:
        if len(gone) > _FEW:
            return self._order()
        for ban in gone:
            del self._rows[bisect_left(self._rows, _row(ban))]

    def _order(self) -> None:
        bans = self._by_network.values()
        self._rows = sorted(map(_row, bans))
        self._ends = [(ban.until, ban.network) for ban in bans if ban.until is not None]
        heapify(self._ends)


def _row(ban: Ban) -> _Row:
    return ban.since, ban.id, ban.network
