"""Server-sent events out of a byte stream, however it is cut into pieces.

As the WHATWG's HTML standard has it (section 9.2.6, "Interpreting an event stream"): lines end with
CR LF, LF or CR, a blank line ends an event, a line that begins with ":" is a comment. Only `event`
and `data` are kept.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from router.wire.octets import CR, LF

_LINE: Final = re.compile(rb"([^\r\n]*+)(\r\n|\n|\r)")
_BOM: Final = b"\xef\xbb\xbf"
_TAIL = 512
_KEPT: Final = 2 << 10
"""Bytes at the end of a stream that are kept to see whether it was complete: some eight events."""
_MOST_KEPT: Final = 2 * _KEPT
_AT_BOUNDARY = re.compile(
    rb"(?>\r\n|\n|\r)(?>\r\n|\n|\r)(?>:[^\r\n]*+(?>\r\n|\n|\r))*+\Z",
)
"""Two ends of line, that is a blank line; then nothing but comments."""
_BLANK = re.compile(rb"(?>\r\n|\n|\r)(?>\r\n|\n|\r)")


@dataclass(frozen=True, slots=True)
class Event:
    """One event: its name, empty if it has none, and its data with lines joined by LF."""

    name: bytes
    data: bytes


class EventTooLong(ValueError):
    """An event longer than the limit."""


class EventSplitter:
    """Gives the events of a stream as they become complete."""

    __slots__ = ("_after_cr", "_begun", "_data", "_limit", "_name", "_rest", "_rest_size", "_size")

    def __init__(self, limit: int) -> None:
        """`limit`: bytes of one event; beyond it `feed` raises EventTooLong."""
        self._limit = limit
        self._rest: list[bytes] = []
        """Pieces of a line that has not ended."""
        self._name = b""
        self._data: list[bytes] = []
        self._rest_size = 0
        self._size = 0
        """Bytes of data in the lines of the event so far."""
        self._after_cr = False
        self._begun = False

    def __repr__(self) -> str:
        return f"<EventSplitter {self.pending} bytes pending>"

    @property
    def pending(self) -> int:
        """Bytes of an event that has not ended."""
        return self._size + self._rest_size

    @property
    def between_events(self) -> bool:
        """True if nothing of an event has come since the last one, not even its name."""
        return not (self._data or self._name or self._rest_size)

    def feed(self, piece: bytes) -> list[Event]:
        """Take a piece of the stream; the events that end within it."""
        if self._after_cr and piece:  # the CR before may have been half of a CR LF
            piece = piece.removeprefix(b"\n")
            self._after_cr = False
        self._rest.append(piece)
        self._rest_size += len(piece)
        if LF not in piece and CR not in piece:
            self._check()
            return []
        text, self._rest_size = self._joined(), 0
        self._after_cr = text.endswith(b"\r")
        events: list[Event] = []
        end = max(text.rfind(b"\n"), text.rfind(b"\r")) + 1
        # beyond it each place would be tried as the begin of a line: seconds for 64 KiB
        for match in _LINE.finditer(text, 0, end):
            event = self._line(match[1])
            if event is not None:
                events.append(event)
        self._rest, self._rest_size = [text[end:]], len(text) - end
        self._check()
        return events

    def finish(self) -> Event | None:
        """The stream has ended: an event that lacks its blank line, if there is one."""
        rest = self._joined()
        self._rest, self._rest_size = [], 0
        if rest:
            self._line(rest)
        return self._line(b"")

    def _joined(self) -> bytes:
        text = b"".join(self._rest)
        if not self._begun:
            self._begun = True
            text = text.removeprefix(_BOM)
        return text

    def _line(self, line: bytes) -> Event | None:
        if not line:
            return self._dispatch()
        field, _, value = line.partition(b":")
        if field == b"data":
            self._data.append(value.removeprefix(b" "))
            self._size += len(value)
            self._check()
        elif field == b"event":
            self._name = value.removeprefix(b" ")
        return None

    def _dispatch(self) -> Event | None:
        name, data = self._name, self._data
        self._name, self._data, self._size = b"", [], 0
        return Event(name, b"\n".join(data)) if data else None

    def _check(self) -> None:
        if self._size + self._rest_size > self._limit:
            raise EventTooLong(f"an event of more than {self._limit} bytes")


class Boundary:
    """The end of what was forwarded of a stream: is the client between two events, and which were
    the last ones?

    Only between events something can be added that a client will read as an event of its own. To
    keep up costs an append per piece; questions are asked when a stream ends or is silent.
    """

    __slots__ = ("_begins", "_parts", "_size")

    def __init__(self) -> None:
        self._begins = True
        """True if nothing has been dropped: the beginning of the stream is still here."""
        self._parts = [b"\n\n"]
        self._size = 2

    def __repr__(self) -> str:
        return f"<Boundary {'between events' if self.between_events else 'within one'}>"

    def feed(self, piece: bytes) -> None:
        """A piece was forwarded."""
        self._parts.append(piece)
        self._size += len(piece)
        if self._size >= _MOST_KEPT:
            self._parts = [b"".join(self._parts)[-_KEPT:]]
            self._size = _KEPT
            self._begins = False

    @property
    def between_events(self) -> bool:
        """True if the last event is complete and none has begun."""
        tail = self._tail
        return _AT_BOUNDARY.search(tail, max(0, len(tail) - _TAIL)) is not None

    def ends_with(self, line: bytes) -> bool:
        """True if this was the last line that is not blank."""
        return self._tail.rstrip(b"\r\n").endswith(line)

    @property
    def begun_line(self) -> bytes:
        """The end of a line that has not ended; all that is known of it, if it is a long one."""
        tail = self._tail
        return tail[max(tail.rfind(b"\n"), tail.rfind(b"\r")) + 1 :]

    def last_event(self) -> Event | None:
        """Return the last event, unless it is a long one or comments follow it."""
        text = self._tail.rstrip(b"\r\n")
        begin = max(text.rfind(blank) for blank in (b"\n\n", b"\r\n\r\n", b"\r\r"))
        events = _events_in(text[begin:]) if begin >= 0 else []
        return events[0] if events else None

    def last_events(self) -> tuple[list[Event], bool]:
        """Return the last whole events, and if these are all that the stream had."""
        tail = self._tail
        if not self._begins:
            blank = _BLANK.search(tail)
            tail = tail[blank.end() :] if blank is not None else b""
        return _events_in(tail), self._begins

    @property
    def _tail(self) -> bytes:
        if len(self._parts) > 1:
            self._parts = [b"".join(self._parts)]
        return self._parts[0]


def _events_in(text: bytes) -> list[Event]:
    splitter = EventSplitter(2 * _KEPT)
    events = splitter.feed(text)
    last = splitter.finish()
    return [*events, last] if last is not None else events
