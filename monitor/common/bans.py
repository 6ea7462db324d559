"""A ban: which network may not come in, since when, until when and why."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Ban:
    """One decision to refuse a network. Times are seconds since the epoch."""

    id: str
    """Random and public; it never tells the address."""
    network: str
    """CIDR form: one IPv4 address is a /32, one IPv6 client its /64."""
    since: float
    until: float | None
    """None: until it is lifted by hand."""
    reason: str
    by: str
    """The operator, or "automatic"."""
    user_agent: str = ""
    count: int = 1
    """How many times this network has been banned so far."""

    def holds(self, now: float) -> bool:
        """True if the ban is in force at `now`."""
        return self.until is None or now < self.until


def client_network(text: str) -> str:
    """The network that stands for a client: IPv4-mapped folded, IPv6 widened to its /64.

    A network in CIDR form stays as wide as it is given. Raises ValueError.
    """
    if "/" in text:
        return str(_folded(ipaddress.ip_network(text, strict=False)))
    address = ipaddress.ip_address(text)
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
        address = address.ipv4_mapped
    width = 32 if address.version == 4 else 64
    return str(ipaddress.ip_network(f"{address}/{width}", strict=False))


def _folded(
    network: ipaddress.IPv4Network | ipaddress.IPv6Network,
) -> ipaddress.IPv4Network | ipaddress.IPv6Network:
    """An IPv4-mapped IPv6 network as the IPv4 network that it stands for (RFC 4291, 2.5.5.2)."""
    if isinstance(network, ipaddress.IPv4Network) or network.prefixlen < 96:
        return network
    mapped = network.network_address.ipv4_mapped
    return network if mapped is None else ipaddress.IPv4Network((mapped, network.prefixlen - 96))
