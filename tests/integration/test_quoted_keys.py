"""What a mirror says of its own key is not passed on, wherever in an error it says so."""

from __future__ import annotations

import asyncio
import gzip
import json
import zlib

import pytest

from tests.support.road import (
    OK,
    Response,
    Road,
    Script,
    ScriptedMirror,
    answering,
    get,
    post,
    read_request,
)

KEY = "sk-mirrors-own-0123456789"
SETTINGS = {"callers": ["anonymous", "own"], "cors_origins": []}
ERROR = json.dumps({"error": {"message": f"Incorrect API key provided: {KEY}", "code": None}})
HARMLESS = ERROR.replace(KEY, "sk-***789")
PAGE = f"<h1>Traceback</h1><pre>HTTP_AUTHORIZATION: Bearer {KEY}</pre>"
STREAM_BODY = json.dumps({"model": "gpt-4o", "messages": [], "stream": True}).encode()


def response(status: int, body: str, media: str = "application/json", *fields: str) -> bytes:
    lines = [f"HTTP/1.1 {status} Said", f"content-type: {media}", *fields]
    if not any(field.startswith("transfer-encoding") for field in fields):
        lines.append(f"content-length: {len(body)}")
    return ("\r\n".join(lines) + "\r\n\r\n" + body).encode()


def anonymous(body: bytes = b"{}") -> bytes:
    """A request without a key, to which the mirror's is lent."""
    asked = post(body=body).replace(b"Authorization: Bearer sk-x\r\n", b"")
    return asked.replace(b"Host: test", b"Host: localhost")


async def answer_to(script: Script, request: bytes) -> Response:
    async with ScriptedMirror(script) as mirror:
        table = mirror.table(api_key=KEY, client_keys=["sk-*"])
        async with Road([table], SETTINGS) as road:
            answer = await road.ask(request)
            assert road.in_flight == 0
            return answer


@pytest.mark.parametrize(
    ("said", "body"),
    [
        (response(400, ERROR), b"{}"),
        (response(404, PAGE, "text/html"), b"{}"),
        (response(422, "x" * 5000 + KEY, "text/plain"), b"{}"),
        (response(500, PAGE, "text/html"), b"{}"),
        (response(503, ERROR, "application/json", "retry-after: 1"), b"{}"),
        (response(200, ERROR), b"{}"),
        (response(200, f"data: {ERROR}\n\n", "text/event-stream"), STREAM_BODY),
        (response(200, f"event: error\ndata: {ERROR}\n\n", "text/event-stream"), STREAM_BODY),
        (response(500, ERROR, "text/event-stream"), STREAM_BODY),
    ],
)
async def test_an_error_that_quotes_the_mirrors_key_is_another_one_for_the_client(
    said: bytes, body: bytes
) -> None:
    answer = await answer_to(answering(said, []), anonymous(body))
    assert KEY not in repr(answer)
    assert (answer.status, answer.error["code"]) == (502, "upstream_error")


async def test_a_key_that_comes_in_pieces_is_seen() -> None:
    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_request(reader)
        head, _, body = response(400, ERROR).partition(b"\r\n\r\n")
        at = body.index(KEY.encode()) + 9
        for piece in (head + b"\r\n\r\n", body[:at], body[at:]):
            writer.write(piece)
            await writer.drain()
            await asyncio.sleep(0.02)

    answer = await answer_to(script, anonymous())
    assert answer.status == 502
    assert KEY not in repr(answer)


@pytest.mark.parametrize(
    ("encoding", "packed", "shown"),
    [
        ("gzip", gzip.compress(ERROR.encode()), False),
        ("gzip", gzip.compress(HARMLESS.encode()), True),
        ("deflate", zlib.compress(ERROR.encode()), False),
        ("gzip", gzip.compress(bytes(2 << 20) + HARMLESS.encode()), False),
        ("gzip", b"that is not gzip", False),
        ("br", HARMLESS.encode(), False),
        ("br", b"", True),
    ],
    ids=["quotes", "harmless", "quotes, deflated", "bomb", "garbage", "unreadable", "empty"],
)
async def test_a_compressed_error_is_looked_into_or_not_shown(
    encoding: str, packed: bytes, shown: bool
) -> None:
    head = response(400, "", "application/json", f"content-encoding: {encoding}")
    said = head.replace(b"content-length: 0", b"content-length: %d" % len(packed)) + packed
    seen: list[tuple[bytes, bytes]] = []
    asked = get("/v1/models", "Accept-Encoding: gzip, br")
    asked = asked.replace(b"Authorization: Bearer sk-x\r\n", b"")
    answer = await answer_to(answering(said, seen), asked.replace(b": test", b": localhost"))
    assert (answer.status, answer.body == packed) == ((400, True) if shown else (502, False))
    assert b"gzip" not in seen[0][0], "whoever lends its key is asked for what can be read"


@pytest.mark.parametrize("status", [400, 404, 422, 500])
async def test_any_other_error_is_passed_on_as_it_came(status: int) -> None:
    answer = await answer_to(answering(response(status, HARMLESS), []), anonymous())
    assert (answer.status, answer.body.decode()) == (status, HARMLESS)


async def test_what_a_mirror_says_to_a_callers_own_key_is_between_those_two() -> None:
    answer = await answer_to(answering(response(400, ERROR), []), post())
    assert (answer.status, answer.body.decode()) == (400, ERROR)


async def test_a_good_answer_may_say_what_it_likes() -> None:
    assert (await answer_to(answering(OK), anonymous())).status == 200
