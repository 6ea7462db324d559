"""Plain answers: a body that is no stream counts as one only if it begins and ends like one.

Relays put their own errors, pages and halves of documents behind a good status. Which keys the
object of an endpoint has is known; any of them suffices, since relays differ, and to refuse a good
answer is worse than to pass on a bad one. A small body is held until it is whole, so that another
mirror can still answer; of a long one the beginning is looked at, and at its end the last bytes.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any, Final, NamedTuple

import msgspec

from monitor.common.inflate import READABLE, CannotInflate, Inflater
from router.balancing.failure import OF_OWN_KEY, Failure
from router.upstream.dialect import Dialect, failure_of_error
from router.upstream.stream_hold import COMMIT, IS_PAGE, PAGE, WAIT, Verdict, fail
from router.wire.head import RequestHead
from router.wire.response import ResponseHead

MOST_HELD: Final = 16 << 10
"""Bytes of a body that are held until it is whole; of a longer one the beginning decides."""
_MOST_READ = 64 << 10
"""Bytes of a whole body that are read as JSON; of a longer one the first and the last byte."""
_MOST_INFLATED = 4 << 20
"""Bytes that a body is inflated to for the check of its end."""
_MOST_COMPRESSED = 256 << 10
"""Compressed bytes of which the end is checked: inflating them takes 2 ms."""
_JSON: Final = b"application/json"
_LOOKED_AT = frozenset(
    (
        b"",
        _JSON,
        b"application/octet-stream",
        b"application/problem+json",
        b"application/xml",
        b"text/html",
        b"text/json",
        b"text/plain",
        b"text/xml",
    )
)
"""Media types that errors and answers come as; another one, such as NDJSON, is meant."""
_KEY = {
    "chat": "choices",
    "completions": "choices",
    "responses": "output",
    "embeddings": "data",
    "images": "data",
    "moderations": "results",
    "messages": "content",
}
"""The key that carries the content of an endpoint's object."""
_ENDS = (
    b"/completions",
    b"/responses",
    b"/embeddings",
    b"/images/generations",
    b"/moderations",
    b"/messages",
)
"""Ends of the paths whose answer's shape is known; what lies below them answers otherwise."""
_OTHER_KEYS = (
    *("id", "object", "created", "created_at", "model", "usage", "type", "system_fingerprint"),
    *("choices", "output", "data", "results", "content", "embeddings", "images", "text"),
    *("completion", "output_text", "input_tokens"),
)
"""Keys that objects of relays have which answer in a shape of their own."""
_MESSAGES = ("message", "msg", "detail", "error_msg", "errmsg", "error_message")
_STREAM = re.compile(rb"(?:data|event|id|retry)?:")
_STREAM_BEGINS = re.compile(rb"d(?:a(?:ta?)?)?|e(?:v(?:e(?:nt?)?)?)?|id?|r(?:e(?:t(?:ry?)?)?)?")
_LAST_WORDS = b"data: [DONE]\n\n"
"""The end of a stream that is whole even if the compression's end is missing."""
_MOST_BLANK = 1024
"""Bytes among which the first that is not blank shows if a long body is an object."""
_BLANK = b" \t\r\n"
_BOM: Final = b"\xef\xbb\xbf"


def _decoder(key: str) -> Any:
    fields = [("found", msgspec.Raw, msgspec.field(name=key)), ("error", Any, None)]
    return msgspec.json.Decoder(msgspec.defstruct("Answer", fields, gc=False)).decode


_DECODERS = {key: _decoder(key) for key in set(_KEY.values())}
_DECODER_OF: Final = {endpoint: _DECODERS[key] for endpoint, key in _KEY.items()}
_LEAST: Final = len(b"null")
"""Bytes of a value that may be nothing."""


def is_plainly_good(head: ResponseHead, endpoint: str, body: bytes) -> bool:
    """True if a whole body is an answer of that endpoint without a doubt.

    Most are; it saves looking closely. It takes 0.5 µs, and 5 µs for 16 KiB.
    """
    decode = _DECODER_OF.get(endpoint)
    if decode is None or head.media != _JSON or len(body) > MOST_HELD:
        return False
    return _has_content(decode, body)


