"""Bodies with a good status: which of them are answers."""

from __future__ import annotations

import gzip
import json
import zlib
from collections.abc import Callable
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.balancing.failure import Failure
from router.upstream.dialect import dialect_of
from router.upstream.plain_answers import (
    MOST_HELD,
    Pace,
    PlainHold,
    Rest,
    Shape,
    is_long_and_good,
    is_plainly_good,
    judge,
    rest_of,
    shape_of,
)
from router.upstream.stream_hold import Decision
from router.wire.head import RequestHead
from router.wire.response import ResponseHead
from router.wire.target import endpoint_of

CHAT = Shape("choices", True)
COMMIT, FAIL, WAIT = Decision.commit, Decision.fail, Decision.wait
CHOICES = b'"choices": [{"index": 0, "message": {"role": "assistant", "content": "Hi"}}]'
GOOD = b'{"id": "c", "object": "chat.completion", %b}' % CHOICES
KEYS = {
    "chat": "choices",
    "completions": "choices",
    "responses": "output",
    "embeddings": "data",
    "images": "data",
    "moderations": "results",
}


def _json(**values: object) -> bytes:
    return json.dumps(values).encode()


def _head(
    media: bytes = b"application/json", length: int | None = None, **fields: bytes
) -> ResponseHead:
    look = {name.encode(): value for name, value in fields.items()}
    return ResponseHead(200, b"OK", [], look, length, media=media)


def _request(target: bytes, method: bytes = b"POST") -> RequestHead:
    return RequestHead(method, target, [], {})


@pytest.mark.parametrize(
    ("endpoint", "body"),
    [
        ("chat", GOOD),
        ("chat", b"{%b}" % CHOICES),
        ("chat", b"\xef\xbb\xbf" + GOOD),
        ("chat", b"\n \r\n\t" + GOOD + b"\n"),
        ("chat", GOOD.decode().encode("utf-16")),
        ("chat", GOOD.replace(b"Hi", b"\xff\xfe")),
        ("chat", GOOD.replace(b'"Hi"', b"NaN")),
        ("chat", b'{"choices": null, ' + GOOD[1:]),
        ("chat", b'{"message": "ok", "code": 0, ' + GOOD[1:]),
        ("chat", b'{"error": null, ' + GOOD[1:]),
        ("chat", b'{"error": {"message": "a tool failed"}, ' + GOOD[1:]),
        ("chat", b'{"debug": "%b", ' % (b"x" * 20000) + GOOD[1:]),
        ("chat", b'{"x": %b, ' % (b"[" * 900 + b"]" * 900) + GOOD[1:]),
        ("chat", b'{"x": %b, ' % (b"[" * 5000 + b"]" * 5000) + GOOD[1:]),
        ("chat", _json(id="c", choices=[])),
        ("chat", _json(choices=[{"message": {"content": None, "tool_calls": [{"id": "t"}]}}])),
        ("chat", _json(choices=[{"message": {"content": ""}, "finish_reason": "content_filter"}])),
        ("chat", _json(code=0, data={"choices": []})),
        ("chat", _json(model="m", message={"content": "as Ollama"}, done=True)),
        ("completions", _json(choices=[{"text": "Hi"}])),
        ("responses", _json(id="resp_1", object="response", error=None, output=[{}])),
        ("responses", _json(id="resp_1", object="response", status="queued", output=[])),
        (
            "responses",
            _json(id="r", object="response", status="failed", output=[], error={"message": "m"}),
        ),
        ("embeddings", _json(object="list", data=[{"embedding": [0.1]}])),
        ("embeddings", _json(object="list", data=[{"embedding": "AAAA"}])),
        ("embeddings", _json(embeddings=[[0.1]])),
        ("images", _json(created=1, data=[{"b64_json": "x" * 70000}])),
        ("images", _json(created=1, data=[{"url": "u"}])),
        ("moderations", _json(id="modr", results=[{"flagged": False}])),
    ],
)
def test_an_answer_of_any_relay_passes(endpoint: str, body: bytes) -> None:
    assert judge(body, KEYS[endpoint]).decision is COMMIT


