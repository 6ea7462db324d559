"""A request's body: kept while it can be sent again, else passed on in its framing."""

from __future__ import annotations

import pytest

from router.admission.capacity import Memory
from router.upstream.request_body import EARLY, PIECE, RequestBody, is_json
from router.wire.request import RequestHead

JSON = {b"content-type": b"application/json; charset=utf-8"}
LIMIT = 2 * EARLY


def _body(
    look: dict[bytes, bytes] | None = None,
    length: int = 10,
    chunked: bool = False,
    memory: Memory | None = None,
) -> RequestBody:
    look = JSON if look is None else look
    head = RequestHead(b"POST", b"/v1/x", [], look, chunked=chunked, length=length)
    return RequestBody(head, is_json(head), LIMIT, memory or Memory(), b"client")


def _take(body: RequestBody, data: bytes) -> bool:
    body.size += len(data)
    return body.keep(data)


@pytest.mark.parametrize(
    ("look", "length", "collected"),
    [
        (JSON, 10, True),
        ({b"content-type": b"application/vnd.api+JSON"}, 10, True),
        (JSON, LIMIT, True),
        (JSON, LIMIT + 1, False),
        ({b"content-type": b"multipart/form-data"}, 10, False),
        ({}, 10, False),
        ({}, 0, True),
    ],
)
def test_json_that_fits_and_what_has_no_body_is_collected(
    look: dict[bytes, bytes], length: int, collected: bool
) -> None:
    assert _body(look, length).collected == collected


def test_a_collected_body_is_sent_whole_and_again() -> None:
    body = _body()
    assert _take(body, b"abc")
    assert _take(body, b"def")
    body.complete = True
    assert body.peek() == b"abcdef"
    assert body.outgoing(None, {}) == (6, [b"abc", b"def"])
    assert b"".join(body.to_send()) == b"".join(body.to_send()) == b"abcdef"


def test_a_chunked_body_that_outgrows_the_limit_is_streamed_in_chunks() -> None:
    body = _body(length=0, chunked=True)
    assert body.collected
    assert _take(body, b"a" * LIMIT)
    assert not _take(body, b"b")
    assert (body.collected, body.size) == (False, LIMIT + 1)
    sent = b"".join(body.to_send())
    assert sent == b"%x\r\n%b\r\n1\r\nb\r\n" % (LIMIT, b"a" * LIMIT)
    assert body.to_send() == [], "a streamed part is forgotten"
    assert body.framed(b"xyz") == b"3\r\nxyz\r\n"
    assert body.ending == b"0\r\n\r\n"


def test_a_complete_streamed_body_ends_with_its_last_chunk() -> None:
    body = _body({}, length=0, chunked=True)
    _take(body, b"ab")
    body.complete = True
    assert b"".join(body.to_send()) == b"2\r\nab\r\n0\r\n\r\n"


def test_a_streamed_body_of_known_length_has_no_framing_of_its_own() -> None:
    body = _body({}, length=EARLY + 1)
    assert _take(body, b"a" * EARLY)
    assert not _take(body, b"a"), "the client has to wait"
    assert b"".join(body.to_send()) == b"a" * (EARLY + 1)
    assert body.ending == b""


def test_a_dropped_body_keeps_nothing_and_gives_its_memory_back() -> None:
    memory = Memory()
    body = _body(memory=memory)
    _take(body, b"abc")
    assert memory.used == 3 + PIECE
    body.drop()
    body.drop()
    assert (body.peek(), memory.used) == (b"", 0)


def test_a_body_that_there_is_no_memory_for_is_streamed() -> None:
    memory = Memory(EARLY)
    body = _body(memory=memory)
    assert _take(body, b"a" * EARLY)
    assert body.collected
    _take(body, b"de")
    assert (body.collected, body.size) == (False, EARLY + 2)
    assert b"".join(body.to_send()) == b"a" * EARLY + b"de"
    assert memory.used == 0
