"""The head of a request as a mirror gets it: re-serialised, with our framing and the right key."""

from __future__ import annotations

from router.admission.keys import Credentials, key_fields
from router.upstreams import Upstream
from router.wire.request import RequestHead

VIA = b"1.1 mirrorgate"
_BODY_METHODS = frozenset((b"POST", b"PUT", b"PATCH"))


def render_head(
    head: RequestHead,
    target: bytes,
    upstream: Upstream,
    credentials: Credentials,
    buffered: int | None,
) -> bytes:
    """The request head for a mirror.

    `buffered` is the size of the body when it is complete; None means that it is streamed with the
    framing it came with.
    """
    lines = [head.method, b" ", upstream.base_path, target, b" HTTP/1.1\r\nHost: "]
    lines += (upstream.authority, b"\r\n")
    lines += head.fields
    lines += key_fields(credentials, head.look, upstream.api_key)
    lines.append(_framing(head, buffered))
    lines += (b"Via: ", VIA, b"\r\n\r\n")
    return b"".join(lines)


def _framing(head: RequestHead, buffered: int | None) -> bytes:
    if head.websocket:
        return b"Connection: Upgrade\r\nUpgrade: websocket\r\n"
    if buffered is None and head.chunked:
        return b"Transfer-Encoding: chunked\r\n"
    length = head.length if buffered is None else buffered
    if length or head.method in _BODY_METHODS:
        return b"Content-Length: %d\r\n" % length
    return b""
