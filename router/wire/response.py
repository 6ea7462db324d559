"""From a mirror's bytes to a response: parsing, and what llhttp leaves to us to refuse.

Framing is computed here and never trusted to the parser alone: it knows nothing of HEAD, reports
every 1xx as a message of its own, and accepts status 099 (RFC 9112 section 6, RFC 9110 section 15).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final, Protocol

import httptools

from router.wire.chunked import whole_chunk
from router.wire.fields import FieldRules, Rule, tokens, without
from router.wire.repeated_heads import RepeatedResponse

MAX_HEAD: Final = 64 << 10
MAX_FIELDS: Final = 256
MAX_INFORMATIONAL = 64
_REASON = {200: b"OK", 101: b"Switching Protocols"}
_CONTROLS: Final = re.compile(rb"[\x00-\x08\x0a-\x1f\x7f]")


class BadResponse(Exception):
    """A response that cannot be relayed; the text says why, without its content."""


@dataclass(slots=True, init=False)
class ResponseHead:
    """A response's head, checked; `fields` is what passes to the client, as a flat list."""

    status: int
    reason: bytes
    fields: list[bytes]
    look: dict[bytes, bytes]
    length: int | None
    """Content-Length; None when the body is chunked or ends with the connection."""
    until_close: bool
    keep_alive: bool
    media: bytes
    """The media type of the body, in small letters and without parameters."""

    def __init__(
        self,
        status: int,
        reason: bytes,
        fields: list[bytes],
        look: dict[bytes, bytes],
        length: int | None = None,
        until_close: bool = False,
        keep_alive: bool = True,
        media: bytes = b"",
    ) -> None:
        """Written out, for one that dataclass() writes is not compiled: 4,000 instructions."""
        self.status = status
        self.reason = reason
        self.fields = fields
        self.look = look
        self.length = length
        self.until_close = until_close
        self.keep_alive = keep_alive
        self.media = media

    @property
    def is_event_stream(self) -> bool:
        """True if the body is said to be server-sent events."""
        return self.media == b"text/event-stream"

    @property
    def is_json(self) -> bool:
        """True if the body is said to be JSON."""
        return self.media == b"application/json"

    @property
    def encoding(self) -> bytes:
        """The codings of the body in their order, in small letters; empty when there are none.

        As clients join repeated fields to one list (RFC 9110 section 5.3)."""
        named = self.look.get(b"content-encoding")
        if named is None:
            return b""
        return b", ".join(coding for coding in tokens(named) if coding != b"identity")

    def text(self) -> bytes:
        """The reason phrase and the fields, as far as they pass."""
        return b"".join((self.reason, b"\r\n", *self.fields))

    def table(self) -> dict[bytes, bytes]:
        """Every field that passes, by lower-case name; of repeated ones the last."""
        lines = b"".join(self.fields).split(b"\r\n")
        parted = (line.partition(b":") for line in lines if line)
        return {name.lower(): value.strip(b" \t") for name, _, value in parted}

    @property
    def bodiless(self) -> bool:
        """True if no body can follow whatever the fields say (RFC 9110 section 6.4.1)."""
        return self.status in (204, 304) or self.status < 200


MOST_LEARNED: Final = 8
"""Heads of a connection that are learnt to know them again, which can take 1 ms: a mirror whose
heads are never alike is parsed each time."""


class ResponseSink(Protocol):
    """Receiver of a response's head; bodies are collected in `ResponseReader.parts`."""

    def informational(self, head: ResponseHead) -> None:
        """A 1xx, 101 excepted."""

    def response_head(self, head: ResponseHead) -> None:
        """The head of the final response, or of a 101."""


_FORWARD: Final = Rule.forward
_LOOK: Final = Rule.look
_TAKE: Final = Rule.take  # see request.py


