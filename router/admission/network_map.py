"""Values by network: one look-up per width of network, however many networks there are."""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Iterator
from socket import AF_INET6, inet_aton, inet_pton
from typing import Generic, TypeVar

T = TypeVar("T")

Place = tuple[int, int, int]
"""IP version, number of host bits, and the network's own bits as a number."""


class NetworkMap(Generic[T]):
    """Values by network, found by an address within it."""

    def __init__(self) -> None:
        self._by_version: dict[int, dict[int, dict[int, T]]] = {4: {}, 6: {}}
        """By IP version and number of host bits; then by the network's bits alone."""

    def __len__(self) -> int:
        return sum(len(same) for widths in self._by_version.values() for same in widths.values())

    def __bool__(self) -> bool:
        return bool(self._by_version[4] or self._by_version[6])

    def __setitem__(self, network: str, value: T) -> None:
        """The value of exactly this network, which is in CIDR form."""
        version, width, bits = place(network)
        self._by_version[version].setdefault(width, {})[bits] = value

    def pop(self, network: str) -> T | None:
        """Forget exactly this network, and tell what its value was."""
        version, width, bits = place(network)
        same_width = self._by_version[version].get(width, {})
        value = same_width.pop(bits, None)
        if not same_width:
            self._by_version[version].pop(width, None)
        return value

    def retain(self, wanted: Callable[[T], bool]) -> None:
        """Forget every network whose value is not wanted."""
        for widths in self._by_version.values():
            for width, networks in list(widths.items()):
                kept = {bits: value for bits, value in networks.items() if wanted(value)}
                if kept:
                    widths[width] = kept
                else:
                    del widths[width]

    def around(self, version: int, number: int) -> Iterator[T]:
        """The values of the networks that this address is in."""
        for host_bits, networks in self._by_version[version].items():
            value = networks.get(number >> host_bits)
            if value is not None:
                yield value


def place(text: str) -> Place:
    """Where a network in CIDR form stands. Raises ValueError.

    An IPv4-mapped one stands where its IPv4 network does (RFC 4291 section 2.5.5.2). There may be
    very many, so this does without `ipaddress`, which takes ten times as long.
    """
    address, _, prefix = text.partition("/")
    try:
        if ":" not in address:
            host_bits = 32 - int(prefix or 32)
            return 4, host_bits, int.from_bytes(inet_aton(address)) >> host_bits
        host_bits = 128 - int(prefix or 128)
        number = int.from_bytes(inet_pton(AF_INET6, address))
    except (OSError, ValueError) as error:
        raise ValueError(f"{text} is not a network") from error
    if host_bits <= 32 and number >> 32 == 0xFFFF:
        return 4, host_bits, (number & 0xFFFFFFFF) >> host_bits
    return 6, host_bits, number >> host_bits


def in_cidr_form(text: str) -> str:
    """An address or network as operators write it, in CIDR form. Raises ValueError."""
    return str(ipaddress.ip_network(text, strict=False))
