"""Writes databases in the MaxMind DB format 2.0, small ones, for tests.

Source: maxmind.github.io/MaxMind-DB. Networks are given in CIDR form; the tree is of IPv6 addresses
with IPv4 ones at ::/96, as in published files, or of IPv4 addresses alone.
"""

import ipaddress
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any

_UINT16, _UINT32, _UINT64 = 5, 6, 9
_MARKER = b"\xab\xcd\xefMaxMind.com"


def write_mmdb(
    path: Path, records: Mapping[str, Any], database_type: str = "Test", ip_version: int = 6
) -> Path:
    """Write a database of these records by network, and return its path."""
    data, offsets = b"", {}
    for network, record in records.items():
        offsets[network] = len(data)
        data += encoded(record)
    nodes: list[list[int | None]] = [[None, None]]
    leaves: dict[tuple[int, int], int] = {}
    for network, offset in offsets.items():
        bits = _bits(network, ip_version)
        node = 0
        for bit in bits[:-1]:
            following = nodes[node][bit]
            if following is None:
                nodes.append([None, None])
                following = nodes[node][bit] = len(nodes) - 1
            node = following
        leaves[node, bits[-1]] = offset
    count = len(nodes)
    tree = b""
    for index, node_ in enumerate(nodes):
        for bit in (0, 1):
            if (index, bit) in leaves:
                value = count + 16 + leaves[index, bit]
            else:
                following = node_[bit]
                value = count if following is None else following
            tree += struct.pack(">I", value)
    metadata = {
        "binary_format_major_version": (_UINT16, 2),
        "binary_format_minor_version": (_UINT16, 0),
        "build_epoch": (_UINT64, 1_790_000_000),
        "database_type": database_type,
        "description": {"en": "a test"},
        "ip_version": (_UINT16, ip_version),
        "languages": ["en", "zh-CN"],
        "node_count": count,
        "record_size": (_UINT16, 32),
    }
    path.write_bytes(tree + bytes(16) + data + _MARKER + encoded(metadata))
    return path


def _bits(network: str, ip_version: int) -> list[int]:
    parsed = ipaddress.ip_network(network)
    number, length = int(parsed.network_address), parsed.prefixlen
    width = 32 if ip_version == 4 else 128
    if parsed.version == 4 and ip_version == 6:
        length += 96
    return [number >> (width - 1 - i) & 1 for i in range(length)]


def encoded(value: Any) -> bytes:
    """One value of the data section."""
    if isinstance(value, str):
        return _control(2, len(value.encode())) + value.encode()
    if isinstance(value, Mapping):
        inner = b"".join(encoded(k) + encoded(v) for k, v in value.items())
        return _control(7, len(value)) + inner
    if isinstance(value, list):
        return _control(11, len(value)) + b"".join(map(encoded, value))
    if isinstance(value, int):
        value = (_UINT32, value)
    if isinstance(value, tuple):
        kind, number = value
        raw: bytes = number.to_bytes((number.bit_length() + 7) // 8)
        return _control(kind, len(raw)) + raw
    raise TypeError(type(value))


def _control(kind: int, size: int) -> bytes:
    assert size < 285
    first = 29 if size >= 29 else size
    extended = bytes([kind - 7]) if kind > 7 else b""
    head = bytes([(0 if kind > 7 else kind) << 5 | first]) + extended
    return head + (bytes([size - 29]) if size >= 29 else b"")
