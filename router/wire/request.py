"""From a client's bytes to requests: parsing, and what llhttp leaves to us to refuse.

The parser is strict already (RFC 9112); added here are the bounds (head size, number of fields,
framing overhead of chunks) and the refusals of what two parsers might read in two ways.
Trailers are dropped: nothing we forward to may mistake one for a header.
"""

from __future__ import annotations

from enum import IntEnum
from typing import Final, Protocol

import httptools

from router.wire.fields import FieldRules, Rule
from router.wire.head import (
    METHODS,
    ONCE,
    Refusal,
    RequestHead,
    WithoutUpgrade,
    check,
    malformed,
    without_upgrade,
)
from router.wire.repeated_heads import RepeatedRequest

__all__ = [
    "BETWEEN",
    "BODY",
    "HEAD",
    "Leave",
    "Phase",
    "Refusal",
    "RequestHead",
    "RequestReader",
    "RequestSink",
    "malformed",
]

MAX_HEAD: Final = 64 << 10
"""Bytes of a request head; nginx allows 4 × 8 KiB, HAProxy 16 KiB in all, Node 16 KiB."""
MAX_FIELD = 16 << 10
MAX_FIELDS: Final = 128
MAX_TARGET: Final = 8 << 10
MAX_EMPTY = 16
"""Bytes of empty lines between requests; RFC 9112 section 2.2 asks to ignore one line."""
_LINE_ENDS: Final = {"1.0": b" HTTP/1.0\r\n", "1.1": b" HTTP/1.1\r\n"}


class Leave(Exception):
    """Raised by a sink to stop reading at once: the connection goes to somebody else."""


class Phase(IntEnum):
    """Where a reader is."""

    between = 0
    head = 1
    body = 2


# Members of an Enum are looked up through its metaclass: 0.1 µs each, and several a field.
BETWEEN: Final = Phase.between
HEAD: Final = Phase.head
BODY: Final = Phase.body
_FORWARD: Final = Rule.forward
_DROP: Final = Rule.drop
_LOOK: Final = Rule.look


class RequestSink(Protocol):
    """Receiver of parsed requests; any method may raise Refusal or Leave."""

    def request_head(self, head: RequestHead) -> None:
        """A head is complete."""

    def request_body(self, data: bytes) -> None:
        """A piece of the body."""

    def request_end(self) -> None:
        """The request is complete."""

    def request_whole(self, head: RequestHead, body: bytes) -> None:
        """All of a request at once."""

    def tunnel_data(self, data: bytes) -> None:
        """Bytes behind a WebSocket request: they are not HTTP."""


