"""The PROXY protocol: what is read does not depend on the pieces it comes in."""

from __future__ import annotations

import ipaddress
import struct
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from router.wire.proxy_protocol import SIGNATURE, BadProxyHeader, ProxyHeader

REQUEST = b"GET / HTTP/1.1\r\nHost: test\r\n\r\n"
Address = ipaddress.IPv4Address | ipaddress.IPv6Address


def text(source: Address) -> bytes:
    kind = "TCP4" if source.version == 4 else "TCP6"
    return f"PROXY {kind} {source} {source} 56324 443\r\n".encode()


def binary(source: Address, tlv: bytes = b"", command: int = 0x21) -> bytes:
    family = 0x11 if source.version == 4 else 0x21
    block = source.packed + source.packed + struct.pack(">HH", 56324, 443) + tlv
    return SIGNATURE + bytes([command, family]) + struct.pack(">H", len(block)) + block


def fed(data: bytes, cuts: list[int]) -> tuple[ProxyHeader, bytes]:
    """Return the parsed header, and the bytes behind it."""
    header, rest = ProxyHeader(), b""
    bounds = sorted({0, len(data), *(cut % (len(data) + 1) for cut in cuts)})
    for start, end in pairwise(bounds):
        piece = data[start:end]
        if header.complete:
            rest += piece
        else:
            rest += piece[header.feed(piece) :]
    return header, rest


CUTS = st.lists(st.integers(0, 500), max_size=6)


@given(st.ip_addresses(), st.binary(max_size=300), st.booleans(), CUTS)
def test_the_client_is_read_and_what_follows_is_left(
    source: Address, tlv: bytes, is_text: bool, cuts: list[int]
):
    head = text(source) if is_text else binary(source, tlv)
    header, rest = fed(head + REQUEST, cuts)
    assert header.complete
    assert header.source == str(source)
    assert rest == REQUEST


@given(CUTS)
@settings(max_examples=20)
@pytest.mark.parametrize(
    "head",
    [
        b"PROXY UNKNOWN\r\n",
        b"PROXY UNKNOWN ffff:f...f:ffff ffff:f...f:ffff 65535 65535\r\n",
        binary(ipaddress.ip_address("1.2.3.4"), command=0x20),
        SIGNATURE + b"\x21\x00\x00\x00",
        SIGNATURE + b"\x21\x31" + struct.pack(">H", 216) + bytes(216),
    ],
)
def test_a_proxy_may_speak_for_itself_or_not_say(head: bytes, cuts: list[int]):
    header, rest = fed(head + REQUEST, cuts)
    assert (header.complete, header.source, rest) == (True, "", REQUEST)


@given(CUTS)
@settings(max_examples=20)
@pytest.mark.parametrize(
    "head",
    [
        REQUEST,
        b"PROXY TCP4 1.2.3.4 5.6.7.8 1 2\n" + bytes(200),
        b"PROXY TCP4 1.2.3.4 5.6.7.8 1 2" + b" " * 100 + b"\r\n",
        b"PROXY TCP4 1.2.3.4 5.6.7.8 1\r\n",
        b"PROXY TCP4 1.2.3.400 5.6.7.8 1 2\r\n",
        b"PROXY TCP4 ::1 ::1 1 2\r\n",
        b"PROXY TCP6 1.2.3.4 1.2.3.4 1 2\r\n",
        b"PROXY UDP4 1.2.3.4 5.6.7.8 1 2\r\n",
        b"PROXY UNKNOWNX\r\n",
        b"proxy TCP4 1.2.3.4 5.6.7.8 1 2\r\n",
        SIGNATURE + b"\x31\x11\x00\x0c" + bytes(12),
        SIGNATURE + b"\x22\x11\x00\x0c" + bytes(12),
        SIGNATURE + b"\x21\x41\x00\x0c" + bytes(12),
        SIGNATURE + b"\x21\x11\x00\x04" + bytes(4),
        SIGNATURE + b"\x21\x11\xff\xff",
        SIGNATURE[:11] + b"\0" + bytes(300),
    ],
)
def test_anything_else_is_refused(head: bytes, cuts: list[int]):
    with pytest.raises(BadProxyHeader):
        fed(head + REQUEST, cuts)


@given(st.binary(max_size=400), CUTS)
def test_no_bytes_are_taken_for_long_or_break_it(data: bytes, cuts: list[int]):
    try:
        header, _ = fed(data, cuts)
    except BadProxyHeader:
        return
    if not header.complete:
        assert len(data) < 107 or data.startswith(SIGNATURE)
