"""Events out of bytes, however they are cut."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.wire.sse import Boundary, Event, EventSplitter, EventTooLong

LIMIT = 1 << 20


def _events(pieces: list[bytes], limit: int = LIMIT) -> list[Event]:
    splitter = EventSplitter(limit)
    events = [event for piece in pieces for event in splitter.feed(piece)]
    last = splitter.finish()
    return [*events, last] if last is not None else events


@pytest.mark.parametrize(
    ("text", "events"),
    [
        (b"data: a\n\n", [Event(b"", b"a")]),
        (b"data:a\r\n\r\n", [Event(b"", b"a")]),
        (b"data: a\r\r", [Event(b"", b"a")]),
        (b"data: a\r\n\ndata: b\n\r\n", [Event(b"", b"a"), Event(b"", b"b")]),
        (b"\xef\xbb\xbfdata: a\n\n", [Event(b"", b"a")]),
        (b"data: a\ndata:  b\n\n", [Event(b"", b"a\n b")]),
        (b"event: e\nid: 7\nretry: 3\ndata: a\n\n", [Event(b"e", b"a")]),
        (b": comment\n\ndata: a\n\n: more\n", [Event(b"", b"a")]),
        (b"event: ping\n\ndata: a\n\n", [Event(b"", b"a")]),
        (b"data\n\n", [Event(b"", b"")]),
        (b"data: unfinished", [Event(b"", b"unfinished")]),
        (b"data: a\n\n\n\n", [Event(b"", b"a")]),
        (b"", []),
    ],
)
def test_events_are_found_at_any_cut(text: bytes, events: list[Event]) -> None:
    assert _events([text]) == events
    assert _events([text[i : i + 1] for i in range(len(text))]) == events


LINES = st.one_of(
    st.sampled_from([b"", b"", b"data: x", b"data", b"event: e", b": c", b"id: 1", b"data: \xff"]),
    st.binary(max_size=12).map(lambda b: b.replace(b"\r", b"").replace(b"\n", b"")),
)
TEXTS = st.lists(st.tuples(LINES, st.sampled_from([b"\n", b"\r\n", b"\r"])), max_size=20).map(
    lambda lines: b"".join(line + end for line, end in lines)
)
CUTS = st.lists(st.integers(0, 200), max_size=12)


def _cut(text: bytes, cuts: list[int]) -> list[bytes]:
    places = sorted({0, len(text), *(min(cut, len(text)) for cut in cuts)})
    return [text[a:b] for a, b in pairwise(places)] or [b""]


def _plainly(text: bytes) -> list[Event]:
    """The standard's words, on the whole text."""
    lines = text.removeprefix(b"\xef\xbb\xbf").replace(b"\r\n", b"\n").replace(b"\r", b"\n")
    events, name, data = [], b"", list[bytes]()
    for line in [*lines.split(b"\n"), b""]:
        if not line:
            if data:
                events.append(Event(name, b"\n".join(data)))
            name, data = b"", []
        elif line.partition(b":")[0] == b"data":
            data.append(line.partition(b":")[2].removeprefix(b" "))
        elif line.partition(b":")[0] == b"event":
            name = line.partition(b":")[2].removeprefix(b" ")
    return events


@given(TEXTS, CUTS)
def test_events_do_not_depend_on_how_the_stream_is_cut(text: bytes, cuts: list[int]) -> None:
    assert _events(_cut(text, cuts)) == _plainly(text)


@pytest.mark.parametrize("piece", [b"x", b"xxxxxxx", b"data: xxxxxxx\n", b"event: e\rdata: x\r"])
def test_an_endless_event_is_refused(piece: bytes) -> None:
    splitter = EventSplitter(1000)
    with pytest.raises(EventTooLong):
        _feed_often(splitter, piece, 2000)


def _feed_often(splitter: EventSplitter, piece: bytes, times: int) -> None:
    for _ in range(times):
        splitter.feed(piece)


def test_a_long_line_that_has_not_ended_is_looked_at_once() -> None:
    """Tried as the begin of a line at each place of it, half an event of 64 KiB took seconds."""
    data = b"a" * (256 << 10)
    splitter = EventSplitter(len(data) + 100)
    assert splitter.feed(b"event: image\ndata: " + data) == []
    assert splitter.feed(b"\r\n\r\n") == [Event(b"image", data)]


def test_many_events_and_comments_are_never_too_long() -> None:
    splitter = EventSplitter(100)
    for _ in range(1000):
        assert len(splitter.feed(b": keepalive\n" * 20 + b"data: x\n\n" * 20)) == 20


@pytest.mark.parametrize(
    ("forwarded", "between"),
    [
        (b"", True),
        (b": comment\n", True),
        (b"data: a\n\n", True),
        (b"data: a\r\n\r\n", True),
        (b"data: a\r\r", True),
        (b"data: a\r\n\r", True),
        (b"data: a\n\n: one\n: two\r\n", True),
        (b"data: a\n\n: not ended", False),
        (b"data: a", False),
        (b"data: a\n", False),
        (b"data: a\r\n", False),
        (b"data: a\r", False),
        (b"data: a\n: comment\n", False),
        (b"data: a\n\nevent: b\n", False),
        (b"data: " + b"a" * 5000 + b"\n\n", True),
        (b"data: " + b"a" * 5000 + b"\n", False),
    ],
)
def test_where_an_event_could_be_added(forwarded: bytes, between: bool) -> None:
    for pieces in ([forwarded], [forwarded[i : i + 1] for i in range(len(forwarded))]):
        boundary = Boundary()
        for piece in pieces:
            boundary.feed(piece)
        assert boundary.between_events is between


@given(TEXTS, CUTS)
def test_an_event_added_at_a_boundary_stands_alone(text: bytes, cuts: list[int]) -> None:
    boundary = Boundary()
    for piece in _cut(text, cuts):
        boundary.feed(piece)
    if boundary.between_events:
        added = Event(b"error", b"{}")
        assert _plainly(text + b"event: error\ndata: {}\n\n") == [*_plainly(text), added]
    elif len(text) < 400 and text.endswith((b"\n\n", b"\r\r", b"\r\n\r\n")):
        pytest.fail("a blank line is a boundary")
