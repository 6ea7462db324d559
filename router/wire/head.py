"""A request's head, and what about it could be read in two ways and so is refused."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from router.wire import target as targets
from router.wire.fields import tokens, without
from router.wire.websocket import VERSION, valid_key

METHODS: Final = frozenset((b"GET", b"HEAD", b"POST", b"PUT", b"PATCH", b"DELETE", b"OPTIONS"))
ONCE = frozenset(
    b"host transfer-encoding content-type authorization api-key x-api-key mj-api-secret expect"
    b" origin sec-websocket-key access-control-request-method x-mirrorgate-timeout".split()
)
"""Fields that hold one value: of two, the next reader might take the other."""
_NOTHING_NAMED: Final = frozenset((b"keep-alive", b"close", b"Keep-Alive", b"Close"))


class Refusal(Exception):
    """A request that is answered here with an error; the connection ends after it."""

    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.message = message


class WithoutUpgrade(Exception):
    """The head asks for an upgrade we do not speak: read it again without that field."""


def malformed(message: str) -> Refusal:
    """The refusal of what is not a well-formed request."""
    return Refusal(400, "malformed_request", message)


@dataclass(slots=True, init=False)
class RequestHead:
    """A request's head, checked; `fields` is what passes to a mirror, as a flat list."""

    method: bytes
    target: bytes
    fields: list[bytes]
    look: dict[bytes, bytes]
    """What was looked at, by lower-case name."""
    http10: bool
    keep_alive: bool
    chunked: bool
    length: int
    websocket: bool
    repeated: bool
    """True if it is the head before it on this connection, but for its length."""

    def __init__(
        self,
        method: bytes,
        target: bytes,
        fields: list[bytes],
        look: dict[bytes, bytes],
        http10: bool = False,
        keep_alive: bool = True,
        chunked: bool = False,
        length: int = 0,
        websocket: bool = False,
        repeated: bool = False,
    ) -> None:
        """Written out, as that of `ResponseHead` is."""
        self.method = method
        self.target = target
        self.fields = fields
        self.look = look
        self.http10 = http10
        self.keep_alive = keep_alive
        self.chunked = chunked
        self.length = length
        self.websocket = websocket
        self.repeated = repeated

    @property
    def has_body(self) -> bool:
        """True if a body follows."""
        return self.chunked or self.length > 0

    @property
    def may_repeat(self) -> bool:
        """True if the next request on the connection can be expected to have the same head."""
        special = self.chunked or self.websocket or self.http10 or b"expect" in self.look
        return self.keep_alive and not special

    def again(self, length: int) -> RequestHead:
        """This head, repeated with a body of this length."""
        if self.repeated and length == self.length:
            return self
        return RequestHead(
            self.method,
            self.target,
            self.fields,
            self.look,
            length=length,
            repeated=True,
        )

    @property
    def websocket_key(self) -> bytes | None:
        """The Sec-WebSocket-Key of a WebSocket request."""
        return self.look[b"sec-websocket-key"].rstrip(b" \t") if self.websocket else None


def check(head: RequestHead, upgrades: bool) -> None:
    """Check what the fields say and fill in what follows from it.

    `upgrades`: the parser saw Upgrade, and Connection naming it. Raises Refusal, WithoutUpgrade.
    """
    look = head.look
    _check_host(look.get(b"host"), head.http10)
    head.target = _checked_target(head.target)
    if b"content-length" in look or b"transfer-encoding" in look:
        _read_framing(head)
    if upgrades:
        _read_upgrade(head)
    if look.get(b"connection", b"close") not in _NOTHING_NAMED:
        _drop_nominated(head)


def _check_host(host: bytes | None, http10: bool) -> None:
    """Host is needed even beside an absolute target (RFC 9112 section 3.2)."""
    if host is None:
        if not http10:
            raise malformed("the Host field is missing")
    elif not targets.valid_host(host.rstrip(b" \t")):
        raise malformed("the Host field is not a host")


def _checked_target(given: bytes) -> bytes:
    try:
        return targets.checked(given)
    except targets.BadTarget as error:
        raise malformed(str(error)) from None


def _read_framing(head: RequestHead) -> None:
    coding = head.look.get(b"transfer-encoding")
    if coding is not None:
        if head.http10 or coding.strip(b" \t").lower() != b"chunked":
            raise malformed("the only transfer coding accepted is chunked, in HTTP/1.1")
        head.chunked = True
    else:
        length = head.look[b"content-length"].strip(b" \t")
        if not length.isdigit() or len(length) > 18:
            raise malformed("the Content-Length is not a size")
        head.length = int(length)


def _read_upgrade(head: RequestHead) -> None:
    """Note a WebSocket request; any other upgrade is ignored, as RFC 9110 section 7.8 allows."""
    is_websocket = head.method == b"GET" and tokens(head.look[b"upgrade"]) == [b"websocket"]
    if head.http10 or not is_websocket:
        raise WithoutUpgrade
    look = head.look
    if look.get(b"sec-websocket-version", b"").strip(b" \t") != VERSION:
        message = "Only version 13 of the WebSocket protocol is supported (RFC 6455)."
        raise Refusal(426, "unsupported_websocket_version", message)
    if head.has_body or not valid_key(look.get(b"sec-websocket-key", b"").rstrip(b" \t")):
        raise malformed("the WebSocket handshake has a body or no valid Sec-WebSocket-Key")
    head.websocket = True


def _drop_nominated(head: RequestHead) -> None:
    """Remove the fields that Connection names (RFC 9110 section 7.6.1), before ours are added.

    Of a field that decides something here a nomination is ignored. Such a field is meant for all
    recipients, so none may name it; a client that does would have a proxy's word on its address, or
    the key that a proxy adds, taken away behind that proxy (CVE-2021-33197, CVE-2022-1388,
    CVE-2022-31813). It is no reason for a refusal: that would count against the proxy.
    """
    named = set(tokens(head.look[b"connection"]))
    named = {name for name in named - head.look.keys() if not name.startswith(b"sec-websocket-")}
    head.fields = without(head.fields, named)


def without_upgrade(raw: bytes) -> bytes:
    """A raw head, and what follows it, without the fields that offer an upgrade, and without the
    empty lines before it: these would end the head that is looked through."""
    head, end, rest = raw.lstrip(b"\r\n").partition(b"\r\n\r\n")
    offers = (b"upgrade:", b"http2-settings:")
    kept = [line for line in head.split(b"\r\n") if not line.lower().startswith(offers)]
    return b"\r\n".join(kept) + end + rest
