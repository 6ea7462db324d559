"""Which networks are refused: an exact look-up for single clients, a walk for wider ones."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable

from monitor.bans import Ban, client_network

Network = ipaddress.IPv4Network | ipaddress.IPv6Network


class BanList:
    """The bans that hold, as this worker knows them."""

    def __init__(self) -> None:
        self._exact: dict[str, Ban] = {}
        self._wide: list[tuple[Network, Ban]] = []

    def __len__(self) -> int:
        return len(self._exact) + len(self._wide)

    def replace(self, bans: Iterable[Ban]) -> None:
        """Take the whole list anew."""
        self._exact, self._wide = {}, []
        for ban in bans:
            self.add(ban)

    def add(self, ban: Ban) -> None:
        """Take one more ban."""
        self.remove(ban.network)
        network = ipaddress.ip_network(ban.network)
        if network.prefixlen == (32 if network.version == 4 else 64):
            self._exact[ban.network] = ban
        else:
            self._wide.append((network, ban))

    def remove(self, network: str) -> None:
        """Forget the ban on exactly this network."""
        self._exact.pop(network, None)
        self._wide = [(n, ban) for n, ban in self._wide if ban.network != network]

    def find(self, address: str, now: float) -> Ban | None:
        """The ban that holds for a client's address at `now` (seconds since the epoch)."""
        if not self._exact and not self._wide:
            return None
        own = client_network(address)
        ban = self._exact.get(own)
        if ban is None and self._wide:
            ban = self._widest(ipaddress.ip_network(own))
        return ban if ban is not None and ban.holds(now) else None

    def _widest(self, own: Network) -> Ban | None:
        for network, ban in self._wide:
            if network.version == own.version and own.network_address in network:
                return ban
        return None
