"""The bans in force, as control knows them."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence

from monitor.bans import Ban

_NEVER = float("inf")


class Banned:
    """The bans in force, in memory; the store keeps them, the workers enforce them."""

    def __init__(self, bans: Iterable[Ban], clock: Callable[[], float] = time.time) -> None:
        self._by_network = {ban.network: ban for ban in sorted(bans, key=lambda ban: ban.since)}
        self._clock = clock
        self._listed: tuple[Ban, ...] | None = None
        """What `in_force` said, for as long as it is true: there may be very many."""
        self._listed_until = _NEVER

    def __contains__(self, network: str) -> bool:
        ban = self._by_network.get(network)
        return ban is not None and ban.holds(self._clock())

    def in_force(self) -> Sequence[Ban]:
        """Those that hold now, newest first."""
        now = self._clock()
        if self._listed is None or now >= self._listed_until:
            self._by_network = {n: ban for n, ban in self._by_network.items() if ban.holds(now)}
            bans = self._by_network.values()
            self._listed = tuple(sorted(bans, key=lambda ban: (-ban.since, ban.id)))
            ends = (ban.until for ban in bans if ban.until is not None)
            self._listed_until = min(ends, default=_NEVER)
        return self._listed

    def add(self, bans: Iterable[Ban]) -> None:
        """Take more, each in place of an older one on the same network."""
        self._by_network.update((ban.network, ban) for ban in bans)
        self._listed = None

    def remove(self, networks: Iterable[str]) -> None:
        """Forget those on exactly these networks."""
        for network in networks:
            self._by_network.pop(network, None)
        self._listed = None