def _has_content(decode: Any, body: bytes) -> bool:
    try:
        answer = decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return False
    return answer.error is None and memoryview(answer.found).nbytes > _LEAST


def is_long_and_good(head: ResponseHead, piece: bytes) -> bool:
    """True if the first piece of a long body begins as an answer, and as no error."""
    if (head.length or 0) <= MOST_HELD or head.media != _JSON or head.encoding:
        return False
    begins = piece[:64]
    return begins[:1] == b"{" and b'"error"' not in begins


class Shape(NamedTuple):
    """Knowledge of what a plain answer to a request looks like."""

    key: str
    """The key that carries the content; "" where only errors and pages can be told."""
    streams: bool
    """True if a stream with another content type may be one all the same."""


ANY = Shape("", False)


def shape_of(
    request: RequestHead, endpoint: str, dialect: Dialect, response: ResponseHead
) -> Shape | None:
    """Return the shape of a good response; None where nothing is known of it."""
    if response.bodiless or request.method == b"HEAD" or response.media not in _LOOKED_AT:
        return None
    name = "messages" if dialect is Dialect.messages else endpoint
    known = request.method == b"POST" and response.status == 200 and name in _KEY
    if known and request.target.partition(b"?")[0].rstrip(b"/").endswith(_ENDS):
        return Shape(_KEY[name], dialect is not Dialect.other or name == "images")
    return None if dialect is Dialect.other else Shape("", True)


class PlainHold:
    """The beginning of one plain response with a good status, or all of it."""

    __slots__ = (
        "_begins",
        "_blank",
        "_encoding",
        "_held",
        "_lent",
        "_shape",
        "_size",
        "_verdict",
        "is_stream",
        "read_whole",
    )

    def __init__(self, shape: Shape, encoding: bytes, *, lent: bool) -> None:
        """`lent`: the mirror was given its own key."""
        self._shape = shape
        self._encoding = encoding
        self._lent = lent
        self._held: list[bytes] = []
        self._size = 0
        self._blank = True
        self._begins = b""
        """The first bytes that are not blank, until they show what it is."""
        self.read_whole = False
        """True if the verdict is one on all of the body."""
        self.is_stream = False
        """True if it begins as an event stream, whatever it is called."""
        self._verdict = COMMIT if encoding and encoding not in READABLE and not shape.key else WAIT

    def __repr__(self) -> str:
        return f"<PlainHold {self._verdict.decision}, {self._size} B>"

    @property
    def verdict(self) -> Verdict:
        """The decision so far."""
        return self._verdict

    @property
    def begun(self) -> int:
        """Bytes that are held; 0 while they are blank, as some send while a model thinks."""
        return 0 if self._blank else self._size

    def take(self) -> list[bytes]:
        """Return and forget the held bytes."""
        held, self._held = self._held, []
        return held

    def feed(self, piece: bytes) -> Verdict:
        """Take a piece of the body. Once it is decided, nothing more is held."""
        if self._verdict is not WAIT:
            return self._verdict
        self._held.append(piece)
        self._size += len(piece)
        if self._blank:
            self._begin(piece)
        if self._verdict is WAIT and self._size >= MOST_HELD:
            self._verdict = self._of_beginning()
        return self._verdict

    def ended(self) -> Verdict:
        """The body is complete: what was not decided is now."""
        if self._verdict is WAIT:
            self._verdict = self._of_whole()
            self.read_whole = True
        return self._verdict

    def _begin(self, piece: bytes) -> None:
        """Look at the first bytes that are not blank: a stream must not be held."""
        if self._encoding:
            self._blank = not self._size
            if self._encoding not in READABLE and self._size:
                self._verdict = COMMIT
            return
        begin = self._begins = (
            (self._begins + piece).lstrip(_BLANK).removeprefix(_BOM).lstrip(_BLANK)
        )
        if not begin or _STREAM_BEGINS.fullmatch(begin) or _BOM.startswith(begin):
            return
        self._blank = False
        if self._shape.streams and _STREAM.match(begin):
            self._verdict, self.is_stream = COMMIT, True

    def _of_beginning(self) -> Verdict:
        """Verdict on a long body: JSON or not."""
        body = b"".join(self._held)
        if self._encoding:
            try:
                body = next(Inflater().feed(body), b"")
            except CannotInflate:
                return fail(Failure.malformed, "a body that is not compressed as it says")
        begin = _stripped(body)
        if PAGE.match(begin):
            return IS_PAGE
        if begin.startswith(b"{") or not begin or not self._shape.key:
            return COMMIT
        return fail(Failure.page, "text instead of an answer")

    def _of_whole(self) -> Verdict:
        body = b"".join(self._held)
        if self._encoding in READABLE:
            try:
                body = _inflated(body)
            except CannotInflate:
                return fail(Failure.malformed, "a truncated compressed body")
            if len(body) > _MOST_INFLATED:
                return COMMIT
        return judge(body, self._shape.key, lent=self._lent)


