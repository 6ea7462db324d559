"""A connection that knows a head again says exactly what one says that reads it for the first time.

The shortcuts of `router/wire/repeated_heads.py` and `whole_chunk` may save work, never change a
verdict.
"""

from __future__ import annotations

from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.wire.chunked import chunk, whole_chunk
from router.wire.head import Refusal
from router.wire.response import BadResponse
from tests.testkit.reference_readers import Requests, Responses

REQUEST = (
    b"POST /v1/chat/completions HTTP/1.1\r\nHost: a\r\n",
    b"Authorization: Bearer sk-1\r\n",
    b"X-Stainless-Lang: python\r\n",
    b"Content-Type: application/json\r\n",
)
RESPONSE = (
    b"HTTP/1.1 200 OK\r\n",
    b"Date: Sat, 21 Nov 2026 09:00:00 GMT\r\n",
    b"Content-Type: application/json\r\n",
    b"Set-Cookie: a=b\r\n",
    b"x-request-id: req_1\r\n",
    b"Connection: keep-alive\r\n",
)
BODIES = st.binary(max_size=30)
TWISTS = st.one_of(
    st.none(),
    st.tuples(
        st.integers(0, 400),
        st.sampled_from((0, 1)),
        st.sampled_from(
            (b"", b" ", b"\t", b"\r", b"\n", b"\r\n", b"\x00", b"\x7f", b"\xff", b":", b"0", b"A")
        ),
    ),
)
"""Where, how many bytes are taken away, and what stands there instead."""


def _message(lines: tuple[bytes, ...], body: bytes, place: int, zeros: int) -> bytes:
    length = b"Content-Length: %b%d\r\n" % (b"0" * zeros, len(body))
    place = 1 + place % len(lines)
    return b"".join((*lines[:place], length, *lines[place:], b"\r\n", body))


def _twisted(raw: bytes, twist: tuple[int, int, bytes] | None) -> bytes:
    if twist is None:
        return raw
    at, gone, new = twist
    at %= len(raw)
    return raw[:at] + new + raw[at + gone :]


def _asked(requests: Requests, raw: bytes) -> object:
    requests.calls.clear()
    try:
        requests.feed(raw)
    except Refusal as refusal:
        return refusal.status, refusal.code
    return [_plain(call) for call in requests.calls], requests.reader.phase


def _plain(call: tuple[str, object]) -> object:
    kind, value = call
    if kind != "head":
        return call
    head = [getattr(value, name) for name in ("method", "target", "fields", "length", "keep_alive")]
    look = {name: v for name, v in value.look.items() if name != b"content-length"}  # type: ignore[attr-defined]
    return head, look


@given(
    st.integers(0, 3),
    st.lists(st.tuples(BODIES, st.integers(0, 2), TWISTS), min_size=1, max_size=6),
)
def test_a_request_is_read_the_same_whether_its_head_came_before_or_not(
    place: int, messages: list[tuple[bytes, int, tuple[int, int, bytes] | None]]
) -> None:
    kept = Requests()
    kept.feed(_message(REQUEST, b"{}", place, 0))
    for body, zeros, twist in messages:
        raw = _twisted(_message(REQUEST, body, place, zeros), twist)
        fresh = Requests()
        expected = _asked(fresh, raw)
        assert _asked(kept, raw) == expected
        if isinstance(expected, tuple) and fresh.reader.phase:
            return  # refused, or not complete: what follows belongs to this one
        if not isinstance(expected[0], list):  # type: ignore[index]
            return
        if not all(head.keep_alive for head in fresh.heads):
            return  # the last one of its connection, as one that was twisted into HTTP/1.0 is


def test_a_repeated_head_is_known_again_and_another_is_not() -> None:
    kept = Requests()
    kept.feed(_message(REQUEST, b"{}", 0, 0), _message(REQUEST, b"[1]", 0, 0))
    kept.feed(_message(REQUEST[:-1], b"{}", 0, 0), _message(REQUEST[:-1], b"", 0, 0))
    assert [head.repeated for head in kept.heads] == [False, True, False, True]
    assert [head.length for head in kept.heads] == [2, 3, 2, 0]


def _answered(responses: Responses, raw: bytes) -> object:
    responses.heads.clear()
    responses.body = b""
    responses.reader.expect(responses, to_head=False)
    try:
        reader = responses.feed(raw)
    except BadResponse as error:
        return str(error)
    heads = [(h.status, h.reason, _fields(h.fields), h.length) for h in responses.heads]
    return heads, responses.body, reader.ended, reader.reusable()


def _fields(flat: list[bytes]) -> list[tuple[bytes, bytes]]:
    lines = b"".join(flat).split(b"\r\n")[:-1]
    return [(n, v.strip(b" \t")) for n, _, v in (line.partition(b":") for line in lines)]


@given(
    st.integers(0, 5),
    st.lists(st.tuples(BODIES, st.integers(0, 2), TWISTS), min_size=1, max_size=6),
)
def test_a_response_is_read_the_same_whether_its_like_came_before_or_not(
    place: int, messages: list[tuple[bytes, int, tuple[int, int, bytes] | None]]
) -> None:
    kept = Responses()
    kept.feed(_message(RESPONSE, b"{}", place, 0))
    for body, zeros, twist in messages:
        raw = _twisted(_message(RESPONSE, body, place, zeros), twist)
        fresh = Responses()
        expected = _answered(fresh, raw)
        assert _answered(kept, raw) == expected
        if not fresh.reader.reusable():
            return


