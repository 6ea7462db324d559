"""Which networks are refused: one look-up per width of network, however many bans there are.

A worker keeps of each ban what the refusal says, and of those that came as a whole list 30 bytes
each: there may be 100,000 of them.
"""

from __future__ import annotations

import struct
from array import array
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple, TypeVar

from monitor.common.bans import Ban
from router.admission.client_address import Client
from router.admission.network_map import NetworkMap, place

T = TypeVar("T")

_UNTIL = struct.Struct("<d")
_FOREVER = float("inf")
_LIFTED = 0.0
_ID_SIZE = 12
_MOST_REASONS = 0xFFFF
_PURGE_AFTER = 1000

Row = Sequence[Any]
"""A ban as it travels to workers: network, end (None: never), id, reason."""


class Held(NamedTuple):
    """A ban as a worker knows it."""

    id: str
    until: float | None
    """Seconds since the epoch; None: until it is lifted."""
    reason: str


def rows_of(bans: Iterable[Ban]) -> list[Row]:
    """Rows of bans for workers, in the order in which a list takes least memory."""
    rows = [(ban.network, ban.until, ban.id, ban.reason) for ban in bans]
    return sorted(rows, key=lambda row: place(row[0]))


class BanList:
    """The bans that hold, as this worker knows them."""

    def __init__(self) -> None:
        self._whole: dict[int, dict[int, _Sorted]] = {4: {}, 6: {}}
        """What came as a list, by IP version and number of host bits."""
        self._since: NetworkMap[bytes] = NetworkMap()
        self._reasons: dict[str, int] = {}
        self._purge_at = _PURGE_AFTER
        self.some = False
        """True if there may be a ban at all; asked with every request."""

    def __len__(self) -> int:
        listed = (len(each) for widths in self._whole.values() for each in widths.values())
        return len(self._since) + sum(listed)

    def __repr__(self) -> str:
        return f"<BanList of {len(self)}>"

    def extend(self, rows: Iterable[Row]) -> None:
        """Take a piece of the whole list, which is as `rows_of` makes it."""
        for row in rows:
            self.some = True
            version, width, bits = place(row[0])
            known = self._whole[version].get(width)
            if known is None:
                known = self._whole[version][width] = _Sorted()
            reason = self._reasons.setdefault(row[3], len(self._reasons))
            if reason > _MOST_REASONS or not known.append(bits, _end(row[1]), row[2], reason):
                self.add([row])

    def add(self, rows: Iterable[Row]) -> None:
        """Take more bans; one on the same network takes the place of the former."""
        for network, until, ban_id, reason in rows:
            self.some = True
            self._lift(network)
            self._since[network] = _UNTIL.pack(_end(until)) + f"{ban_id} {reason}".encode()

    def remove(self, networks: Iterable[str]) -> None:
        """Forget the bans on exactly these networks."""
        for network in networks:
            self._lift(network)
            self._since.pop(network)
        self.some = bool(self._since or self._whole[4] or self._whole[6])

    def purge(self, now: float) -> None:
        """Forget what has ended, when that may have become much."""
        if len(self._since) >= self._purge_at:
            self._since.retain(lambda packed: now < _UNTIL.unpack_from(packed)[0])
            self._purge_at = 2 * len(self._since) + _PURGE_AFTER

    def find(self, client: Client, now: float) -> Held | None:
        """A ban that holds for a client at `now` (seconds since the epoch).

        What has no IP address is never banned.
        """
        version, number = client.version, client.number
        if not version:
            return None
        for packed in self._since.around(version, number):
            (end,) = _UNTIL.unpack_from(packed)
            if now < end:
                ban_id, _, reason = packed[_UNTIL.size :].decode().partition(" ")
                return _held(ban_id, end, reason)
        for width, listed in self._whole[version].items():
            at = listed.index(number >> width)
            if at >= 0 and now < listed.ends[at]:
                return _held(listed.id(at), listed.ends[at], self._reason(listed.reasons[at]))
        return None

    def _lift(self, network: str) -> None:
        version, width, bits = place(network)
        listed = self._whole[version].get(width)
        if listed is not None and (at := listed.index(bits)) >= 0:
            listed.ends[at] = _LIFTED

    def _reason(self, number: int) -> str:
        return next(text for text, known in self._reasons.items() if known == number)


class _Sorted:
    """Bans on networks of one width, side by side in arrays."""

    def __init__(self) -> None:
        self._bits: array[int] = array("Q")
        self.ends: array[float] = array("d")
        self._ids = bytearray()
        self.reasons: array[int] = array("H")

    def __len__(self) -> int:
        return sum(end != _LIFTED for end in self.ends)

    def append(self, bits: int, end: float, ban_id: str, reason: int) -> bool:
        """Take a ban behind the last one; False if that is not where it belongs."""
        name = ban_id.encode()
        if bits >> 64 or len(name) != _ID_SIZE or (self._bits and bits <= self._bits[-1]):
            return False
        self._bits.append(bits)
        self.ends.append(end)
        self._ids += name
        self.reasons.append(reason)
        return True

    def index(self, bits: int) -> int:
        """Where the ban on exactly this network is, or -1."""
        if bits >> 64:
            return -1
        at = bisect_left(self._bits, bits)
        return at if at < len(self._bits) and self._bits[at] == bits else -1

    def id(self, at: int) -> str:
        """The id of the ban there."""
        return self._ids[at * _ID_SIZE : (at + 1) * _ID_SIZE].decode()


def _end(until: float | None) -> float:
    return _FOREVER if until is None else until


def _held(ban_id: str, end: float, reason: str) -> Held:
    return Held(ban_id, None if end == _FOREVER else end, reason)


def pieces(items: Sequence[T], size: int = 2000) -> Iterator[Sequence[T]]:
    """A long list in pieces that a worker takes without keeping its clients waiting."""
    for start in range(0, len(items), size):
        yield items[start : start + size]