@pytest.mark.parametrize(
    ("body", "failure", "readable"),
    [
        (b"", Failure.empty, False),
        (b" \n", Failure.empty, False),
        (b"{}", Failure.empty, False),
        (b"null", Failure.empty, False),
        (b"[]", Failure.empty, False),
        (b'""', Failure.empty, False),
        (b"0", Failure.empty, False),
        (b"true", Failure.malformed, False),
        (b"[1]", Failure.malformed, True),
        (b'{"foo": 1}', Failure.malformed, True),
        (GOOD[:-1], Failure.malformed, False),
        (GOOD[:-3], Failure.malformed, False),
        (GOOD[:25], Failure.malformed, False),
        (GOOD[:-2] + b"}", Failure.malformed, False),
        (b"{", Failure.malformed, False),
        (GOOD[:-1] + b" " * 70000, Failure.malformed, False),
        (b"<!doctype html><title>Sign in</title>", Failure.page, False),
        (b"upstream connect error", Failure.page, False),
        (b'{"error": {"message": "m", "type": "server_error"}}', Failure.refused, True),
        (b'{"error": "overloaded"}', Failure.refused, True),
        (b'{"id": "c", "created": 1, "error": {"message": "m"}}', Failure.refused, True),
        (b'{"choices": [], "error": {"message": "m"}}', Failure.refused, True),
        (b'{"choices": null, "error": {"message": "m"}}', Failure.refused, True),
        (b'{"code": 500, "message": "quota"}', Failure.refused, True),
        (b'{"success": false, "message": "", "data": null}', Failure.refused, True),
        (b'{"code": "InvalidParameter", "message": "m", "request_id": "r"}', Failure.refused, True),
        (b'{"object": "error", "message": "m", "code": 50001}', Failure.refused, True),
        (b'{"detail": "Not Found"}', Failure.refused, True),
        (b'{"error": {"message": "m", "type": "rate_limit_error"}}', Failure.key_limited, True),
    ],
)
def test_no_answer_does(body: bytes, failure: Failure, readable: bool) -> None:
    verdict = judge(body, "choices")
    assert (verdict.decision, verdict.failure, verdict.readable) == (FAIL, failure, readable)


@pytest.mark.parametrize(
    "body",
    [
        b'{"error": {"message": "m", "type": "invalid_request_error"}}',
        b'{"error": {"message": "m", "code": "context_length_exceeded"}}',
        b'{"code": 400, "message": "bad request"}',
    ],
)
def test_an_error_that_is_the_requests_own_fault_goes_to_the_client(body: bytes) -> None:
    assert judge(body, "choices").decision is COMMIT


def test_the_mirrors_own_empty_account_is_not_the_clients_to_see() -> None:
    body = _json(error={"message": "m", "code": "insufficient_quota"})
    verdict = judge(body, "choices", lent=True)
    assert (verdict.failure, verdict.readable) == (Failure.out_of_quota, False)


@pytest.mark.parametrize("body", [b"", b"null", b"[]", b"{}", b"text", b'{"a', _json(deleted=True)])
def test_where_the_shape_is_not_known_only_errors_and_pages_are_told(body: bytes) -> None:
    assert judge(body, "").decision is COMMIT
    assert judge(b"<html>", "").failure is Failure.page
    assert judge(b'{"error": {"message": "m"}}', "").failure is Failure.refused


@pytest.mark.parametrize(
    ("method", "target", "shape"),
    [
        (b"POST", b"/v1/chat/completions", CHAT),
        (b"POST", b"/v1/chat/completions?a=b", CHAT),
        (b"POST", b"/v1/chat/completions/", CHAT),
        (b"POST", b"/v1/responses", Shape("output", True)),
        (b"POST", b"/v1/embeddings", Shape("data", False)),
        (b"POST", b"/v1/images/generations", Shape("data", True)),
        (b"POST", b"/v1/moderations", Shape("results", False)),
        (b"POST", b"/v1/messages", Shape("content", True)),
        (b"POST", b"/v1/messages/count_tokens", Shape("", True)),
        (b"POST", b"/v1/chat/completions/c1", Shape("", True)),
        (b"POST", b"/v1/responses/r1/cancel", Shape("", True)),
        (b"GET", b"/v1/responses/r1", Shape("", True)),
        (b"DELETE", b"/v1/responses/r1", Shape("", True)),
        (b"HEAD", b"/v1/responses/r1", None),
        (b"GET", b"/v1/models", None),
        (b"POST", b"/v1/audio/speech", None),
        (b"POST", b"/v1/files", None),
        (b"DELETE", b"/v1/files/f", None),
        (b"POST", b"/v1/images/edits", None),
    ],
)
def test_the_shape_follows_from_the_request(
    method: bytes, target: bytes, shape: Shape | None
) -> None:
    endpoint, request = endpoint_of(target), _request(target, method)
    dialect = dialect_of(endpoint, target)
    assert shape_of(request, endpoint, dialect, _head()) == shape
    assert shape_of(request, endpoint, dialect, _head(b"audio/mpeg")) is None
    nothing = ResponseHead(204, b"", [], {})
    assert shape_of(request, endpoint, dialect, nothing) is None


