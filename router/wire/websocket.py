"""The handshake of a WebSocket: a mirror switches only if it was asked and proves to have read it.

A 101 that anybody could have sent would turn a connection into a tunnel for what is not one.
"""

from __future__ import annotations

import base64
import hashlib

from router.wire.fields import tokens
from router.wire.response import BadResponse, ResponseHead

VERSION = b"13"
"""The only one that RFC 6455 has."""
_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
"""RFC 6455 section 1.3."""


def accept_value(key: bytes) -> bytes:
    """What Sec-WebSocket-Accept must be for a Sec-WebSocket-Key (RFC 6455 section 4.2.2)."""
    return base64.b64encode(hashlib.sha1(key + _GUID, usedforsecurity=False).digest())


def valid_key(key: bytes) -> bool:
    """Whether a Sec-WebSocket-Key is 16 bytes in base64 (RFC 6455 section 4.1)."""
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
        raise BadResponse("it switched to something else than WebSocket")
    if plain and b"sec-websocket-extensions" in look:
        raise BadResponse("it uses a WebSocket extension that was not offered")