class RequestReader:
    """Reads the requests of one connection."""

    __deletable__ = ("_parser", "_sink")

    def __init__(self, sink: RequestSink, rules: FieldRules) -> None:
        self._sink = sink
        self._rules = rules
        self._known = rules.spellings
        self._rule_of = rules.of
        self._parser = httptools.HttpRequestParser(self)
        self._earlier = b""
        self._begin()
        self.phase = BETWEEN
        self._begun = 0
        self._empty = 0
        self._upgraded = False
        self._line_at = 0
        """Where in a read the request lines so far end."""
        self._exact = False
        """True if the next one stands at the beginning of what is read of its head."""
        self._last: RequestHead | None = None
        self._repeated: RepeatedRequest | None = None

    def _begin(self) -> None:
        self._url = b""
        self._fields: list[bytes] = []
        self._look: dict[bytes, bytes] = {}
        self._count = 0
        self._body_bytes = 0
        self._raw_bytes = 0
        self._chunked = False

    def end(self) -> None:
        """The connection is gone: let go of what refers back to this reader.

        As cycles they would stay, with the last request, until the collector looks at the old.
        """
        if hasattr(self, "_parser"):
            del self._parser, self._sink

    def feed(self, data: memoryview) -> None:
        """Read on; calls the sink. Raises Refusal, after which nothing may be fed any more."""
        if self._upgraded:
            self._sink.tunnel_data(bytes(data))
            return
        self._data = data
        self._begun = 0
        between = self.phase is BETWEEN
        if between and self._known is not self._rules.spellings:
            self._known, self._repeated = self._rules.spellings, None
        if between and self._repeated is not None:
            body = self._repeated.body_of(data.tobytes())
            if body is not None:
                self._tell_again(body)
                return
        self._line_at = 0
        self._exact = between or (self._exact and self.phase is HEAD)
        self._raw_bytes += len(data)
        instead = None
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            self._upgraded = True
            self._sink.tunnel_data(bytes(data[upgrade.args[0] :]))
        except httptools.HttpParserCallbackError as raised:
            instead = self._callback_failed(raised.__context__ or raised)
        except httptools.HttpParserError as error:
            raise malformed(f"the request is malformed: {error}") from error
        if instead is not None:  # not within the handler, which would be the context of its errors
            self.feed(memoryview(instead))
        else:
            self._after(data, between)

    def _after(self, data: memoryview, between: bool) -> None:
        """Look at where a read ended: `between` requests is where it began. Raises Refusal."""
        if self.phase is HEAD:
            self._keep_head(data)
        elif between and self._begun == 1 and self.phase is BETWEEN:
            self._remember(bytes(data))
        elif between and not self._begun:
            self._count_empty(len(data))
        elif self._chunked and self._raw_bytes - self._body_bytes > MAX_HEAD + 8 * self._body_bytes:
            raise malformed("the chunks of the body are mostly framing")

    def _tell_again(self, body: bytes) -> None:
        """The last head again, and this body: told at once instead of in three callbacks."""
        assert self._last is not None
        self._begun, self._empty = 1, 0
        self._last = head = self._last.again(len(body))
        try:
            self._sink.request_whole(head, body)
        except Leave:
            return

    def _remember(self, raw: bytes) -> None:
        """This read was one request: the next one may repeat its head."""
        head = self._last
        if head is not None and head.may_repeat and raw[:1].isalpha():
            end = raw.find(b"\r\n\r\n") + 4
            self._repeated = RepeatedRequest(raw[:end])

    def _callback_failed(self, error: BaseException) -> bytes | None:
        """Return the bytes to parse instead of the data; None: nothing."""
        if isinstance(error, Leave):
            return None
        if not isinstance(error, WithoutUpgrade):
            raise error
        self._parser = httptools.HttpRequestParser(self)
        head = without_upgrade(self.raw_head())
        self._earlier = b""
        self._begin()
        self.phase = BETWEEN
        return head

    def _keep_head(self, data: memoryview) -> None:
        self._exact = self._exact and self._begun < 2
        self._earlier += bytes(data)
        if len(self._earlier) > MAX_HEAD:
            raise Refusal(431, "headers_too_large", f"the request head exceeds {MAX_HEAD} bytes")

    def _count_empty(self, size: int) -> None:
        self._empty += size
        if self._empty > MAX_EMPTY:
            raise malformed("empty lines instead of a request")

    def raw_head(self) -> bytes:
        """All bytes from the beginning of this request on, as far as read, while in its head.

        Raises Refusal when another request stands before it in the same read.
        """
        if self._begun > 1:
            raise malformed("such a request cannot be pipelined")
        return self._earlier + bytes(self._data)

    # What httptools calls

    def on_message_begin(self) -> None:
        self._begun += 1
        self._empty = 0
        self._begin()
        self.phase = HEAD

    def on_url(self, url: bytes) -> None:
        self._url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        if self.phase is not HEAD:
            return  # a trailer
        self._count += 1
        rule, lower = self._known.get(name) or self._rule_of(name)
        if rule is _FORWARD:
            self._fields += (name, b": ", value, b"\r\n")
        elif rule is not _DROP:
            self._looked_at(rule, name, lower, value)

    def _looked_at(self, rule: Rule, name: bytes, lower: bytes, value: bytes) -> None:
        if rule is _LOOK:
            self._fields += (name, b": ", value, b"\r\n")
        known = self._look.get(lower)
        if known is not None and lower in ONCE:
            raise malformed(f"the header field {lower.decode()} is repeated")
        self._look[lower] = value if known is None else known + b", " + value

    def on_headers_complete(self) -> None:
        self._last = head = self._checked_head()
        self._repeated = None
        self._chunked = head.chunked
        self._raw_bytes = len(self._data)
        self._sink.request_head(head)
        self._earlier = b""
        self.phase = BODY

    def on_body(self, data: bytes) -> None:
        self._body_bytes += len(data)
        self._sink.request_body(data)

    def on_message_complete(self) -> None:
        self._sink.request_end()
        self._chunked = False
        self.phase = BETWEEN

    def _checked_head(self) -> RequestHead:
        parser, look = self._parser, self._look
        method, version = parser.get_method(), parser.get_http_version()
        if version not in ("1.0", "1.1"):
            raise malformed(f"HTTP/{version} is not supported")
        if method not in METHODS:
            raise malformed(f"the method {method.decode('ascii', 'replace')} is not supported")
        self._check_line(method, version)
        self._check_sizes()
        head = RequestHead(method, self._url, self._fields, look, http10=version == "1.0")
        head.keep_alive = parser.should_keep_alive()
        check(head, b"upgrade" in look and parser.should_upgrade())
        return head

    def _check_line(self, method: bytes, version: str) -> None:
        """The line is three parts with one space between them; the parser takes several.

        The first line of a read stands at its beginning, or at that of what was read of the head
        before; the others stand behind it, in their order.
        """
        line = b"%b %b%b" % (method, self._url, _LINE_ENDS[version])
        exact, self._exact = self._exact, False
        if exact and not self._earlier and self._data[: len(line)] == line:
            self._line_at = len(line)
            return
        read = self._earlier + bytes(self._data)
        at = read.find(line, self._line_at)
        self._line_at = max(at + len(line) - len(self._earlier), 0)
        if at < 0 or (exact and not read.lstrip(b"\r\n").startswith(line)):
            raise malformed(
                "the request line must be method, target and version with one space between them"
            )

    def _check_sizes(self) -> None:
        if self._count > MAX_FIELDS:
            raise Refusal(431, "headers_too_large", f"more than {MAX_FIELDS} header fields")
        if len(self._earlier) + len(self._data) <= MAX_TARGET:
            return
        if len(self._url) > MAX_TARGET or max(map(len, self._fields), default=0) > MAX_FIELD:
            raise Refusal(431, "headers_too_large", "a header field or the target is too long")
