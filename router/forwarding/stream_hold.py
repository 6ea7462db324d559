"""The beginning of a response, held until it counts as one and no other mirror is needed."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from router.balancing.failure import OF_OWN_KEY, Failure, failure_of_status
from router.balancing.rate_limit import openai_error
from router.upstream.dialect import Dialect, Sight, failure_of_error, look
from router.wire.inflate import inflated
from router.wire.response import ResponseHead
from router.wire.sse import Event, EventSplitter, EventTooLong

MOST_EVENTS = 64
MOST_BYTES = 256 << 10
MOST_ERROR = 16 << 10
"""Bytes of a JSON error that are waited for."""
_SNIFFED = 512
"""Bytes within which the first that are not blank must show what it is."""
_PAGE = re.compile(rb"\s*<(?:!doctype|html|head|body)", re.IGNORECASE)
_ERROR = re.compile(rb'\s*\{\s*"error"\s*:\s*["{]')
_UNDECIDED = re.compile(
    rb'\s*(?:<[!a-z]{0,8}|(?:\{\s*(?:"(?:e(?:r(?:r(?:o(?:r(?:"(?:\s*(?::\s*)?)?)?)?)?)?)?)?)?)?)',
    re.IGNORECASE,
)
"""A beginning of one of these."""


class Decision(StrEnum):
    """Decision on the beginning of a response."""

    wait = "wait"
    commit = "commit"
    fail = "fail"


@dataclass(frozen=True, slots=True)
class Verdict:
    """A decision, and for `fail` what is wrong."""

    decision: Decision
    failure: Failure | None = None
    detail: str = ""
    readable: bool = False
    """True if a client can make something of it, if no other mirror can answer."""


WAIT, COMMIT = Verdict(Decision.wait), Verdict(Decision.commit)


def _fail(failure: Failure, detail: str, readable: bool = False) -> Verdict:
    return Verdict(Decision.fail, failure, detail, readable)


_IS_PAGE = _fail(Failure.page, "an HTML page instead of an answer")


class Hold:
    """The beginning of one response with a status below 400."""

    __slots__ = (
        "_bytes",
        "_decided",
        "_dialect",
        "_events",
        "_held",
        "_lent",
        "_seen",
        "_sniffing",
        "_splitter",
        "_start",
    )

    def __init__(
        self,
        dialect: Dialect,
        content_type: bytes,
        *,
        encoded: bool = False,
        lent: bool = False,
    ) -> None:
        """`encoded`: the body is compressed; `lent`: the mirror was given its own key."""
        media = content_type.partition(b";")[0].strip().lower()
        self._dialect = dialect
        self._lent = lent
        self._events = media == b"text/event-stream"
        self._splitter = EventSplitter(MOST_BYTES)
        self._held: list[bytes] = []
        self._bytes = 0
        self._seen = 0
        self._start = b""
        self._sniffing = True
        looked_into = not encoded and (self._events or dialect is not Dialect.other)
        self._decided = None if looked_into else COMMIT
        if looked_into and media == b"text/html":
            self._decided = _IS_PAGE

    def __repr__(self) -> str:
        return f"<Hold {self._decided.decision if self._decided else 'waiting'}, {self._bytes} B>"

    @property
    def verdict(self) -> Verdict:
        """The decision so far."""
        return self._decided or WAIT

    def take(self) -> list[bytes]:
        """Return and forget the held bytes."""
        held, self._held = self._held, []
        return held

    def feed(self, piece: bytes) -> Verdict:
        """Take a piece of the body. Once it is decided, nothing more is held."""
        if self._decided is not None:
            return self._decided
        self._held.append(piece)
        self._bytes += len(piece)
        verdict = self._sniffed(piece) if self._sniffing else WAIT
        if verdict is WAIT and self._events:
            verdict = self._read(piece)
        if verdict is WAIT and self._bytes >= (MOST_BYTES if self._events else MOST_ERROR):
            verdict = COMMIT
        return self._decide(verdict)

    def ended(self) -> Verdict:
        """The body is complete: what was not decided is now."""
        if self._decided is not None:
            return self._decided
        if _ERROR.match(self._start):
            return self._decide(self._json_error())
        if not self._events:
            return self._decide(COMMIT)
        last = self._splitter.finish()
        verdict = self._look_at([last] if last is not None else [])
        empty = _fail(Failure.empty, "a stream without content")
        return self._decide(empty if verdict is WAIT else verdict)

    def _decide(self, verdict: Verdict) -> Verdict:
        if verdict is not WAIT:
            self._decided = verdict
        return verdict

    def _sniffed(self, piece: bytes) -> Verdict:
        """Verdict on the first bytes, whatever the content type promises."""
        start = self._start = (self._start + piece)[:_SNIFFED]
        if _PAGE.match(start):
            return _IS_PAGE
        if _ERROR.match(start):
            self._sniffing = False
            return WAIT
        undecided = len(start) < _SNIFFED and _UNDECIDED.fullmatch(start) is not None
        self._sniffing = undecided
        return WAIT if undecided or self._events else COMMIT

    def _json_error(self) -> Verdict:
        error = openai_error(b"".join(self._held)) or {}
        return self._error(error, "an error with a good status")

    def _error(self, error: Mapping[str, Any], detail: str) -> Verdict:
        failure = failure_of_error(error, lent=self._lent)
        if failure is None:
            return COMMIT
        return _fail(failure, detail, failure not in OF_OWN_KEY)

    def _read(self, piece: bytes) -> Verdict:
        try:
            return self._look_at(self._splitter.feed(piece))
        except EventTooLong:
            return COMMIT

    def _look_at(self, events: list[Event]) -> Verdict:
        for event in events:
            self._seen += 1
            seen = look(self._dialect, event)
            if seen.sight is Sight.error:
                return self._error(seen.error or {}, "an error to begin with")
            if seen.sight is Sight.garbage:
                return _fail(Failure.page, "an event that is none", True)
            if seen.sight is Sight.done:
                return _fail(Failure.empty, "a stream without content")
            if seen.sight is not Sight.nothing or self._seen >= MOST_EVENTS:
                return COMMIT
        return WAIT


class Ending:
    """Has a stream said that it is complete? Asked only where its framing does not tell, that is
    when the end of the connection is the end of the body."""

    __slots__ = ("_dialect", "_splitter", "complete")

    def __init__(self, dialect: Dialect) -> None:
        self._dialect = dialect
        self._splitter: EventSplitter | None = EventSplitter(MOST_BYTES)
        self.complete = False

    def feed(self, piece: bytes) -> None:
        """A piece was forwarded."""
        if self._splitter is None:
            return
        try:
            events = self._splitter.feed(piece)
        except EventTooLong:  # whoever sends such events: nothing more is known of this stream
            self._splitter = None
            return
        for event in events:
            if look(self._dialect, event).sight in (Sight.finish, Sight.done):
                self.complete = True


MOST_REFUSAL = 64 << 10
"""Bytes of an error's body that are kept to look into it."""