class ResponseReader:
    """Reads the responses of one connection to a mirror."""

    __deletable__ = ("_parser",)

    def __init__(self, rules: FieldRules) -> None:
        self._rules = rules
        self._known = rules.spellings
        self._rule_of = rules.of
        self._parser = httptools.HttpResponseParser(self)
        self._sink: ResponseSink | None = None
        self.to_head = False
        """The request was a HEAD: its response ends with the head."""
        self.parts: list[bytes] = []
        """Pieces of the body from the last feed."""
        self.ended = False
        self.poisoned = False
        """More came than was asked for: the connection must not be used again."""
        self.tunnel: bytes | None = None
        """After a 101: what followed it."""
        self.head: ResponseHead | None = None
        """The final head, once it has been read."""
        self._last: ResponseHead | None = None
        self._repeated: RepeatedResponse | None = None
        self._learned = 0
        self._reason = b""
        self._fields: list[bytes] = []
        self._look: dict[bytes, bytes] = {}
        self._count = 0
        self._informational = 0
        self._head_bytes = 0
        self._body_bytes = 0
        self._raw_bytes = 0
        self._after_chunk = False
        """True if the body goes on with a new chunk."""

    def expect(self, sink: ResponseSink, to_head: bool) -> None:
        """Prepare for the response to the next request."""
        self._sink = sink
        self.to_head = to_head
        self.ended = False
        self.head = None
        self._informational = self._head_bytes = self._body_bytes = self._raw_bytes = 0
        self._after_chunk = False

    def hand_over(self, sink: ResponseSink) -> None:
        """The rest of this response is for another one."""
        self._sink = sink

    def end(self) -> None:
        """The connection is gone: let go of what refers back to this reader.

        As cycles they would stay, with the last response, until the collector looks at the old.
        """
        if hasattr(self, "_parser"):
            del self._parser
        self._sink = None
        self._after_chunk = False

    def feed(self, data: memoryview) -> None:
        """Read on. Raises BadResponse, after which the connection is of no use."""
        if self._after_chunk:
            body = whole_chunk(data.tobytes())  # bytes(data) looks for `__bytes__` first
            if body is not None:  # its framing is no longer than what `_parse` allows for its data
                self.parts = [body]
                return
            self._after_chunk = False
        self.parts = []
        if self._sink is None or self.ended:
            self.poisoned = True
            raise BadResponse("it sent data after its response")
        first = not self._raw_bytes
        if first and self._repeated is not None and not self.to_head:
            again = self._repeated.parts_of(data.tobytes())
            if again is not None:
                fields, body = again
                self._tell_again(fields, body)
                return
        self._parse(data)
        if first:
            self._remember(data)
        if self._after_chunk:  # unless a part of the next chunk's size came with it
            self._after_chunk = not self.ended and bytes(data[-2:]) == b"\r\n"

    def _parse(self, data: memoryview) -> None:
        self._raw_bytes += len(data)
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            self.tunnel = bytes(data[upgrade.args[0] :])
        except httptools.HttpParserCallbackError as raised:
            raise raised.__context__ or raised from None
        except httptools.HttpParserError as error:
            self._cannot_parse(error)
        if self.head is None:
            self._count_head(len(data))
        elif self._raw_bytes - self._body_bytes > 2 * MAX_HEAD + 8 * self._body_bytes:
            raise BadResponse("its chunks are mostly framing")

    def _tell_again(self, fields: bytes, body: bytes) -> None:
        """A response with the last one's fields: told as the parser's callbacks would."""
        assert self._sink is not None
        assert self._last is not None
        last = self._last
        self.head = head = ResponseHead(
            last.status, last.reason, [fields], last.look, len(body), False, True, last.media
        )
        self._sink.response_head(head)
        self.parts.append(body)
        self.ended = True

    def _remember(self, data: memoryview) -> None:
        """If this read was one response, the next one may have the same fields."""
        head, self._repeated = self.head, None
        if head is None or not head.length or not self.reusable() or self._informational:
            return
        self._learned += 1
        if self._learned > MOST_LEARNED:
            return
        raw = bytes(data).partition(b"\r\n\r\n")[0]
        if not raw.startswith(b"HTTP/"):  # the parser skips empty lines before it
            return
        if self._look.get(b"connection", b"keep-alive").lower() == b"keep-alive":
            self._last = head
            self._repeated = RepeatedResponse(raw, self._rules)

    def _cannot_parse(self, error: Exception) -> None:
        """Garbage after a complete response spoils only the connection."""
        if not self.ended:
            raise BadResponse(f"its response is malformed: {error}")
        self.poisoned = True

    def _count_head(self, read: int) -> None:
        self._head_bytes += read
        if self._head_bytes > MAX_HEAD:
            raise BadResponse("its response head is too long")

    def reusable(self) -> bool:
        """True if the next response can follow on this connection."""
        head = self.head
        return head is not None and head.keep_alive and self.ended and not self.poisoned

    @property
    def ends_with_close(self) -> bool:
        """True if the end of the connection is the proper end of the response being read."""
        head = self.head
        proper = head is not None and head.until_close and not self.ended
        return proper and not self._within_event

    @property
    def _within_event(self) -> bool:
        """True if the last read ended within a line of an event stream.

        Such a stream was cut, though only the format of its events tells; "[DONE]" is a last word.
        """
        head = self.head
        stream = head is not None and head.is_event_stream and not head.encoding
        ends = not self.parts or self.parts[-1].endswith((b"\n", b"\r", b"[DONE]"))
        return stream and not ends

    # What httptools calls

    def on_message_begin(self) -> None:
        if self.ended:
            self.poisoned = True
        self._reason = b""
        self._fields = []
        self._look = {}
        self._count = 0

    def on_status(self, reason: bytes) -> None:
        self._reason += reason

    def on_header(self, name: bytes, value: bytes) -> None:
        if self.head is not None:
            return  # a trailer, or a field of what was not asked for
        self._count += 1
        rule, lower = self._known.get(name) or self._rule_of(name)
        if rule is _FORWARD:
            self._fields += (name, b": ", value, b"\r\n")
        elif rule is _LOOK:
            self._fields += (name, b": ", value, b"\r\n")
            known = self._look.get(lower)
            self._look[lower] = value if known is None else known + b", " + value
        elif rule is _TAKE:
            known = self._look.get(lower)
            self._look[lower] = value if known is None else known + b", " + value

    def on_headers_complete(self) -> None:
        if self.ended:
            return
        head = self._checked_head()
        assert self._sink is not None
        if head.status < 200 and head.status != 101:
            if head.length or b"transfer-encoding" in self._look:  # RFC 9112 section 6.2
                raise BadResponse("its interim response has a body")
            self._informational += 1
            if self._informational > MAX_INFORMATIONAL:
                raise BadResponse("it sends interim responses without end")
            self._sink.informational(head)
            return
        self.head = head
        self._sink.response_head(head)
        if self.to_head:
            # llhttp would now wait for the body that the fields promise.
            self.ended = True
            self.poisoned = True

    def on_body(self, data: bytes) -> None:
        if not self.ended:
            self._body_bytes += len(data)
            self.parts.append(data)

    def on_chunk_header(self) -> None:
        self._after_chunk = False

    def on_chunk_complete(self) -> None:
        self._after_chunk = True

    def on_message_complete(self) -> None:
        if self.head is not None:
            self.ended = True

    def _checked_head(self) -> ResponseHead:
        parser, look = self._parser, self._look
        status, version = parser.get_status_code(), parser.get_http_version()
        if version not in ("1.0", "1.1") or not 100 <= status <= 599:
            raise BadResponse(f"it answers HTTP/{version} {status}")
        if self._count > MAX_FIELDS:
            raise BadResponse("its response has too many header fields")
        if _CONTROLS.search(self._reason):
            raise BadResponse("its reason phrase holds control characters")
        head = ResponseHead(status, self._reason or _REASON.get(status, b""), self._fields, look)
        head.keep_alive = parser.should_keep_alive()
        head.media = self._media()
        self._read_framing(head, version)
        if b"connection" in look:
            named = set(tokens(look[b"connection"])) - {b"close", b"keep-alive"} - look.keys()
            head.fields = without(head.fields, named) if named else head.fields
        return head

    def _media(self) -> bytes:
        """The media type; refused are two, of which each client would take another one."""
        typed = self._look.get(b"content-type")
        if typed is None:
            return b""
        if b"," in typed:
            flat = self._fields
            named = (flat[i : i + 3] for i in range(0, len(flat), 4))
            values = [value for name, _, value in named if name.lower() == b"content-type"]
            if len(set(map(_media_type, values))) > 1:
                raise BadResponse("its response has several content types")
            self._look[b"content-type"] = typed = values[0]
        return _media_type(typed)

    def _read_framing(self, head: ResponseHead, version: str) -> None:
        coding = self._look.get(b"transfer-encoding")
        length = self._look.get(b"content-length")
        if coding is not None:
            if version == "1.0" or coding.strip(b" \t").lower() != b"chunked":
                raise BadResponse("its response has an unknown transfer coding")
        elif length is not None:
            length = length.strip(b" \t")
            if not length.isdigit() or len(length) > 18:
                raise BadResponse("its response has a bad length")
            head.length = int(length)
        elif not head.bodiless:
            head.until_close = True
            head.keep_alive = False


def _media_type(value: bytes) -> bytes:
    """The media type in a field value, in small letters and without parameters."""
    return value.partition(b";")[0].strip(b" \t").lower()
