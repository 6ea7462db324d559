"""The head of a request as a mirror gets it: re-serialised, with our framing and the right key."""

from __future__ import annotations

from typing import Final

from router.admission.credentials import Caller, Credentials, issued_in, key_fields
from router.wire.fields import without
from router.wire.request import RequestHead

VIA: Final = b"1.1 mirrorgate"
_ENDING: Final = b"Via: " + VIA + b"\r\n\r\n"
_OWN: Final = Caller.own
_NOT_WITH_LENT: Final = frozenset(
    b"accept-encoding sec-websocket-extensions openai-organization openai-project".split()
)
"""Fields that a mirror does not get with its own key: what it sends is searched for that, so it is
not to be compressed, and the account that pays is not the caller's to choose."""
_OF_LINKS = frozenset(
    b"accept accept-encoding accept-language if-modified-since if-none-match if-range range"
    b" user-agent".split()
)
"""Fields of a visitor that a mirror gets with a link to an image: nothing that says more of who it
is, or where the link was found."""
_PLAIN: Final = b"accept-encoding: identity\r\n"
_BODY_METHODS = frozenset((b"POST", b"PUT", b"PATCH"))


def fields_with_key(
    head: RequestHead, credentials: Credentials, mirror_key: bytes, *, plain: bool = False
) -> bytes:
    """The fields that are forwarded, and the key that a mirror takes, as lines.

    `plain`: no compression is asked for.
    """
    fields, asks = head.fields, b""
    if not credentials.keys and credentials.caller is _OWN:  # a link: it asks for an image, no more
        return b"".join(without(fields, {name.lower() for name in fields[::4]} - _OF_LINKS))
    if credentials.caller is not _OWN:
        fields, asks = _without(fields, _NOT_WITH_LENT), _PLAIN
    elif plain and b"accept-encoding" in head.look:
        fields = without(fields, {b"accept-encoding"})
    passing, prefix = b"".join(fields), credentials.prefix
    if issued_in(passing, prefix) is not None:
        pairs = zip(fields[::4], fields[2::4], strict=True)
        named = {
            name.lower()
            for name, value in pairs
            if issued_in(value, prefix) or issued_in(name, prefix)
        }
        passing = b"".join(without(fields, named))
    return b"".join((passing, asks, *key_fields(credentials, head.look, mirror_key)))


def _without(flat: list[bytes], names: frozenset[bytes]) -> list[bytes]:
    """`flat` without fields of these names, also where a server takes "_" in one for "-"."""
    spelled = {name for name in flat[::4] if name.lower().replace(b"_", b"-") in names}
    return without(flat, {name.lower() for name in spelled}) if spelled else flat


def render_head(
    head: RequestHead,
    target: bytes,
    base_path: bytes,
    authority: bytes,
    fields: bytes,
    buffered: int | None,
    *,
    chunked: bool = False,
) -> bytes:
    """The request head for a mirror; `fields` are those of `fields_with_key`.

    `authority` is that of the connection, whose certificate was verified for it. `buffered` is the
    size of the body when it is complete; None means that it is streamed, `chunked` or with the size
    that the client has said.
    """
    framing = _framing(head, buffered, chunked)
    line = (head.method, b" ", base_path, target, b" HTTP/1.1\r\nHost: ", authority)
    return b"".join((*line, b"\r\n", fields, framing, _ENDING))


def _framing(head: RequestHead, buffered: int | None, chunked: bool) -> bytes:
    if head.websocket:
        return b"Connection: Upgrade\r\nUpgrade: websocket\r\n"
    if buffered is None and chunked:
        return b"Transfer-Encoding: chunked\r\n"
    length = head.length if buffered is None else buffered
    if length or head.method in _BODY_METHODS:
        return b"Content-Length: %d\r\n" % length
    return b""