def test_most_answers_are_plainly_good() -> None:
    assert is_plainly_good(_head(), "chat", GOOD)
    assert is_plainly_good(_head(), "responses", _json(error=None, output=[{"a": 1}]))
    doubtful = (
        *(b"", b"{}", b"[]", GOOD[:-1], b'{"choices": null}', b'{"choices": []}'),
        b'{"error": {"message": "m"}, ' + GOOD[1:],
        b'{"error": "\xff", ' + GOOD[1:],
        GOOD + b" " * MOST_HELD,
    )
    for body in doubtful:
        assert not is_plainly_good(_head(), "chat", body), body[:40]
    assert not is_plainly_good(_head(b"text/html"), "chat", GOOD)
    assert not is_plainly_good(_head(), "files", GOOD)


def test_a_long_body_is_passed_on_with_its_first_bytes() -> None:
    assert is_long_and_good(_head(length=MOST_HELD + 1), b'{"id')
    assert not is_long_and_good(_head(length=MOST_HELD), b'{"id')
    assert not is_long_and_good(_head(length=MOST_HELD + 1), b'{"error": ')
    assert not is_long_and_good(_head(length=MOST_HELD + 1), b"<html>")


def _held(pieces: list[bytes], shape: Shape = CHAT, encoding: bytes = b"") -> tuple[Decision, int]:
    """The verdict, and how many bytes it took."""
    hold, fed = PlainHold(shape, encoding, lent=False), list[bytes]()
    for piece in pieces:
        if hold.verdict.decision is not WAIT:
            break
        hold.feed(piece)
        fed.append(piece)
    verdict = hold.ended()
    assert b"".join(hold.take()) == b"".join(fed)
    return verdict.decision, sum(map(len, fed))


def test_a_small_body_is_held_until_it_is_whole_and_a_long_one_not() -> None:
    for pieces in ([GOOD], [GOOD[i : i + 1] for i in range(len(GOOD))]):
        assert _held(pieces) == (COMMIT, len(GOOD))
    decided, size = _held([b'{"debug": "', *[b"x" * 1000] * 40])
    assert decided is COMMIT
    assert MOST_HELD <= size < MOST_HELD + 1000
    assert _held([b"no json", *[b"x" * 1000] * 40])[0] is FAIL
    assert _held([b"<html>", *[b"x" * 1000] * 40])[0] is FAIL


@pytest.mark.parametrize("begin", [b": c", b"data: {", b"event: x", b"\n\nid: 1", b"retry: 1"])
def test_a_stream_under_another_name_is_passed_on_at_once(begin: bytes) -> None:
    for pieces in ([begin], [begin[i : i + 1] for i in range(len(begin))]):
        hold = PlainHold(CHAT, b"", lent=False)
        assert [hold.feed(piece).decision for piece in pieces][-1] is COMMIT
    assert _held([begin], Shape("data", False))[0] is FAIL


def test_blanks_before_an_answer_are_no_beginning() -> None:
    hold = PlainHold(CHAT, b"", lent=False)
    for piece, begun in ((b"\n", 0), (b" \n", 0), (b"\xef", 0), (b"\xbb\xbf", 0), (b"{", 7)):
        hold.feed(piece)
        assert hold.begun == begun


