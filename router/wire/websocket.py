"""WebSocket as bytes: the handshake (RFC 6455 section 4) and frames (section 5)."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterator
from enum import IntEnum
from typing import NamedTuple

from router.wire.fields import tokens
from router.wire.response import BadResponse, ResponseHead

VERSION = b"13"
"""The only one that RFC 6455 has."""
_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
"""RFC 6455 section 1.3."""


def accept_value(key: bytes) -> bytes:
    """Return the Sec-WebSocket-Accept for a Sec-WebSocket-Key (RFC 6455 section 4.2.2)."""
    return base64.b64encode(hashlib.sha1(key + _GUID, usedforsecurity=False).digest())


def valid_key(key: bytes) -> bool:
    """True if a Sec-WebSocket-Key is 16 bytes in base64 (RFC 6455 section 4.1)."""
    try:
        return len(base64.b64decode(key, validate=True)) == 16
    except ValueError:
        return False


def check_switch(key: bytes | None, response: ResponseHead, *, plain: bool) -> None:
    """Raise BadResponse for a 101 that does not answer this Sec-WebSocket-Key; None: not asked.

    `plain`: no extension was offered, so none may be used.
    """
    if key is None:
        raise BadResponse("it switched protocols unasked")
    look = response.look
    if look.get(b"sec-websocket-accept", b"").strip(b" \t") != accept_value(key):
        raise BadResponse("its WebSocket handshake does not answer the client's")
    options = tokens(look.get(b"connection", b""))
    if tokens(look.get(b"upgrade", b"")) != [b"websocket"] or b"upgrade" not in options:
        raise BadResponse("it switched to another protocol than WebSocket")
    if plain and b"sec-websocket-extensions" in look:
        raise BadResponse("it uses a WebSocket extension that was not offered")


class Opcode(IntEnum):
    """Kinds of frames (section 5.2)."""

    continuation = 0
    text = 1
    binary = 2
    close = 8
    ping = 9
    pong = 10


_CONTINUATION, TEXT, BINARY, CLOSE, _PING, _PONG = Opcode
_DATA = (TEXT, BINARY)
_KNOWN = frozenset(map(int, Opcode))
_FIN, _RESERVED, _OPCODE, _MASK = 0x80, 0x70, 0x0F, 0x80
_MOST_CONTROL = 125
_MOST_FRAMING = 64 << 10
"""Bytes of headers of one message: a message in a million fragments is no message."""

GOING_AWAY = 1001
PROTOCOL_ERROR = 1002
UNSUPPORTED = 1003
NOT_TEXT = 1007
POLICY = 1008
TOO_BIG = 1009
OVERLOADED = 1013
"""Codes of section 7.4.1, and of IANA's registry."""


