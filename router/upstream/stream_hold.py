"""The beginning of a stream, held until it counts as one and no other mirror is needed.

What holds for a stream that ends, and for the body of an error, stands here too; plain answers are
looked into in `plain_answers.py`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

from monitor.common.inflate import READABLE, CannotInflate, Inflater, inflated
from router.balancing.failure import OF_OWN_KEY, Failure, failure_of_status
from router.balancing.rate_limit import openai_error
from router.upstream.dialect import Dialect, Sight, failure_of_error, look, says_complete
from router.wire.response import ResponseHead
from router.wire.sse import Boundary, Event, EventSplitter, EventTooLong

MOST_EVENTS = 64
MOST_BYTES: Final = 256 << 10
_SNIFFED: Final = 512
"""Bytes within which the first that are not blank must show what it is."""
PAGE: Final = re.compile(rb"\s*<(?:!doctype|html|head|body)", re.IGNORECASE)
_ERROR: Final = re.compile(rb'\s*\{\s*"error"\s*:\s*["{]')
_UNDECIDED: Final = re.compile(
    rb'\s*(?:<[!a-z]{0,8}|(?:\{\s*(?:"(?:e(?:r(?:r(?:o(?:r(?:"(?:\s*(?::\s*)?)?)?)?)?)?)?)?)?)?)',
    re.IGNORECASE,
)
"""A beginning of one of these."""


_DONE: Final = b"data: [DONE]"
_MOST_EXTRAS = 2
"""Events that may follow the one that says that a stream is complete: its usage, and a mirror's
own."""


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


def fail(failure: Failure, detail: str, readable: bool = False) -> Verdict:
    return Verdict(Decision.fail, failure, detail, readable)


IS_PAGE = fail(Failure.page, "an HTML page instead of an answer")
_EMPTY = fail(Failure.empty, "a stream without content")


class Hold:
    """The beginning of one event stream with a status below 400."""

    read_whole = False
    """A stream that has content can still break off."""

    __slots__ = (
        "_bytes",
        "_dialect",
        "_held",
        "_inflater",
        "_lent",
        "_seen",
        "_sniffing",
        "_splitter",
        "_start",
        "_verdict",
    )

    def __init__(self, dialect: Dialect, *, encoding: bytes = b"", lent: bool = False) -> None:
        """`encoding`: the codings of the body; `lent`: the mirror was given its own key."""
        self._dialect = dialect
        self._lent = lent
        self._splitter = EventSplitter(MOST_BYTES)
        self._held: list[bytes] = []
        self._bytes = 0
        self._seen = 0
        self._start = b""
        self._sniffing = True
        self._inflater = Inflater() if encoding in READABLE else None
        self._verdict = COMMIT if encoding and self._inflater is None else WAIT

    def __repr__(self) -> str:
        return f"<Hold {self._verdict.decision}, {self._bytes} B>"

    @property
    def verdict(self) -> Verdict:
        """The decision so far."""
        return self._verdict

    @property
    def begun(self) -> int:
        """Bytes of an event that has begun and not ended; 0 while a model thinks between two."""
        return self._splitter.pending

    def take(self) -> list[bytes]:
        """Return and forget the held bytes."""
        held, self._held = self._held, []
        return held

    def feed(self, piece: bytes) -> Verdict:
        """Take a piece of the body. Once it is decided, nothing more is held."""
        if self._verdict is not WAIT:
            return self._verdict
        self._held.append(piece)
        self._bytes += len(piece)
        if self._inflater is None:
            verdict = self._look_into(piece)
        else:
            verdict = self._look_into_compressed(self._inflater, piece)
        if verdict is WAIT and self._bytes >= MOST_BYTES:
            verdict = self._full()
        self._verdict = verdict
        return verdict

    def ended(self) -> Verdict:
        """The body is complete: what was not decided is now."""
        if self._verdict is WAIT:
            self._verdict = self._of_whole()
        return self._verdict

    def _full(self) -> Verdict:
        """Verdict on more than is held: of comments alone there may be any number."""
        if self._inflater is not None or self._seen or not self._splitter.between_events:
            return COMMIT
        self._held, self._bytes = [], 0
        return WAIT

    def _of_whole(self) -> Verdict:
        if self._bytes and self._inflater is not None and not self._inflater.ends_whole():
            return fail(Failure.malformed, "a truncated compressed stream")
        if _ERROR.match(self._start):
            error = openai_error(b"".join(self._held)) if self._inflater is None else None
            return self._error(error or {}, "an error with a success status", Failure.refused)
        last = self._splitter.finish()
        verdict = self._look_at([last] if last is not None else [])
        return self._empty if verdict is WAIT else verdict

    @property
    def _empty(self) -> Verdict:
        """Verdict on a stream that ends without content: where that is not known, it is whole."""
        return COMMIT if self._dialect is Dialect.other else _EMPTY

    def _look_into(self, piece: bytes) -> Verdict:
        verdict = self._sniffed(piece) if self._sniffing else WAIT
        return self._read(piece) if verdict is WAIT else verdict

    def _look_into_compressed(self, inflater: Inflater, piece: bytes) -> Verdict:
        try:
            for out in inflater.feed(piece):
                verdict = self._look_into(out)
                if verdict is not WAIT:
                    return verdict
                if inflater.size > MOST_BYTES:
                    return COMMIT
        except CannotInflate:
            return fail(Failure.malformed, "a stream that is not compressed as it says")
        return WAIT

    def _sniffed(self, piece: bytes) -> Verdict:
        """Verdict on the first bytes, whatever the content type promises."""
        start = self._start = (self._start + piece)[:_SNIFFED]
        if PAGE.match(start):
            return IS_PAGE
        if _ERROR.match(start):
            self._sniffing = False
            return WAIT
        self._sniffing = len(start) < _SNIFFED and _UNDECIDED.fullmatch(start) is not None
        return WAIT

    def _error(self, error: Mapping[str, Any], detail: str, kind: Failure) -> Verdict:
        failure = failure_of_error(error, lent=self._lent)
        if failure is None:
            return COMMIT
        failure = kind if failure is Failure.error_event else failure
        return fail(failure, detail, failure not in OF_OWN_KEY)

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
                return self._error(
                    seen.error or {}, "an error as the first event", Failure.error_event
                )
            if seen.sight is Sight.garbage:
                return fail(Failure.page, "a malformed event", True)
            if seen.sight is Sight.done:
                return self._empty
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

    @property
    def known(self) -> bool:
        """False if an event was too long to be looked into, so that the end is not known."""
        return self._splitter is not None

    def feed(self, piece: bytes) -> None:
        """A piece was forwarded."""
        if self._splitter is None:
            return
        try:
            events = self._splitter.feed(piece)
        except EventTooLong:
            self._splitter = None
            return
        for event in events:
            if says_complete(self._dialect, event):
                self.complete = True


def breaks_off(dialect: Dialect, boundary: Boundary) -> bool:
    """True if a stream that has ended properly has not said that it is complete.

    Only its last events are known: as long as they may be extras behind the last word, it is.
    """
    if boundary.ends_with(_DONE):  # as most do
        return False
    last = boundary.last_event()
    if last is not None and says_complete(dialect, last):
        return False
    events, all_of_them = boundary.last_events()
    others = 0
    for event in events:
        if says_complete(dialect, event):
            return False
        others += look(dialect, event).sight in (Sight.content, Sight.nothing)
    if others >= (1 if all_of_them else _MOST_EXTRAS + 1):
        return True
    begun = boundary.begun_line  # of an event that is longer than what is known, maybe
    return bool(begun) and not begun.startswith(b":") and not begun.endswith((b"}", b"]"))


MOST_REFUSAL = 64 << 10
"""Bytes of an error's body that are kept to look into it."""


def failure_of(head: ResponseHead, own_key: bool) -> Failure | None:
    """Failure that the head of a response means."""
    if head.status < 400:
        return None
    html = head.media == b"text/html"
    return failure_of_status(head.status, html=html, own_key=own_key)


class Refusal:
    """Keeps the body of an error, to see whose it is."""

    __slots__ = ("_complete", "_held", "_size", "failure")

    def __init__(self, failure: Failure | None = None) -> None:
        """`failure`: of its status, where the body decides if another mirror is tried."""
        self.failure = failure
        self._held: list[bytes] = []
        self._size = 0
        self._complete = False

    @property
    def begun(self) -> int:
        """Bytes that are kept."""
        return self._size

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
        return _inflated(held, encoding) if encoding else held


def _inflated(body: bytes, encoding: bytes) -> bytes:
    """All of a compressed error; empty if it is too long or cannot be read."""
    if encoding not in READABLE:
        return b""
    try:
        content, whole = inflated(body, MOST_REFUSAL)
    except CannotInflate:
        return b""
    return content if whole else b""
