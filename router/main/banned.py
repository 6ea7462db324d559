"""The bans in force, as control knows them."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable

from monitor.bans import Ban


class Banned:
    """The bans in force, in memory; the store keeps them, the workers enforce them."""

    def __init__(self, bans: Iterable[Ban], clock: Callable[[], float] = time.time) -> None:
        self._by_network = {ban.network: ban for ban in sorted(bans, key=lambda ban: ban.since)}
        self._clock = clock

    def in_force(self) -> list[Ban]:
        """Those that hold now, newest first."""
        now = self._clock()
        self._by_network = {n: ban for n, ban in self._by_network.items() if ban.holds(now)}
        return sorted(self._by_network.values(), key=lambda ban: (-ban.since, ban.id))

    def add(self, ban: Ban) -> None:
        """Take one more, in place of an older one on the same network."""
        self._by_network[ban.network] = ban

    def remove(self, network: str) -> None:
        """Forget the one on exactly this network."""
        self._by_network.pop(network, None)
