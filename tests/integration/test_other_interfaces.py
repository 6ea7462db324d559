"""Interfaces that are not OpenAI's, for mirrors that serve them: Midjourney proxies, Anthropic."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from openai import resources

from router.wire.target import ROOTS
from tests.testkit.data_plane import DataPlane
from tests.testkit.raw_http import Response, ScriptedMirror, answering, get, post

FORWARD = {"forward": ["/v1/", "/mj/"]}
SUBMITTED = b'{"code": 1, "description": "Submit success", "result": "1320098173412546"}'
MESSAGE = (
    b'{"id": "msg_1", "type": "message", "role": "assistant", "content": '
    b'[{"type": "text", "text": "hi"}], "usage": {"input_tokens": 1, "output_tokens": 1}}'
)


def says(body: bytes) -> bytes:
    return b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%b" % (
        len(body),
        body,
    )


async def ask(request: bytes, paths: list[str]) -> tuple[Response, list[bytes], list[bytes]]:
    """The answer of two mirrors, one for these paths and one for OpenAI's, and what they saw."""
    special: list[tuple[bytes, bytes]] = []
    usual: list[tuple[bytes, bytes]] = []
    body = SUBMITTED if paths == ["/mj/"] else MESSAGE
    async with (
        ScriptedMirror(answering(says(body), special)) as one,
        ScriptedMirror(answering(says(b"{}"), usual), "b") as other,
        DataPlane([one.table(paths=paths), other.table(paths=["/v1/chat/"])], FORWARD) as plane,
    ):
        answer = await plane.ask(request)
    return answer, [head for head, _ in special], [head for head, _ in usual]


async def test_a_midjourney_proxy_gets_its_paths_and_its_secret() -> None:
    asked = post("/mj/submit/imagine", b'{"prompt": "a cat"}', "mj-api-secret: s3cret")
    asked = asked.replace(b"Authorization: Bearer sk-x\r\n", b"")
    answer, special, usual = await ask(asked, ["/mj/"])
    assert (answer.status, answer.body) == (200, SUBMITTED)
    assert special[0].startswith(b"POST /mj/submit/imagine HTTP/1.1\r\n")
    assert b"mj-api-secret: s3cret\r\n" in special[0]
    assert not usual


async def test_an_image_is_not_submitted_twice() -> None:
    async with (
        ScriptedMirror(answering(b"HTTP/1.1 500 x\r\nContent-Length: 0\r\n\r\n")) as one,
        ScriptedMirror(answering(says(SUBMITTED)), "b") as other,
        DataPlane(
            [one.table(priority=0), other.table(priority=1)],
            FORWARD | {"balance": {"policy": "priority"}},
        ) as plane,
    ):
        answer = await plane.ask(post("/mj/submit/imagine", b'{"prompt": "a cat"}'))
        assert (answer.status, other.connections) == (500, 0)


async def test_anthropics_messages_pass_with_their_key_and_version() -> None:
    asked = post(
        "/v1/messages", b'{"model": "claude", "messages": []}',
        "x-api-key: sk-ant-1", "anthropic-version: 2023-06-01", "anthropic-beta: tools",
    ).replace(b"Authorization: Bearer sk-x\r\n", b"")  # fmt: skip
    answer, special, usual = await ask(asked, ["/v1/messages"])
    assert (answer.status, json.loads(answer.body)["id"]) == (200, "msg_1")
    for field in (
        b"x-api-key: sk-ant-1",
        b"anthropic-version: 2023-06-01",
        b"anthropic-beta: tools",
    ):
        assert field in special[0]
    assert not usual


@pytest.mark.parametrize("path", ["/suno/generate", "/mjx/submit", "/v2/chat/completions"])
async def test_a_prefix_that_is_not_forwarded_is_told_the_base_url(path: str) -> None:
    answer, special, usual = await ask(get(path), ["/mj/"])
    assert (answer.status, answer.error["code"]) == (404, "unknown_url")
    assert "http://test/v1" in answer.error["message"]
    assert not special
    assert not usual


@pytest.mark.prove  # as of the newest release, which may know more tomorrow
def test_every_root_that_openais_client_knows_is_forgiven() -> None:
    found: set[str] = set()
    for module in Path(resources.__path__[0]).rglob("*.py"):
        found |= set(
            re.findall(r'_(?:get|post|get_api_list)\(\s*f?"/([a-z_]+)', module.read_text("utf-8"))
        )
    assert len(found) > 15
    assert {root.encode() for root in found} <= ROOTS
