"""Written bytes: request heads for mirrors, local responses, cross-origin fields."""

from __future__ import annotations

import json

import pytest

from router.admission.credentials import credentials
from router.upstream.request_writer import fields_with_key, render_head
from router.wire.cors import allowed_origin, preflight_fields, response_fields
from router.wire.error_response import Problem, render, status_line
from router.wire.request import RequestHead
from tests.cases.malformed_requests import HOST, KEY, chunked, get, line, post
from tests.testkit.reference_readers import Requests, read_strictly


def _rendered(data: bytes, buffered: int | None) -> bytes:
    requests = Requests()
    requests.feed(data)
    head: RequestHead = requests.head
    fields = fields_with_key(head, credentials(head.look, "mg-"), b"sk-own")
    return render_head(
        head, head.target, b"/openai", b"mirror.test:8443", fields, buffered, chunked=head.chunked
    )


@pytest.mark.parametrize(
    ("data", "buffered", "framing"),
    [
        (get(), 0, b""),
        (post(b"Content-Length: 2\r\n", b"{}"), 2, b"Content-Length: 2\r\n"),
        (post(b"Content-Length: 0\r\n"), 0, b"Content-Length: 0\r\n"),
        (post(b""), 0, b"Content-Length: 0\r\n"),
        (post(b"Content-Length: 9\r\n"), None, b"Content-Length: 9\r\n"),
        (chunked(b"2\r\n{}\r\n0\r\n\r\n"), 2, b"Content-Length: 2\r\n"),
        (chunked(b""), None, b"Transfer-Encoding: chunked\r\n"),
        (line(b"DELETE /v1/files/a HTTP/1.1"), 0, b""),
    ],
)
def test_a_head_goes_out_with_framing_of_our_own(
    data: bytes, buffered: int | None, framing: bytes
) -> None:
    raw = _rendered(data, buffered)
    length = buffered or (9 if framing.startswith(b"Content-Length: 9") else 0)
    ending = b"0\r\n\r\n" if framing.startswith(b"T") else b"x" * length
    (request,), rest = read_strictly(raw + ending)
    assert rest == b""
    assert request.target.startswith(b"/openai/v1/")
    assert request.all(b"host") == [b"mirror.test:8443"]
    assert request.all(b"authorization") == [b"Bearer sk-x"]
    assert request.all(b"via") == [b"1.1 mirrorgate"]
    assert (framing or b"Host:") in raw
    assert (b"Content-Length" in raw or b"Transfer-Encoding" in raw) == bool(framing)


def test_a_websocket_keeps_its_own_fields_and_gets_an_upgrade_of_ours() -> None:
    fields = b"Connection: x, Upgrade\r\nUpgrade: WebSocket\r\nSec-WebSocket-Version: 13\r\n"
    key = b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
    raw = _rendered(line(b"GET /v1/realtime HTTP/1.1", HOST + KEY + fields + key), 0)
    assert b"Connection: Upgrade\r\nUpgrade: websocket\r\n" in raw
    assert key in raw
    assert raw.count(b"pgrade:") == 1


@pytest.mark.parametrize(
    ("status", "kind"), [(400, "invalid_request_error"), (429, "rate_limit_error")]
)
def test_a_problem_has_openais_shape(status: int, kind: str) -> None:
    error = json.loads(Problem(status, "some_code", "Do \u8fd9.").body())["error"]
    assert error == {"message": "Do \u8fd9.", "type": kind, "param": None, "code": "some_code"}


def test_a_message_may_quote_what_no_encoding_has() -> None:
    assert json.loads(Problem(404, "c", "no \ud800").body())["error"]["message"] == "no ?"


@pytest.mark.parametrize("status", [500, 502, 503, 504])
def test_a_problem_of_ours_is_a_server_error(status: int) -> None:
    assert json.loads(Problem(status, "c", "m").body())["error"]["type"] == "server_error"


def test_a_problem_says_whether_trying_again_may_help() -> None:
    assert (b"retry-after", b"5") in Problem(503, "c", "m", retry_after=5).fields()
    assert (b"x-should-retry", b"false") in Problem(502, "c", "m", tried=True).fields()
    assert len(list(Problem(400, "c", "m").fields())) == 1


def test_an_answer_is_rendered_whole() -> None:
    assert render(404, [(b"a", b"b")], b"{}") == (
        b"HTTP/1.1 404 Not Found\r\na: b\r\ncontent-length: 2\r\n\r\n{}"
    )
    assert render(204, [], None) == b"HTTP/1.1 204 No Content\r\n\r\n"
    assert status_line(299) == b"HTTP/1.1 299 \r\n"
    assert status_line(200, b"Fine") == b"HTTP/1.1 200 Fine\r\n"


@pytest.mark.parametrize(
    ("origin", "origins", "allowed"),
    [
        (None, ["*"], None),
        (b"https://a.test", ["*"], b"*"),
        (b"https://a.test", ["https://a.test"], b"https://a.test"),
        (b"https://a.test.evil", ["https://a.test"], None),
        (b"null", ["https://a.test"], None),
    ],
)
def test_only_allowed_origins_are_told_so(
    origin: bytes | None, origins: list[str], allowed: bytes | None
) -> None:
    assert allowed_origin(origin, origins) == allowed
    named = dict(response_fields(origin, origins))
    assert named.get(b"access-control-allow-origin") == allowed
    assert (b"vary" in named) == (origin is not None and "*" not in origins)


def test_a_preflight_allows_what_was_asked_for() -> None:
    look = {b"origin": b"https://a.test", b"access-control-request-headers": b"authorization, x"}
    named = dict(preflight_fields(look, ["*"]))
    assert named[b"access-control-allow-headers"] == b"authorization, x"
    assert b"POST" in named[b"access-control-allow-methods"]
    assert b"access-control-allow-methods" not in dict(preflight_fields(look, ["https://b.test"]))
    assert list(dict(preflight_fields({}, ["*"]))) == [b"allow"]
