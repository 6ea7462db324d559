"""Which networks are refused: one look-up per width of network, however many bans there are."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable

from monitor.bans import Ban

Address = ipaddress.IPv4Address | ipaddress.IPv6Address


class BanList:
    """The bans that hold, as this worker knows them."""

    def __init__(self) -> None:
        self._by_width: dict[tuple[int, int], dict[int, Ban]] = {}
        """By IP version and number of host bits; then by the network's bits alone."""

    def __len__(self) -> int:
        return sum(map(len, self._by_width.values()))

    def replace(self, bans: Iterable[Ban]) -> None:
        """Take the whole list anew."""
        self._by_width = {}
        for ban in bans:
            self.add(ban)

    def add(self, ban: Ban) -> None:
        """Take one more ban; one on the same network takes the place of the former."""
        width, bits = _place(ban.network)
        self._by_width.setdefault(width, {})[bits] = ban

    def remove(self, network: str) -> None:
        """Forget the ban on exactly this network."""
        width, bits = _place(network)
        same_width = self._by_width.get(width, {})
        same_width.pop(bits, None)
        if not same_width:
            self._by_width.pop(width, None)

    def find(self, address: str, now: float) -> Ban | None:
        """A ban that holds for a client's address at `now` (seconds since the epoch).

        An IPv4-mapped IPv6 address counts as the IPv4 address. What is no IP address (a client on
        a Unix socket) is never banned.
        """
        if not self._by_width:
            return None
        client = _client(address)
        if client is None:
            return None
        version, number = client.version, int(client)
        for (banned_version, host_bits), networks in self._by_width.items():
            if banned_version == version:
                ban = networks.get(number >> host_bits)
                if ban is not None and ban.holds(now):
                    return ban
        return None


def _place(text: str) -> tuple[tuple[int, int], int]:
    network = ipaddress.ip_network(text)
    host_bits = network.max_prefixlen - network.prefixlen
    return (network.version, host_bits), int(network.network_address) >> host_bits


def _client(text: str) -> Address | None:
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return None
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
        return address.ipv4_mapped
    return address
