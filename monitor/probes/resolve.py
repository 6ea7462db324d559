"""Which addresses does a name have? Those that could lead into a private network are refused.

A resolver that lies, or a mirror's owner, could otherwise point a name at the operator's own
machines, and requests with keys would be sent there.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable
from typing import Protocol

from monitor.probes.failures import failure_of
from monitor.probes.result import Operation, ProbeFailure

MAX_ADDRESSES = 16
_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")
"""The well-known prefix of RFC 6052: the last 32 bits are an IPv4 address."""

Address = ipaddress.IPv4Address | ipaddress.IPv6Address


class Resolver(Protocol):
    """A resolver that holds nobody up when it hangs (`dns/system.py`)."""

    async def addresses(self, hostname: str, timeout: float) -> list[str]:
        """The addresses of a name. Raises OSError, UnicodeError."""


async def resolve_host(
    host: str, allow_private: bool, timeout: float, system: Resolver
) -> tuple[str, ...]:
    """The addresses of a name, in the system resolver's order; an IP literal stands for itself.

    Raises ProbeFailure: the resolver's failure, or `dns_bogon_error` when all that it gave is
    private and `allow_private` does not permit that.
    """
    if (literal := as_address(host)) is not None:
        return (str(literal),)
    try:
        found = await system.addresses(host, timeout)
    except (OSError, UnicodeError) as error:
        raise ProbeFailure(Operation.resolve, failure_of(error)) from error
    return usable(found, allow_private)


def usable(answers: Iterable[str], allow_private: bool) -> tuple[str, ...]:
    """The answers that may be connected to, each once. Raises ProbeFailure when none is left."""
    unique = dict.fromkeys(a for a in map(as_address, answers) if a is not None)
    if not unique:
        raise ProbeFailure(Operation.resolve, "dns_no_answer")
    kept = [str(address) for address in unique if allow_private or is_public(address)]
    if not kept:
        raise ProbeFailure(Operation.resolve, "dns_bogon_error")
    return tuple(kept[:MAX_ADDRESSES])


def as_address(text: str) -> Address | None:
    """The address that `text` is, IPv4-mapped ones folded to IPv4; None for a name."""
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return None
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped:
        return address.ipv4_mapped
    return address


def is_public(address: Address) -> bool:
    """Whether an address lies in the public internet, wherever it is wrapped in IPv6."""
    if isinstance(address, ipaddress.IPv6Address):
        address = _unwrapped(address)
    return address.is_global and not address.is_multicast and not address.is_reserved


def _unwrapped(address: ipaddress.IPv6Address) -> Address:
    if address in _NAT64:
        return ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
    return address.sixtofour or address