@pytest.mark.parametrize(
    ("encoding", "packed"),
    [
        (b"gzip", gzip.compress),
        (b"x-gzip", gzip.compress),
        (b"deflate", zlib.compress),
        (b"deflate", lambda body: zlib.compress(body)[2:-4]),
    ],
)
def test_a_compressed_body_is_judged_by_its_content(
    encoding: bytes, packed: Callable[[bytes], bytes]
) -> None:
    long = b'{"id": "%b", %b}' % (b"x" * 300_000, CHOICES)
    for body in (GOOD, long, b"{}", GOOD[:-1], b"<html>", b'{"error": "x"}'):
        whole = packed(body)
        for pieces in ([whole], [whole[:20], whole[20:]]):
            assert _held(pieces, encoding=encoding)[0] is judge(body, "choices").decision
        assert _held([whole[: len(whole) // 2]], encoding=encoding)[0] is FAIL
    assert _held([b"{}"], encoding=encoding)[0] is FAIL


def test_unknown_encodings_pass_unless_empty() -> None:
    assert _held([b"\x1b\x00"], encoding=b"br") == (COMMIT, 2)
    assert _held([], encoding=b"br")[0] is FAIL


@given(
    st.sampled_from([GOOD, GOOD[:-2], b"{}", b"<html>", b"data: x", b"\xef\xbb\xbf{}", b"dat"])
    | st.binary(max_size=30),
    st.lists(st.integers(0, 100), max_size=6),
)
def test_the_verdict_does_not_depend_on_how_the_body_is_cut(body: bytes, cuts: list[int]) -> None:
    places = sorted({0, len(body), *(min(cut, len(body)) for cut in cuts)})
    pieces = [body[a:b] for a, b in pairwise(places)]
    assert _held(pieces)[0] is _held([body])[0]


def _whole(rest: Rest, body: bytes, size: int) -> bool:
    for start in range(0, len(body), size):
        rest.feed(body[start : start + size])
    return rest.is_whole()


@pytest.mark.parametrize("size", [1, 10, 100_000])
def test_the_end_of_a_long_body_shows_that_it_is_whole(size: int) -> None:
    good = GOOD + b"\r\n "
    packed = gzip.compress(good)
    for body, encoding, whole in (
        (good, b"", True),
        (GOOD[:-1], b"", False),
        (GOOD[:-4], b"", False),
        (packed, b"gzip", True),
        (packed[:-1], b"gzip", False),
        (packed[:-9], b"gzip", False),
        (packed[:-8] + bytes(8), b"gzip", False),
        (gzip.compress(GOOD[:-1]), b"gzip", False),
        (gzip.compress(GOOD[:50]) + gzip.compress(GOOD[50:]), b"gzip", True),
        (b"no gzip", b"gzip", False),
        (b"no gzip" * 9, b"gzip", False),
        (b"\x1b\x00", b"br", True),
        (b"\n\xef\xbb\xbf" + GOOD, b"", True),
        (b"\xef\xbb\xbf" + GOOD[:-1], b"", False),
        (b"\n\xef\xbb\xbfdata: [DONE]\n\n", b"", True),
        (gzip.compress(b": a stream\n\n"), b"gzip", True),
    ):
        assert _whole(Rest(True, encoding, None), body, size) is whole


def test_the_end_of_what_is_no_known_object_is_left_alone() -> None:
    rest = rest_of(Shape("", True), _head(), 0.0)
    assert rest is not None
    assert _whole(rest, b"[1", 1)
    assert rest_of(None, _head(b"text/plain"), 0.0) is None


def test_a_bomb_is_not_inflated_to_its_end() -> None:
    rest = Rest(True, b"gzip", None)
    assert _whole(rest, gzip.compress(bytes(64 << 20)), 1 << 16), "nothing is known of it"


def _drips_after(arrivals: list[tuple[float, int]]) -> float | None:
    """The first of (seconds, bytes) after which it is too slow."""
    pace, now, size = Pace(0.0), 0.0, 0
    for gap, count in arrivals:
        now, size = now + gap, size + count
        if pace.drips(size, now):
            return now
    return None


def test_drops_are_told_from_slow_words_and_from_silence() -> None:
    assert _drips_after([(0.5, 1)] * 1000) == 50.0
    assert _drips_after([(0.5, 4)] * 1000) is None, "two tokens a second"
    assert _drips_after([(0.5, 9999)] + [(0.5, 1)] * 1000) == 50.5, "fast at first"
    assert _drips_after([(0.5, 1)] * 50 + [(0.5, 500)]) is None
    assert _drips_after([(0.5, 1), (100.0, 1), (100.0, 1), (100.0, 500)]) is None, "it thinks"
    assert _drips_after([(7.0, 1)] * 1000) == 49.0
