"""Errors that say the next step, and bodies whose Content-Type does not say what they are."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from router.admission.credentials import new_key
from tests.integration.test_key_outages import CALLERS, KEY, LENDS
from tests.testkit.data_plane import DataPlane
from tests.testkit.raw_http import OK, ScriptedMirror, answering, post, read_request

CURL = b"application/x-www-form-urlencoded"
BODY = b'{"model": "gpt-4o", "messages": []}'
FAILING = answering(b"HTTP/1.1 500 x\r\nContent-Length: 0\r\n\r\n")
FIRST_FIRST = {"balance": {"policy": "priority"}}
PAGE = {"public_url": "https://status.example.com"}


def typed(kind: bytes | None) -> bytes:
    """A chat whose body is said to be of this type, or of none."""
    line = b"Content-Type: application/json\r\n"
    asked = post(body=BODY)
    return asked.replace(line, b"Content-Type: %b\r\n" % kind if kind else b"")


@pytest.mark.parametrize("kind", [CURL, b"text/plain;charset=UTF-8", None])
async def test_a_chat_that_is_not_said_to_be_json_fails_over_as_any_other(
    kind: bytes | None,
) -> None:
    seen: list[tuple[bytes, bytes]] = []
    async with (
        ScriptedMirror(FAILING) as bad,
        ScriptedMirror(answering(OK, seen), "b") as good,
        DataPlane([bad.table(priority=0), good.table(priority=1)], FIRST_FIRST) as plane,
    ):
        answer = await plane.ask(typed(kind))
        assert (answer.status, answer["x-mirrorgate-mirror"]) == (200, "b")
        assert seen[0][1] == BODY
        assert kind is None or b"Content-Type: %b\r\n" % kind in seen[0][0]


@pytest.mark.parametrize(("kind", "named"), [(CURL, CURL.decode()), (None, "none")])
async def test_a_key_with_a_quota_is_told_of_the_content_type(
    kind: bytes | None, named: str
) -> None:
    async with ScriptedMirror(answering(OK)) as mirror:
        async with DataPlane([mirror.table(**LENDS)], CALLERS) as plane:
            ring = plane.context.keys
            ring.season("01" * 32)
            ring.extend([("k1", ring.digest(KEY.encode()).hex(), None, 0.0, "", None, 1000)])
            answer = await plane.ask(typed(kind).replace(b"sk-x", KEY.encode()))
            assert (answer.status, answer.error["code"]) == (415, "unsupported_content_type")
            assert f"is {named}:" in answer.error["message"]
            assert "-H 'Content-Type: application/json'" in answer.error["message"]
            assert mirror.connections == 0


def misspelt() -> list[str]:
    key = new_key("mg-")
    other = "A" if key[10] != "A" else "B"
    return [key[:10] + other + key[11:], key[:-1], key[:9] + "x" + key[9:], key[:20] + key[22:]]


@pytest.mark.parametrize("key", misspelt(), ids=["changed", "cut", "longer", "two lost"])
@pytest.mark.parametrize("callers", [["own", "issued"], ["issued"], ["own"]])
async def test_a_mistyped_key_of_ours_goes_to_no_mirror(key: str, callers: list[str]) -> None:
    async with ScriptedMirror(answering(OK)) as mirror:
        async with DataPlane([mirror.table()], {"callers": callers}) as plane:
            answer = await plane.ask(post().replace(b"sk-x", key.encode()))
            assert (answer.status, answer.error["code"]) == (401, "invalid_api_key")
            assert "copy it again" in answer.error["message"]
            assert key not in answer.error["message"]
            assert mirror.connections == 0


@pytest.mark.parametrize(
    ("key", "prefix"),
    [("sk-" + "a" * 48, "sk-"), ("mg-short", "mg-"), ("mg-" + "a-b" * 16, "mg-")],
)
async def test_other_keys_are_the_callers_own(key: str, prefix: str) -> None:
    async with ScriptedMirror(answering(OK)) as mirror:
        more = {"keys": {"prefix": prefix}}
        async with DataPlane([mirror.table()], {"callers": ["own"]}, more) as plane:
            assert (await plane.ask(post().replace(b"sk-x", key.encode()))).status == 200


async def test_a_good_key_that_no_mirror_lends_for_is_told_to_ask_the_operator() -> None:
    async with ScriptedMirror(answering(OK)) as mirror:
        async with DataPlane([mirror.table()], CALLERS) as plane:
            ring = plane.context.keys
            ring.season("01" * 32)
            ring.extend([("k1", ring.digest(KEY.encode()).hex(), None, 0.0, "", None, None)])
            answer = await plane.ask(post().replace(b"sk-x", KEY.encode()))
            assert (answer.status, answer.error["code"]) == (503, "no_mirror_available")
            assert "ask the operator" in answer.error["message"]


async def _breaks(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await read_request(reader)
    event = b'data: {"choices": [{"index": 0, "delta": {"content": "x"}}]}\n\n'
    writer.write(
        b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
        b"%x\r\n%b\r\n" % (len(event), event)
    )
    await writer.drain()


@pytest.mark.parametrize("more", [{}, PAGE])
async def test_errors_of_mirrors_say_when_to_try_again_and_where_their_state_is(
    more: dict[str, Any],
) -> None:
    streamed = post(body=BODY.replace(b"{", b'{"stream": true, ', 1))
    async with DataPlane([], {}, more) as plane:
        nothing = (await plane.ask(post())).error["message"]
    async with ScriptedMirror(_breaks) as mirror, DataPlane([mirror.table()], {}, more) as plane:
        cut = (await plane.ask(streamed)).body.decode()
    async with ScriptedMirror(answering(b"nonsense")) as mirror:
        async with DataPlane([mirror.table()], {}, more) as plane:
            failed = (await plane.ask(post())).error["message"]
    assert "Try again" in nothing
    assert "ask again" in cut
    assert "Try again" in failed
    for told in (nothing, cut, failed):
        assert (PAGE["public_url"] in told) is bool(more)
