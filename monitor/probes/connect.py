"""Name resolution and TCP connections; addresses in private networks are refused."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import ipaddress
import socket
import struct
import time
from collections.abc import Awaitable, Callable, Iterable
from typing import Protocol, TypeAlias

from monitor.probes.failures import failure_of
from monitor.probes.results import Operation, ProbeFailure, StepResult

_LINGER = struct.Struct("ii")
_SIOCGIFFLAGS, _LOOPBACK, _RUNNING = 0x8913, 0x8, 0x40


Dial: TypeAlias = Callable[
    [str, int, float, str], Awaitable[tuple[socket.socket | None, StepResult]]
]
"""Opens a connection as `connect` does: address, port, timeout in seconds, hostname of the path."""


async def connect(
    address: str, port: int, timeout: float, hostname: str = ""
) -> tuple[socket.socket | None, StepResult]:
    """Connect to an IP address. The caller closes the socket, which is None after a failure."""
    started = time.perf_counter()
    failure: str | None = None
    connection: socket.socket | None = None
    try:
        async with asyncio.timeout(timeout):
            connection = await _connected(address, port)
    except OSError as error:
        failure = failure_of(error)
    seconds = time.perf_counter() - started
    return connection, StepResult(Operation.connect, failure, seconds, address, hostname=hostname)


async def _connected(address: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    connection = socket.socket(family, socket.SOCK_STREAM)
    try:
        connection.setblocking(False)
        await asyncio.get_running_loop().sock_connect(connection, (address, port))
    except BaseException:
        connection.close()
        raise
    return connection


def has_route() -> bool:
    """True if the kernel knows a way to public addresses; nothing is sent to find that out."""
    for family, address in (
        (socket.AF_INET, "192.0.2.1"),  # RFC 5737
        (socket.AF_INET6, "2001:db8::1"),  # RFC 3849
    ):
        with contextlib.suppress(OSError), socket.socket(family, socket.SOCK_DGRAM) as probe:
            probe.connect((address, 9))
            return True
    return False


def fall_silent_on_close(connection: socket.socket, whether: bool) -> None:
    """Have `close` forget unacknowledged bytes, with an RST (SO_LINGER in socket(7)).

    Else the kernel would go on sending a hello that was met with silence, for minutes, and its name
    to an address that is left alone.
    """
    with contextlib.suppress(OSError):  # it may have ended meanwhile
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER.pack(whether, 0))


def dead_links() -> tuple[str, ...] | None:
    """Interfaces of this machine other than loopback if none is up and connected (netdevice(7)).

    None if one is, or where that cannot be seen.
    """
    try:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
            flags = {name: _flags(any_socket, name) for _, name in socket.if_nameindex()}
    except OSError:
        return None
    others = {name: flag for name, flag in flags.items() if not flag & _LOOPBACK}
    return None if any(flag & _RUNNING for flag in others.values()) else tuple(others)


def _flags(any_socket: socket.socket, interface: str) -> int:
    request = struct.pack("16sh14x", interface.encode(), 0)
    return int(struct.unpack("16sh14x", fcntl.ioctl(any_socket, _SIOCGIFFLAGS, request))[1])


MAX_ADDRESSES = 16
_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")
"""The well-known prefix of RFC 6052: the last 32 bits are an IPv4 address."""

Address = ipaddress.IPv4Address | ipaddress.IPv6Address


class Resolver(Protocol):
    """A resolver that does not block its callers when it hangs (`system_resolver.py`)."""

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
    found = dict.fromkeys(a for a in map(as_address, answers) if a is not None)
    unique = [address for address in found if is_of_a_host(address)]
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


def is_of_a_host(address: Address) -> bool:
    """False for an address that stands for no host, whatever the network: 0.0.0.0 and :: are how
    filtering resolvers say that a name has none, and connecting to them leads to this machine."""
    return not address.is_unspecified


def is_public(address: Address) -> bool:
    """True if an address lies in the public internet, wherever it is wrapped in IPv6."""
    if isinstance(address, ipaddress.IPv6Address):
        address = _unwrapped(address)
    return address.is_global and not address.is_multicast and not address.is_reserved


def _unwrapped(address: ipaddress.IPv6Address) -> Address:
    if address in _NAT64:
        return ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
    return address.sixtofour or address
