"""Callers without a key, between raw clients and raw mirrors: browsers are not used for it."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from tests.testkit.data_plane import DataPlane
from tests.testkit.raw_http import ScriptedMirror, answering

OK = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 2\r\n\r\n{}"
APP = "https://app.example"
SETTINGS = {"callers": ["anonymous", "own"], "cors_origins": [APP]}


def get(*fields: str, host: str = "127.0.0.1:8080") -> bytes:
    lines = ["GET /v1/models HTTP/1.1", f"Host: {host}", *fields, "", ""]
    return "\r\n".join(lines).encode()


@pytest.fixture
async def plane() -> AsyncIterator[DataPlane]:
    async with ScriptedMirror(answering(OK, [])) as mirror:
        async with DataPlane([mirror.table(api_key="sk-mirror")], SETTINGS) as plane:
            yield plane


async def test_a_page_of_a_foreign_origin_is_refused_and_may_not_even_read_why(
    plane: DataPlane,
) -> None:
    answer = await plane.ask(get("Origin: https://evil.example"))
    assert (answer.status, answer.error["code"]) == (403, "origin_not_allowed")
    assert answer.error["type"] == "invalid_request_error"
    assert not any(name.lower().startswith("access-control-") for name, _ in answer.fields)
    assert answer["vary"] == "Origin"


async def test_a_page_of_an_allowed_origin_and_a_program_are_answered(plane: DataPlane) -> None:
    answer = await plane.ask(get(f"Origin: {APP}"))
    assert (answer.status, answer["access-control-allow-origin"]) == (200, APP)
    assert (await plane.ask(get())).status == 200


async def test_a_caller_with_a_key_may_come_from_any_page_under_any_name(plane: DataPlane) -> None:
    key = "Authorization: Bearer sk-own"
    answer = await plane.ask(get("Origin: https://evil.example", key, host="rebound.example"))
    assert answer.status == 200


async def test_a_websocket_of_a_foreign_page_is_refused(plane: DataPlane) -> None:
    upgrade = (
        "Connection: Upgrade",
        "Upgrade: websocket",
        "Sec-WebSocket-Version: 13",
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
    )
    answer = await plane.ask(get("Origin: https://evil.example", *upgrade))
    assert (answer.status, answer.error["code"]) == (403, "origin_not_allowed")


async def test_a_name_that_was_pointed_here_is_refused_each_time_it_is_used(
    plane: DataPlane,
) -> None:
    client = await plane.connect()
    for _ in range(3):  # the second time on the head is known again
        await client.send(get(host="rebound.example:8080"))
        answer = await client.response()
        assert (answer.status, answer.error["code"]) == (403, "host_not_allowed")
    await client.close()


async def test_preflights_are_answered_as_ever(plane: DataPlane) -> None:
    preflight = get("Origin: https://evil.example", host="rebound.example").replace(
        b"GET", b"OPTIONS"
    )
    assert (await plane.ask(preflight)).status == 204


async def test_behind_a_trusted_proxy_the_name_is_the_proxys_matter_but_not_the_origin() -> None:
    async with ScriptedMirror(answering(OK, [])) as mirror:
        settings = {**SETTINGS, "trusted_proxies": ["private"]}
        async with DataPlane([mirror.table(api_key="sk-mirror")], settings) as plane:
            forwarded = "X-Forwarded-For: 192.0.2.7"
            assert (await plane.ask(get(forwarded, host="api.example"))).status == 200
            evil = get(forwarded, "Origin: https://evil.example", host="api.example")
            assert (await plane.ask(evil)).status == 403
