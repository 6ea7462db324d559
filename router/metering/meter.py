"""One answer on its way to the client: its bytes pass, and what they say of use is noted.

Nothing here raises, whatever a mirror sends, and what is kept has bounds.
"""

from __future__ import annotations

from dataclasses import replace

from monitor.common.inflate import READABLE, CannotInflate, Inflater
from router.metering.usage import Usage
from router.metering.usage_taps import EventTap, JsonTap
from router.upstream.dialect import Dialect
from router.wire.response import ResponseHead

_LEAST_EVENTS, _BYTES_PER_EVENT = 4096, 4
"""A compressed stream may have so many events, and then one for so many of its bytes: compressed
well, one of OpenAI's takes ten. A stream of a kilobyte with 300,000 is to keep a worker busy."""


class Meter:
    """Reads the answer that the client gets."""

    __slots__ = (
        "_events",
        "_hide",
        "_inflater",
        "_json",
        "broken",
        "ended",
        "head",
        "page",
        "readable",
        "size",
    )

    def __init__(self, head: ResponseHead, dialect: Dialect, hide: bool, images: bool) -> None:
        """`hide`: leave out an event that says nothing but the use; `images`: count them."""
        stream = head.is_event_stream
        self._inflater = Inflater() if head.encoding in READABLE else None
        self.readable = not head.encoding or self._inflater is not None
        """True if it can be looked into: not where it is compressed in a way we do not know."""
        self._hide = hide and stream and self.readable
        self._events = EventTap(dialect, self._hide) if stream else None
        self._json = JsonTap(images) if not stream and b"json" in head.media else None
        self.page = head.media == b"text/html"
        self.size = 0
        """Bytes of the body so far, as the mirror sent them."""
        self.ended = False
        self.broken = False
        """It cannot be read any more though the client's bytes depend on that: it must be cut."""
        self.head = _plain(head) if self._hide else head
        """The head that the client gets."""

    def __repr__(self) -> str:
        return f"<Meter {self._events or self._json}, {self.size} B>"

    def feed(self, parts: list[bytes], ended: bool) -> list[bytes]:
        """Read what came of the body; what may go to the client now."""
        self.size += sum(map(len, parts))
        self.ended = ended
        if self.readable:
            passed = [out for part in parts if (out := self._read(part))]
            parts = passed if self._hide else parts
        if ended and self._events is not None and (rest := self._events.finish()):
            parts = [*parts, rest]
        return parts

    def _read(self, part: bytes) -> bytes:
        if self._inflater is None:
            return self._tap(part)
        out: list[bytes] = []
        try:
            for piece in self._inflater.feed(part):
                read = self._tap(piece)
                self._check_events()
                if self._hide:
                    out.append(read)
        except CannotInflate:
            self.readable, self.broken = False, self._hide
        return b"".join(out)

    def _check_events(self) -> None:
        most = _LEAST_EVENTS + self.size // _BYTES_PER_EVENT
        if self._events is not None and self._events.events > most:
            raise CannotInflate("it has too many events for its size")

    def _tap(self, piece: bytes) -> bytes:
        if self._events is not None:
            return self._events.feed(piece)
        if self._json is not None:
            self._json.feed(piece)
        return piece

    @property
    def is_stream(self) -> bool:
        """True if it is a stream of events."""
        return self._events is not None

    @property
    def content(self) -> int:
        """Events with content so far."""
        return self._events.content if self._events is not None else 0

    @property
    def tokens(self) -> int:
        """Roughly what these events hold."""
        return self._events.tokens if self._events is not None else 0

    @property
    def final(self) -> bool:
        """True if its usage is that of the whole answer."""
        return self._events.final if self._events is not None else self.ended

    @property
    def reasons(self) -> bool:
        """True if it shows that the model has reasoned."""
        return self._events is not None and self._events.reasons

    @property
    def images(self) -> int:
        """Images so far."""
        tap = self._events or self._json
        return tap.images if tap is not None else 0

    @property
    def error(self) -> bool:
        """True if it said, with a good status, that there is no answer; ask for the usage first."""
        tap = self._events or self._json
        return tap is not None and tap.error

    def usage(self) -> Usage | None:
        """The usage that the mirror stated so far; of JSON only when it is complete."""
        if self._events is not None:
            return self._events.usage
        return self._json.usage() if self._json is not None and self.ended else None


def _plain(head: ResponseHead) -> ResponseHead:
    """The head of the same answer, shorter by an event and not compressed."""
    lines = b"".join(head.fields).splitlines(keepends=True)
    kept = [line for line in lines if line.partition(b":")[0].lower() != b"content-encoding"]
    look = {name: value for name, value in head.look.items() if name != b"content-encoding"}
    return replace(head, fields=kept, look=look, length=None)