class BadFrame(Exception):
    """Bytes that are not WebSocket, or too many; `code` says it in a close frame."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(message)
        self.code = code


class Message(NamedTuple):
    """A whole message, or a control frame."""

    opcode: int
    payload: bytes
    """Unmasked, all fragments together."""
    raw: bytes
    """The frames as they came."""


class FrameReader:
    """Reads the frames of one direction."""

    def __init__(self, masked: bool, most: int) -> None:
        """`masked`: as a client's must be, and a server's must not; `most`: bytes of a message."""
        self._masked = masked
        self._most = most
        self._rest = bytearray()
        self._opcode = 0
        """Of the message whose fragments have begun; 0: none."""
        self._payload = bytearray()
        self._raw = bytearray()

    def __repr__(self) -> str:
        return f"<FrameReader {self.held} B held>"

    @property
    def held(self) -> int:
        """Bytes that are kept."""
        return len(self._rest) + len(self._payload) + len(self._raw)

    def feed(self, data: bytes) -> Iterator[Message]:
        """Take what came; what is complete, in order. Raises BadFrame behind what was good."""
        rest = self._rest
        rest += data
        begin = 0
        try:
            while (found := self._header(begin)) is not None:
                first, key, body, end = found
                if end > len(rest):
                    break
                message = self._take(first, key, bytes(rest[begin:end]), body - begin)
                begin = end
                if message is not None:
                    yield message
        finally:
            del rest[:begin]

    def _header(self, begin: int) -> tuple[int, bytes, int, int] | None:
        """First byte, mask, and where the payload begins and ends; None: it is not all there."""
        rest = self._rest
        if len(rest) < begin + 2:
            return None
        first, second = rest[begin], rest[begin + 1]
        self._check(first, second)
        length, at = second & ~_MASK, begin + 2
        if length > _MOST_CONTROL:
            size, least = (2, 126) if length == 126 else (8, 1 << 16)
            if len(rest) < at + size:
                return None
            length = int.from_bytes(rest[at : at + size], "big")
            at += size
            if not least <= length < 1 << 63:
                raise BadFrame(PROTOCOL_ERROR, "the length of a frame is not in its shortest form")
        if first & _OPCODE < CLOSE and length + len(self._payload) > self._most:
            raise BadFrame(TOO_BIG, f"a message exceeds {self._most} bytes")
        if not self._masked:
            return first, b"", at, at + length
        if len(rest) < at + 4:
            return None
        return first, bytes(rest[at : at + 4]), at + 4, at + 4 + length

    def _check(self, first: int, second: int) -> None:
        opcode = first & _OPCODE
        if first & _RESERVED or opcode not in _KNOWN:
            raise BadFrame(PROTOCOL_ERROR, "a frame has reserved bits or an unknown opcode")
        if bool(second & _MASK) is not self._masked:
            raise BadFrame(PROTOCOL_ERROR, "a frame is masked that must not be, or not that must")
        if opcode >= CLOSE:
            if not first & _FIN or second & ~_MASK > _MOST_CONTROL:
                raise BadFrame(PROTOCOL_ERROR, "a control frame is fragmented or too long")
        elif (opcode == _CONTINUATION) is not bool(self._opcode):
            raise BadFrame(
                PROTOCOL_ERROR, "a fragment continues nothing, or a message is not ended"
            )

    def _take(self, first: int, key: bytes, raw: bytes, body: int) -> Message | None:
        opcode, payload = first & _OPCODE, raw[body:]
        if key:
            payload = masked(payload, key)
        if opcode >= CLOSE:
            if opcode == CLOSE and len(payload) == 1:
                raise BadFrame(PROTOCOL_ERROR, "a close frame has half a code")
            return Message(opcode, payload, raw)
        if first & _FIN and not self._opcode:
            return Message(opcode, payload, raw)
        self._opcode = self._opcode or opcode
        self._payload += payload
        self._raw += raw
        if len(self._raw) - len(self._payload) > _MOST_FRAMING:
            raise BadFrame(TOO_BIG, "a message is mostly framing")
        if not first & _FIN:
            return None
        whole = Message(self._opcode, bytes(self._payload), bytes(self._raw))
        self._opcode = 0
        self._payload.clear()
        self._raw.clear()
        return whole


def masked(data: bytes, key: bytes) -> bytes:
    """The payload masked or unmasked with a key of four bytes (section 5.3)."""
    size = len(data)
    mask = (key * (size // 4 + 1))[:size]
    return (int.from_bytes(data, "big") ^ int.from_bytes(mask, "big")).to_bytes(size, "big")


def frame(opcode: Opcode, payload: bytes, key: bytes = b"") -> bytes:
    """One whole frame; `key`: what it is masked with, as those to a server must be."""
    size, bit = len(payload), _MASK if key else 0
    if size <= _MOST_CONTROL:
        head = bytes((_FIN | opcode, bit | size))
    elif size < 1 << 16:
        head = bytes((_FIN | opcode, bit | 126)) + size.to_bytes(2, "big")
    else:
        head = bytes((_FIN | opcode, bit | 127)) + size.to_bytes(8, "big")
    return head + key + (masked(payload, key) if key else payload)


def close_frame(code: int, reason: str, key: bytes = b"") -> bytes:
    """A close frame; the reason is cut to what a control frame holds."""
    text = reason.encode()[: _MOST_CONTROL - 2].decode("utf-8", "ignore")
    return frame(CLOSE, code.to_bytes(2, "big") + text.encode(), key)