def judge(body: bytes, key: str, *, lent: bool = False) -> Verdict:
    """Verdict on a whole body. `key` carries the content, "" where that is not known; `lent`: the
    mirror was given its own key."""
    if key and len(body) <= MOST_HELD and _has_content(_DECODERS[key], body):
        return COMMIT
    text = _stripped(body)
    if PAGE.match(text):
        return IS_PAGE
    if not text:
        return fail(Failure.empty, "an empty body") if key else COMMIT
    if len(body) > _MOST_READ:
        good = not key or (text.startswith(b"{") and text.endswith(b"}"))
        return COMMIT if good else fail(Failure.malformed, "a truncated body")
    try:
        data = _loaded(text)
    except RecursionError:
        return COMMIT
    except ValueError:
        if not key:
            return COMMIT
        if text.startswith((b"{", b"[")):
            return fail(Failure.malformed, "a truncated body")
        return fail(Failure.page, "text instead of an answer")
    if isinstance(data, dict):
        return _of_object(data, key, lent)
    if not key:
        return COMMIT
    if not data:
        return fail(Failure.empty, "a body without content")
    return fail(Failure.malformed, "another value instead of an answer", isinstance(data, list))


def _of_object(data: Mapping[str, Any], key: str, lent: bool) -> Verdict:
    error = error_in(data) if key else _named_error(data)
    if error is not None and not (key and data.get(key)):
        failure = failure_of_error(error, lent=lent)
        if failure is None:
            return COMMIT
        failure = Failure.refused if failure is Failure.error_event else failure
        return fail(failure, "an error with a success status", failure not in OF_OWN_KEY)
    if not key or key in data or any(data.get(name) for name in _OTHER_KEYS):
        return COMMIT
    if not data:
        return fail(Failure.empty, "an empty object")
    return fail(Failure.malformed, "an object that is no answer", readable=True)