def test_a_like_response_is_known_again_by_its_fields() -> None:
    kept = Responses()
    kept.feed(_message(RESPONSE, b"{}", 0, 0))
    kept.reader.expect(kept, to_head=False)
    kept.feed(_message(RESPONSE, b"{}", 0, 0).replace(b"req_1", b"another"))
    (first, second) = kept.heads
    assert len(second.fields) == 1 < len(first.fields), "it was parsed again"
    assert b"set-cookie" not in second.fields[0].lower()
    assert b"x-request-id: another\r\n" in second.fields[0]


@pytest.mark.parametrize(
    ("fields", "encoding", "media"),
    [
        ((b"Content-Encoding: gzip", b"content-encoding: identity"), b"gzip", b""),
        ((b"Content-Encoding: gzip", b"Content-Encoding:"), b"gzip", b""),
        ((b"Content-Encoding: , GZIP ,identity",), b"gzip", b""),
        ((b"Content-Encoding: br", b"Content-Encoding: gzip"), b"br, gzip", b""),
        ((b"Content-Encoding: identity", b"Content-Encoding:"), b"", b""),
        ((b"Content-Type: a/b", b"Content-Type: A/B;q=1"), b"", b"a/b"),
    ],
    ids=range(6),
)
def test_a_field_that_repeats_is_one_list_each_time(
    fields: tuple[bytes, ...], encoding: bytes, media: bytes
) -> None:
    raw = b"\r\n".join((b"HTTP/1.1 200 OK", *fields, b"Content-Length: 2", b"", b"{}"))
    kept = Responses()
    for _ in range(3):
        kept.reader.expect(kept, to_head=False)
        kept.feed(raw)
        assert (kept.head.encoding, kept.head.media) == (encoding, media)
        assert b"".join(kept.head.fields).count(b":") == len(fields), "they pass as they came"


def test_two_types_of_one_body_are_refused() -> None:
    fields = b"Content-Type: application/json\r\nContent-Type: text/event-stream\r\n"
    with pytest.raises(BadResponse, match="content types"):
        Responses().feed(b"HTTP/1.1 200 OK\r\n" + fields + b"Content-Length: 2\r\n\r\n{}")


@pytest.mark.parametrize("line", [b"HTTP/1.1 200 OK", b"HTTP/1.1 200 a:b"])
@pytest.mark.parametrize("empty", [b"\r\n", b"\r\n\r\n"])
def test_a_response_behind_an_empty_line_is_not_known_again(line: bytes, empty: bytes) -> None:
    kept = Responses()
    raw = empty + line + b"\r\nX-A: b\r\nContent-Length: 2\r\n\r\n{}"
    for _ in range(3):
        heads, body, *_ = cast(tuple[Any, ...], _answered(kept, raw))
        (_, _, fields, _), *others = heads
        assert (fields, others, body) == ([(b"X-A", b"b")], [], b"{}")


@given(st.lists(st.binary(min_size=1, max_size=40), min_size=1, max_size=8), st.data())
def test_a_chunked_body_is_the_same_however_its_chunks_arrive(
    parts: list[bytes], data: st.DataObject
) -> None:
    head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
    stream = b"".join(map(chunk, parts)) + b"0\r\n\r\n"
    cuts: list[int] = []
    at = 0
    for part in parts:  # most reads end where a chunk does, as they do in life
        at += len(chunk(part)) + data.draw(st.sampled_from((0, 0, 0, -3, -1, 1, 2, 4)))
        cuts.append(max(at, 0))
    cuts = sorted({min(cut, len(stream)) for cut in cuts} | {len(stream)})
    responses = Responses()
    before = 0
    responses.feed(head)
    for cut in cuts:
        if cut > before:
            responses.feed(stream[before:cut])
        before = cut
    assert responses.body == b"".join(parts)
    assert responses.reader.ended
    assert responses.reader.reusable()


@given(st.binary(max_size=40))
def test_a_whole_chunk_is_one_as_we_write_it(data: bytes) -> None:
    if data:
        assert whole_chunk(chunk(data)) == data
    for wrong in (b"0\r\n\r\n", chunk(b"ab") + b"1", chunk(b"ab")[:-1], b"1_0\r\n" + data, b"+"):
        assert whole_chunk(wrong) is None


@pytest.mark.parametrize("digits", range(1, 6))
def test_a_whole_chunk_is_known_whatever_the_length_of_its_size(digits: int) -> None:
    for size in (16**digits - 1, 16**digits, 16**digits + 1):
        raw = chunk(bytes(size))
        assert whole_chunk(raw) == bytes(size)
        for wrong in (raw + b"1", raw[:-1], b"0" + raw, raw[:-1] + b"\r"):
            assert whole_chunk(wrong) is None


def test_a_chunk_is_not_known_behind_the_beginning_of_another_size_line() -> None:
    responses = Responses()
    responses.feed(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
    responses.feed(chunk(b"a") + b"5;a=", b"5\r\nabcde\r\n", b"0\r\n\r\n")
    assert (responses.body, responses.reader.ended) == (b"aabcde", True)
