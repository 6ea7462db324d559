"""Responses read from bytes. What mirrors do wrong is held by a table of its own."""

from __future__ import annotations

import pytest

from router.wire.response import MAX_INFORMATIONAL, BadResponse
from tests.testkit.reference_readers import Responses

OK = b"HTTP/1.1 200 OK\r\n"


def test_a_head_tells_what_passes_on() -> None:
    responses = Responses()
    fields = b"Content-Type: a/b\r\nSet-Cookie: x\r\nX-A: b\r\nConnection: x-c\r\nX-C: d\r\n"
    reader = responses.feed(OK + fields + b"Content-Length: 2\r\n\r\n{}")
    head = responses.head
    assert (head.status, head.reason, head.length) == (200, b"OK", 2)
    assert b"".join(head.fields) == b"Content-Type: a/b\r\nX-A: b\r\n"
    assert responses.body == b"{}"
    assert (reader.ended, reader.reusable(), reader.ends_with_close) == (True, True, False)


def test_a_chunked_body_arrives_without_framing_and_trailers() -> None:
    responses = Responses()
    reader = responses.feed(
        OK + b"Transfer-Encoding: chunked\r\n\r\n2\r\n{ \r\n", b"1\r\n}\r\n0\r\nX: y\r\n\r\n"
    )
    assert responses.body == b"{ }"
    assert reader.reusable()


def test_a_body_without_framing_ends_with_its_connection() -> None:
    responses = Responses()
    reader = responses.feed(OK + b"\r\nabc", b"def")
    assert responses.body == b"abcdef"
    assert (reader.ended, reader.ends_with_close, reader.reusable()) == (False, True, False)


@pytest.mark.parametrize(
    "head",
    [
        b"HTTP/1.1 204 No Content\r\n\r\n",
        b"HTTP/1.1 304 Not Modified\r\nETag: x\r\n\r\n",
        OK + b"Content-Length: 0\r\n\r\n",
    ],
)
def test_responses_without_a_body_end_with_their_head(head: bytes) -> None:
    reader = Responses().feed(head)
    assert (reader.ended, reader.reusable()) == (True, True)


def test_the_answer_to_head_ends_with_its_head_whatever_it_announces() -> None:
    responses = Responses(to_head=True)
    reader = responses.feed(OK + b"Content-Length: 5\r\n\r\n")
    assert (reader.ended, responses.head.length) == (True, 5)
    assert not reader.reusable(), "the parser would wait for the body"


def test_interim_responses_come_before_the_final_one() -> None:
    responses = Responses()
    interim = b"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n"
    responses.feed(interim + interim + OK + b"Content-Length: 0\r\n\r\n")
    assert [head.status for head in responses.heads] == [103, 103, 200]
    with pytest.raises(BadResponse, match="interim"):
        Responses().feed(b"HTTP/1.1 103 X\r\n\r\n" * (MAX_INFORMATIONAL + 1))


def test_a_switch_gives_what_follows_to_the_tunnel() -> None:
    fields = b"Upgrade: websocket\r\nConnection: Upgrade\r\n"
    reader = Responses().feed(b"HTTP/1.1 101 X\r\n" + fields + b"\r\nhello")
    assert reader.tunnel == b"hello"


@pytest.mark.parametrize("extra", [b"x", b"\r\nHTTP/1.1 200 OK\r\n\r\n", OK + b"\r\n"])
def test_more_than_was_asked_for_is_dropped_and_spoils_the_connection(extra: bytes) -> None:
    responses = Responses()
    reader = responses.feed(OK + b"Content-Length: 2\r\n\r\n{}" + extra)
    assert (responses.body, reader.ended, reader.reusable()) == (b"{}", True, False)
    with pytest.raises(BadResponse):
        responses.feed(b"more")


def test_the_next_response_is_read_by_the_same_reader() -> None:
    responses = Responses()
    responses.feed(OK + b"Content-Length: 1\r\n\r\na")
    responses.reader.expect(responses, to_head=False)
    responses.feed(b"HTTP/1.1 404 Not Found\r\nContent-Length: 1\r\n\r\nb")
    assert [head.status for head in responses.heads] == [200, 404]
    assert responses.body == b"ab"


@pytest.mark.parametrize(
    "data",
    [
        b"HTTP/2.0 200 OK\r\n\r\n",
        b"HTTP/1.1 099 X\r\n\r\n",
        b"HTTP/1.1 600 X\r\n\r\n",
        b"HTTP/1.1 200 O\x01K\r\n\r\n",
        b"HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
        OK + b"Transfer-Encoding: gzip, chunked\r\n\r\n",
        OK + b"Content-Length: 9999999999999999999\r\n\r\n",
        OK + b"X: y\r\n" * 300 + b"\r\n",
        OK + b"X: " + b"y" * 70_000,
        b"\x16\x03\x01",
    ],
)
def test_responses_that_cannot_be_relayed_are_refused(data: bytes) -> None:
    with pytest.raises(BadResponse):
        Responses().feed(data)


@pytest.mark.parametrize("field", [b"Content-Length: 2", b"Transfer-Encoding: chunked"])
def test_an_interim_response_with_a_body_is_refused(field: bytes) -> None:
    with pytest.raises(BadResponse, match="interim response has a body"):
        Responses().feed(b"HTTP/1.1 103 X\r\n" + field + b"\r\n\r\n")