def needs_look(head: ResponseHead, dialect: Dialect) -> bool:
    """True if the body of a good response may show that it is none."""
    return dialect is not Dialect.other or head.is_event_stream


def is_plainly_good(head: ResponseHead, piece: bytes) -> bool:
    """True if the first piece of a body shows at once that it is an answer: JSON, and no error.

    Most are; it saves looking closely, 2 µs a request.
    """
    begins = piece[:64]
    return head.media == b"application/json" and begins[:1] == b"{" and b'"error"' not in begins


def hold_of(head: ResponseHead, dialect: Dialect, *, lent: bool) -> Hold:
    """Return the hold for the beginning of a good response; `lent`: the mirror was given its own
    key."""
    media = head.look.get(b"content-type", b"")
    return Hold(dialect, media, encoded=bool(head.encoding), lent=lent)


def failure_of(head: ResponseHead, own_key: bool) -> Failure | None:
    """Failure that the head of a response means."""
    if head.status < 400:
        return None
    html = head.media == b"text/html"
    return failure_of_status(head.status, html=html, own_key=own_key)


class Refusal:
    """Keeps the body of an error, to see whose it is."""

    __slots__ = ("_complete", "_held", "_size")

    def __init__(self) -> None:
        self._held: list[bytes] = []
        self._size = 0
        self._complete = False

    @property
    def complete(self) -> bool:
        """True if all of it is here, or as much as is kept."""
        return self._complete or self._size > MOST_REFUSAL

    def feed(self, piece: bytes) -> None:
        """A piece of the body."""
        self._held.append(piece)
        self._size += len(piece)

    def ended(self) -> None:
        """The body is complete."""
        self._complete = True

    def take(self) -> list[bytes]:
        """Return and forget the kept bytes."""
        held, self._held = self._held, []
        return held

    def body(self, encoding: bytes) -> bytes:
        """All of it, readable; empty if it was not complete, or cannot be read."""
        if not self._complete:
            return b""
        held = b"".join(self._held)
        return inflated(held, encoding, MOST_REFUSAL) if encoding else held
