"""Fuzz targets: each takes any bytes, and raises if they break a promise.

The first byte says how many of those after it tell where the rest is cut into pieces; above 127,
into single bytes. Refusals that the code declares are no faults; any other exception is.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
from collections.abc import Callable
from itertools import pairwise
from typing import Any, cast

from router.admission.credentials import credentials
from router.forwarding.request_policy import hints, model_of
from router.forwarding.response_writer import ResponseWriter
from router.metering.meter import Meter
from router.metering.request_scan import scan_request
from router.process.legacy_answers import Fault
from router.process.legacy_message import read_message
from router.upstream.dialect import Dialect, error_event, failure_of_error, look
from router.upstream.plain_answers import MOST_HELD, PlainHold, Rest, Shape
from router.upstream.request_writer import fields_with_key, render_head
from router.upstream.stream_hold import Ending, Hold
from router.wire.head import RequestHead
from router.wire.request import MAX_EMPTY, Refusal
from router.wire.response import BadResponse, ResponseHead
from router.wire.sse import Boundary, Event, EventSplitter, EventTooLong
from router.wire.websocket import (
    BadFrame,
    FrameReader,
    Message,
    accept_value,
    check_switch,
    valid_key,
)
from router.wire.write_batch import WriteBatch
from tests.fuzz.steps import limited
from tests.testkit.reference_readers import (
    Requests,
    Responses,
    check_json_scan,
    loaded,
    read_response,
    read_strictly,
)

Pieces = list[bytes]
_SINGLE = 128
_MOST_CUTS = 8
_DEPENDS_ON_READS = re.compile(rb"[\r\n]{%d}|\nupgrade:" % MAX_EMPTY, re.IGNORECASE)
"""How many empty lines are borne, and whether an upgrade may be offered behind another request."""
_SPACES = re.compile(rb"^([^:]+):[ \t]*", re.MULTILINE)
_DIALECTS = list(Dialect)
_MESSAGE = 1 << 9
"""Bytes of a WebSocket message that its reader may keep."""
_KINDS = (
    "application/json",
    "application/x-www-form-urlencoded",
    "multipart/form-data; boundary=X",
)
_MOST_CONTENT = 1000
_EVENT = 1 << 12
"""Bytes of an event that the splitter may keep."""


def cut(data: bytes) -> tuple[bytes, Pieces]:
    """The bytes to read, and the pieces that they come in."""
    first, rest = data[:1] or b"\0", data[1:]
    if first[0] >= _SINGLE:
        return rest, [rest[at : at + 1] for at in range(len(rest))]
    count = first[0] % _MOST_CUTS
    whole = rest[count:]
    places = sorted({place * len(whole) // 255 for place in rest[:count]} | {0, len(whole)})
    return whole, [whole[a:b] for a, b in pairwise(places)]


def request(data: bytes) -> None:
    """Requests are read the same in any pieces, and what goes to a mirror is strict HTTP."""
    whole, pieces = cut(data)
    with limited(len(whole)):
        calls, refused = _requests([whole])
    with limited(len(whole)):
        in_pieces, refused_too = _requests(pieces)
    if _DEPENDS_ON_READS.search(whole):
        return
    assert refused == refused_too
    assert in_pieces == calls or (refused and in_pieces == calls[: len(in_pieces)])
    if not refused:
        again, refused = _requests([whole, whole])
        parsed, refused_too = _requests([whole[:1], whole[1:], whole[:1], whole[1:]])
        assert (again, refused) == (parsed, refused_too)
        calls += again
    for head, body in _complete(calls):
        _sent_strictly(head, body)


def _requests(pieces: Pieces) -> tuple[list[tuple[str, object]], bool]:
    requests, refused = Requests(), False
    try:
        requests.feed(*pieces)
    except Refusal:
        refused = True
    for head in requests.heads:
        head.repeated = False  # how it was read is no matter
    return requests.calls, refused


def _complete(calls: list[tuple[str, object]]) -> list[tuple[RequestHead, bytes]]:
    found: list[tuple[RequestHead, bytes]] = []
    head, body = None, b""
    for kind, value in calls:
        if kind == "head":
            head, body = cast(RequestHead, value), b""
        elif kind == "body":
            body += cast(bytes, value)
        elif kind == "end" and head is not None and not head.websocket:
            found.append((head, body))
    return found


def _sent_strictly(head: RequestHead, body: bytes) -> None:
    shown = credentials(head.look, "mg-")
    fields = fields_with_key(head, shown, b"", plain=True)
    out = render_head(head, head.target, b"", b"mirror.test", fields, len(body)) + body
    (read,), rest = read_strictly(out)
    assert (read.method, read.target, read.body, rest) == (head.method, head.target, body, b"")


def response(data: bytes) -> None:
    """A response is read the same in any pieces, and what goes to a client is strict HTTP."""
    whole, pieces = cut(data)
    for to_head in (False, True):
        with limited(len(whole)):
            seen = _responses([whole], to_head)
        with limited(len(whole)):
            assert _responses(pieces, to_head) == seen
        if seen is None:
            continue
        _relayed_strictly(*seen, to_head)
        again = _responses([whole], to_head, before=whole)
        assert again in (seen, None)  # None: the connection could not be used again
        if again is not None:
            _relayed_strictly(*again, to_head)


def _responses(
    pieces: Pieces, to_head: bool, before: bytes = b""
) -> tuple[list[ResponseHead], bytes, bool] | None:
    """`before`: the response before it on the same connection."""
    responses = Responses(to_head)
    try:
        if before:
            responses.feed(before)
            if not responses.reader.reusable() or responses.reader.tunnel is not None:
                return None
            responses.heads, responses.body = [], b""
            responses.reader.expect(responses, to_head)
        for piece in pieces:
            if responses.reader.ended or responses.reader.tunnel is not None:
                break  # what comes now was not asked for
            responses.feed(piece)
    except BadResponse:
        return None
    for head in responses.heads:  # how it was read is no matter, nor are spaces around a value
        head.fields = [_SPACES.sub(rb"\1: ", b"".join(head.fields))]
    return responses.heads, responses.body, responses.reader.ended


class _Written(asyncio.Transport):
    """Keeps what is written to a client."""

    def __init__(self) -> None:
        self.data = b""

    def write(self, data: Any) -> None:
        self.data += data

    def is_closing(self) -> bool:
        return False


def _relayed_strictly(heads: list[ResponseHead], body: bytes, ended: bool, to_head: bool) -> None:
    asked = RequestHead(b"HEAD" if to_head else b"GET", b"/", [], {})
    for head in heads:
        out = _Written()
        batch = WriteBatch(soon=lambda flush: None)
        relay = ResponseWriter(batch, out, asked, head_sent=False)
        if head.status < 200 and head.status != 101:
            relay.informational(head)
            batch.flush()
            assert not out.data or read_response(out.data)[0] == head.status
            continue
        relay.head(head, b"", head.keep_alive)
        relay.data(b"" if head.status == 101 else body, ended)
        batch.flush()
        status, read, complete = read_response(out.data, to_head)
        assert status == head.status
        if head.status != 101 and not to_head and not head.bodiless:
            assert complete == ended or head.length is None
            assert not complete or read == body


def body(data: bytes) -> None:
    """The scanner agrees with `json.loads`, and asking for the usage changes nothing else."""
    data = data[1:]
    check_json_scan(data)
    with limited(len(data)):
        model, stream, unstored = hints(data)
    assert model == model_of(data)
    with limited(len(data)):
        asked = scan_request(data, ask=True)
    pairs = loaded(data)
    assert asked is None or pairs is not None
    if pairs is None:
        return
    last = dict(pairs)
    assert (stream, unstored) == (last.get("stream") is True, last.get("store") is False)
    if asked is None or asked.body is None or asked.ambiguous_key:
        return
    after = dict(loaded(asked.body) or ())
    options = last.pop("stream_options", None) or {}
    assert after.pop("stream_options") == {**options, "include_usage": True}
    assert repr(sorted(after.items())) == repr(sorted(last.items()))


def events(data: bytes) -> None:
    """Events are those of a simple reader in any pieces; who reads along changes nothing."""
    whole, pieces = cut(data)
    expected = _events_of(whole)
    for some in ([whole], pieces):
        with limited(len(whole)):
            found = _split(some)
        if found is not None:
            assert found == expected
        elif len(whole) <= _EVENT:
            raise AssertionError("an event that is too long though all of it is not")
    dialect = _DIALECTS[len(whole) % len(_DIALECTS)]
    for event in expected:
        _look_at(dialect, event)
    seen = [_metered(some, dialect) for some in ([whole], pieces)]
    assert seen[0] == seen[1]
    _held(pieces, dialect)
    boundary, other = Boundary(), Boundary()
    for piece in pieces:
        boundary.feed(piece)
    other.feed(whole)
    assert not whole or len(whole) > 512 or boundary.between_events == other.between_events


_ENDS = re.compile(rb"\r\n|\n|\r")


def _events_of(stream: bytes) -> list[Event]:
    """WHATWG HTML, section 9.2.6, line by line."""
    found: list[Event] = []
    name = b""
    lines: list[bytes] = []
    for line in [*_ENDS.split(stream.removeprefix(b"\xef\xbb\xbf")), b""]:
        field, _, value = line.partition(b":")
        value = value[1:] if value[:1] == b" " else value
        if not line:
            if lines:
                found.append(Event(name, b"\n".join(lines)))
            name, lines = b"", []
        elif field == b"data":
            lines.append(value)
        elif field == b"event":
            name = value
    return found


def _split(pieces: Pieces) -> list[Event] | None:
    splitter, found = EventSplitter(_EVENT), []
    try:
        for piece in pieces:
            found += splitter.feed(piece)
        last = splitter.finish()
    except EventTooLong:
        return None
    return [*found, last] if last is not None else found


def _look_at(dialect: Dialect, event: Event) -> None:
    seen = look(dialect, event)
    if seen.error is not None:
        failure_of_error(seen.error)
        error_event(dialect, seen.error)


def _metered(pieces: Pieces, dialect: Dialect) -> tuple[object, ...]:
    head = ResponseHead(200, b"OK", [], {}, media=b"text/event-stream")
    with limited(sum(map(len, pieces))):
        meter = Meter(head, dialect, hide=False, images=True)
        for piece in pieces:
            assert meter.feed([piece], False) == [piece]
        meter.feed([], True)
    hiding = Meter(head, dialect, hide=True, images=True)
    out = [part for piece in pieces for part in hiding.feed([piece], False)]
    out += hiding.feed([], True)
    assert meter.usage() == hiding.usage()
    return b"".join(out), meter.usage(), meter.content, meter.tokens, meter.images, meter.error


def _held(pieces: Pieces, dialect: Dialect) -> None:
    hold, ending = Hold(dialect), Ending(dialect)
    for piece in pieces:
        hold.feed(piece)
        ending.feed(piece)
    hold.ended()
    whole = b"".join(pieces)
    assert whole.startswith(b"".join(hold.take()))


def answer(data: bytes) -> None:
    """A whole JSON answer is metered the same in any pieces, and passes as it is."""
    whole, pieces = cut(data)
    seen = []
    for some in ([whole], pieces):
        head = ResponseHead(200, b"OK", [], {}, media=b"application/json")
        meter = Meter(head, Dialect.other, hide=True, images=True)
        for piece in some:
            assert meter.feed([piece], False) == [piece]
        meter.feed([], True)
        seen.append((meter.usage(), meter.images, meter.error))
    assert seen[0] == seen[1]
    for encoding in (b"", b"gzip"):
        verdicts = [_judged(some, encoding) for some in ([whole], pieces)]
        assert len(whole) >= MOST_HELD or verdicts[0] == verdicts[1]


def _judged(pieces: Pieces, encoding: bytes) -> object:
    hold, rest = PlainHold(Shape("choices", True), encoding, lent=False), Rest(True, encoding, None)
    with limited(sum(map(len, pieces))):
        for piece in pieces:
            hold.feed(piece)
            rest.feed(piece)
        rest.is_whole()
        return hold.ended().decision


def websocket(data: bytes) -> None:
    """A switch of protocols is accepted from those only who have read the key."""
    whole, _ = cut(data)
    key, _, rest = whole.partition(b"\n")
    if valid_key(key):
        rest = rest.replace(b"$ACCEPT", accept_value(key))
    seen = _responses([rest], False)
    if seen is None:
        return
    for head in seen[0]:
        accepted = False
        with contextlib.suppress(BadResponse):
            check_switch(key, head, plain=True)
            accepted = True
        told = head.look.get(b"sec-websocket-accept", b"").strip(b" \t")
        assert not accepted or told == accept_value(key)


def frames(data: bytes) -> None:
    """Frames are read the same in any pieces, bounded, and pass on as they came."""
    whole, pieces = cut(data)
    for masked in (True, False):
        with limited(len(whole)):
            messages, refused = _frames([whole], masked)
        with limited(len(whole)):
            in_pieces, refused_too = _frames(pieces, masked)
        assert (messages, refused) == (in_pieces, refused_too)
        assert sum(len(message.raw) for message in messages) <= len(whole)
        for message in messages:
            assert _frames([message.raw], masked) == ([message], 0)


def _frames(pieces: Pieces, masked: bool) -> tuple[list[Message], int]:
    """The messages, and the code that what follows them is refused with; 0: it is not."""
    reader, messages = FrameReader(masked, _MESSAGE), list[Message]()
    try:
        for piece in pieces:
            messages.extend(reader.feed(piece))
            assert reader.held <= 8 * _MESSAGE + len(piece)
    except BadFrame as error:
        return messages, error.code
    return messages, 0


def message(data: bytes) -> None:
    """A message to the legacy chat is within its limits, in time that grows with its body."""
    kind = _KINDS[data[0] % len(_KINDS)] if data else ""
    with limited(len(data)), contextlib.suppress(Fault):
        found = read_message(kind, data[1:], _MOST_CONTENT)
        assert 0 < len(found.key) <= 512
        assert found.key.isascii()
        assert not set(found.key) & set("\r\n \0")
        assert 0 < len(found.session) <= 64
        assert 0 < len(found.content) <= _MOST_CONTENT


TARGETS: dict[str, Callable[[bytes], None]] = {
    each.__name__: each
    for each in (request, response, body, events, answer, websocket, frames, message)
}
