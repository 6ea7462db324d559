"""The PROXY protocol, versions 1 and 2: who is behind a proxy that forwards bytes, not requests.

Source: haproxy.org, doc/proxy-protocol.txt (2020). The header stands before everything else on a
connection, TLS included, and may arrive in any pieces. Whatever is not exactly as specified is
refused: such a connection is not from a proxy that speaks it.
"""

from __future__ import annotations

import re
from ipaddress import IPv4Address, IPv6Address

SIGNATURE = b"\r\n\r\n\0\r\nQUIT\n"
LONGEST_LINE = 107
"""Bytes of a version 1 header, its line end included."""
LONGEST_BLOCK = 4096
"""Bytes that are taken after the first 16 of version 2; the addresses take 36, the rest is TLVs."""
_PREFIX = b"PROXY "
_PORT = r"(?:0|[1-9][0-9]{0,4})"
_TCP4 = re.compile(rf"PROXY TCP4 ([0-9.]{{7,15}}) [0-9.]{{7,15}} {_PORT} {_PORT}")
_TCP6 = re.compile(rf"PROXY TCP6 ([0-9A-Fa-f:.]{{2,45}}) [0-9A-Fa-f:.]{{2,45}} {_PORT} {_PORT}")
_LOCAL, _PROXY = 0x20, 0x21
_INET, _INET6 = 1, 2


class BadProxyHeader(Exception):
    """The beginning of a connection is no PROXY protocol header."""


class ProxyHeader:
    """Reads the header of one connection."""

    def __init__(self) -> None:
        self._read = b""
        self.complete = False
        self.source = ""
        """The client's address; empty when the proxy speaks for itself or does not say."""

    def feed(self, data: bytes) -> int:
        """Read on; how many of these bytes belong to the header. Raises BadProxyHeader."""
        before = len(self._read)
        read = self._read + data
        size = _size(read)
        if size is None or size > len(read):
            self._read = read
            return len(data)
        self._read = read[:size]
        self.complete = True
        binary = read.startswith(SIGNATURE)
        self.source = _binary_source(self._read) if binary else _text_source(self._read)
        return size - before


def _size(read: bytes) -> int | None:
    """Size of the header, as soon as that shows."""
    if read.startswith(SIGNATURE):
        if len(read) < 16:
            return None
        length = int.from_bytes(read[14:16])
        if length > LONGEST_BLOCK:
            raise BadProxyHeader("the header is too long")
        return 16 + length
    end = read.find(b"\r\n", 0, LONGEST_LINE)
    beginning = any(known.startswith(read[: len(known)]) for known in (SIGNATURE, _PREFIX))
    if beginning and not (end < 0 and len(read) >= LONGEST_LINE and read.startswith(_PREFIX)):
        return end + 2 if end >= 0 and read.startswith(_PREFIX) else None
    raise BadProxyHeader("the connection does not begin with a PROXY protocol header")


def _text_source(line: bytes) -> str:
    text = line[:-2].decode("latin-1")
    if re.match(r"PROXY UNKNOWN(?: |$)", text):
        return ""
    for pattern, kind in ((_TCP4, IPv4Address), (_TCP6, IPv6Address)):
        match = pattern.fullmatch(text)
        if match:
            try:
                return str(kind(match[1]))
            except ValueError:
                break
    raise BadProxyHeader("the PROXY protocol line is malformed")


def _binary_source(header: bytes) -> str:
    command, family, block = header[12], header[13] >> 4, header[16:]
    if command == _LOCAL:
        return ""
    if command != _PROXY or family > 3 or header[13] & 0x0F > 2:
        raise BadProxyHeader("the header is of an unknown version, command or family")
    if family == _INET and len(block) >= 12:
        return str(IPv4Address(block[:4]))
    if family == _INET6 and len(block) >= 36:
        return str(IPv6Address(block[:16]))
    if family in (_INET, _INET6):
        raise BadProxyHeader("the header is too short for its addresses")
    return ""