def error_in(data: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """Return the error that an object holds or is, in OpenAI's shape or one of the relays'."""
    error = _named_error(data)
    if error is not None:
        return error
    kinds = (data.get("object"), data.get("type"))
    says = any(isinstance(data.get(name), str) and data[name] for name in _MESSAGES)
    return data if "error" in kinds or data.get("success") is False or says else None


def _named_error(data: Mapping[str, Any]) -> Mapping[str, Any] | None:
    error = data.get("error")
    if not error or data.get("object") == "response":  # a response that failed is one that ran
        return None
    return error if isinstance(error, dict) else {"message": str(error)}


def readable_error(body: bytes) -> Mapping[str, Any] | None:
    """Return the error of a body that says nothing else, None for what cannot be read."""
    try:
        data = _loaded(_stripped(body))
    except (ValueError, RecursionError):
        return None
    return error_in(data) if isinstance(data, dict) else None


def _loaded(text: bytes) -> Any:
    try:
        return json.loads(text)
    except UnicodeDecodeError:  # as JavaScript's clients read it
        return json.loads(text.decode("utf-8", "replace"))


def _stripped(body: bytes) -> bytes:
    return body.strip(_BLANK).removeprefix(_BOM).lstrip(_BLANK)


def _inflated(body: bytes) -> bytes:
    """The content of a compressed body, up to the bound. Raises CannotInflate where it breaks
    off."""
    inflater, out = Inflater(), list[bytes]()
    for piece in inflater.feed(body):
        out.append(piece)
        if inflater.size > _MOST_INFLATED:
            return b"".join(out)
    if body and not inflater.ends_whole():
        raise CannotInflate("it breaks off")
    return b"".join(out)


class Pace:
    """The throughput of a body while bytes of it come: a bucket that time drains and bytes fill.

    A model that thinks may be silent for minutes, so a gap counts little; one that has begun to
    answer is far faster than this.
    """

    __slots__ = ("_left", "_looked_at", "_size")

    LEAST = 5.0
    """Bytes a second: a token or two."""
    AFTER = 30.0
    """Seconds that may pass without a byte, all gaps together."""
    LONGEST = 5.0
    """Seconds of a gap that count."""

    def __init__(self, now: float) -> None:
        self._left = self.LEAST * self.AFTER
        self._looked_at = now
        self._size = 0

    def __repr__(self) -> str:
        return f"<Pace {self._left:.0f} B left>"

    def drips(self, size: int, now: float) -> bool:
        """True if so few of now `size` bytes have come lately that nobody can use it. To be asked
        when some have come, once a tick."""
        gap = min(now - self._looked_at, self.LONGEST)
        full = self.LEAST * self.AFTER
        self._left = min(self._left - gap * self.LEAST + size - self._size, full)
        self._looked_at, self._size = now, size
        return self._left <= 0.0


class Rest:
    """The rest of a plain answer whose beginning its client has."""

    __slots__ = (
        "_broken",
        "_first",
        "_inflater",
        "_json",
        "_last",
        "_pace",
        "_size",
        "_words",
    )

    def __init__(self, is_object: bool, encoding: bytes, pace: Pace | None) -> None:
        """`is_object`: it must end as a JSON object does if it begins like one; `pace`: where drops
        are of no use."""
        self._json = is_object and (not encoding or encoding in READABLE)
        self._inflater = Inflater() if encoding in READABLE else None
        self._broken = False
        """True if it is not compressed as it is said to be."""
        self._first = b""
        """The first bytes, until one of them is not blank."""
        self._last = b""
        self._words = b""
        """The end of what was inflated."""
        self._size = 0
        self._pace = pace

    def __repr__(self) -> str:
        return f"<Rest {self._size} B, {self._pace!r}>"

    def feed(self, piece: bytes) -> None:
        """A piece was forwarded."""
        self._size += len(piece)
        if self._inflater is not None:
            self._inflate(self._inflater, piece)
        elif self._json:
            self._begin(piece)
            self._last = piece[-1:].strip(_BLANK) or piece.rstrip(_BLANK)[-1:] or self._last

    def _begin(self, piece: bytes) -> None:
        if not self._last or self._first:
            self._first = (self._first + piece)[:_MOST_BLANK]
            begin = _stripped(self._first)
            if begin and not _BOM.startswith(begin):
                self._first = b""
                self._json = begin.startswith(b"{")

    def _inflate(self, inflater: Inflater, piece: bytes) -> None:
        try:
            for out in inflater.feed(piece):
                if self._json:
                    self._begin(out)
                self._last = out.rstrip(_BLANK)[-1:] or self._last
                self._words = (self._words + out)[-len(_LAST_WORDS) :]
                if inflater.size > _MOST_INFLATED or self._size > _MOST_COMPRESSED:
                    self._inflater, self._json = None, False
                    return
        except CannotInflate:
            self._broken, self._inflater, self._json = True, None, False

    def is_whole(self) -> bool:
        """True if it ends, now that it does, as a whole one would."""
        if self._broken or self._words == _LAST_WORDS:
            return not self._broken
        if self._inflater is not None and not self._inflater.ends_whole():
            return False
        return not self._json or self._last == b"}"

    def drips(self, now: float) -> bool:
        """True if it is too slow to be of use (`Pace.drips`)."""
        return self._pace is not None and self._pace.drips(self._size, now)


def rest_of(shape: Shape | None, head: ResponseHead, now: float) -> Rest | None:
    """Return the watch on the rest of a good response, None where nothing is known of it."""
    if head.is_event_stream:  # a compressed one
        return Rest(False, head.encoding, None)
    if shape is None and not head.is_json:
        return None
    return Rest(shape is not None and bool(shape.key) and head.is_json, head.encoding, Pace(now))
