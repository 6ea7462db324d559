"""The pretend mirror's own account: what it bills, and what it says of that."""

from __future__ import annotations

import json
from typing import Any

import aiohttp
import pytest

from tests.testkit.mirror.server import TEST_KEY, PretendMirror

CHAT = {"model": "m", "messages": [{"role": "user", "content": "a b c d"}]}


async def ask(mirror: PretendMirror, path: str, body: Any, **headers: str) -> tuple[int, bytes]:
    sent = {"authorization": f"Bearer {TEST_KEY}", "x-test-label": "k1", **headers}
    if isinstance(body, aiohttp.FormData):
        more: dict[str, Any] = {"data": body}
    else:
        more = {"json": body}
    async with (
        aiohttp.ClientSession(auto_decompress=False) as client,
        client.post(f"{mirror.base_url}/v1/{path}", headers=sent, **more) as answer,
    ):
        return answer.status, await answer.read()


def form() -> aiohttp.FormData:
    upload = aiohttp.FormData()
    upload.add_field("model", "m")
    upload.add_field("file", b"x" * 250, filename="a.mp3")
    return upload


@pytest.mark.parametrize(
    ("path", "body", "amounts"),
    [
        ("chat/completions", CHAT, {"input_tokens": 4, "output_tokens": 5}),
        (
            "chat/completions",
            {**CHAT, "prompt_cache_key": "x", "stream": True},
            {"input_tokens": 4, "cached_tokens": 2, "output_tokens": 5},
        ),
        ("completions", {"model": "m", "prompt": "a b"}, {"input_tokens": 2, "output_tokens": 5}),
        ("responses", {"model": "m", "input": "a b"}, {"input_tokens": 2, "output_tokens": 5}),
        (
            "messages",
            {**CHAT, "prompt_cache_key": "x"},
            {"input_tokens": 4, "cached_tokens": 2, "output_tokens": 5},
        ),
        ("messages", {**CHAT, "stream": True}, {"input_tokens": 4, "output_tokens": 5}),
        ("embeddings", {"model": "m", "input": ["a", "b"]}, {"input_tokens": 2}),
        ("images/generations", {"model": "m", "prompt": "x", "n": 3}, {"images": 3}),
        ("audio/speech", {"model": "m", "input": "hello"}, {"characters": 5}),
        ("audio/transcriptions", None, {"audio_ms": 2000}),
        ("moderations", {"model": "m", "input": "x"}, {}),
    ],
)
async def test_answered_requests_are_billed(path: str, body: Any, amounts: dict[str, int]):
    async with PretendMirror() as mirror:
        status, _ = await ask(mirror, path, form() if body is None else body)
        assert status == 200
        (line,) = mirror.bill.lines()
        billed = {name: amount for name, amount in line.items() if amount}
        assert billed == {"label": "k1", "model": "m", "requests": 1, **amounts}


@pytest.mark.parametrize(
    ("switches", "body"),
    [({"status": 500}, CHAT), ({"status": 429}, CHAT), ({"cut_after": 2}, CHAT)],
)
@pytest.mark.parametrize("stream", [True, False])
async def test_failed_and_interrupted_requests_are_not_billed(
    switches: dict[str, int], body: Any, stream: bool
):
    async with PretendMirror() as mirror:
        try:
            await ask(
                mirror,
                "chat/completions",
                {**body, "stream": stream},
                **{"x-test-behaviour": json.dumps(switches)},
            )
        except aiohttp.ClientError:
            pass
        assert mirror.bill.lines() == []


@pytest.mark.parametrize("path", ["chat/completions", "completions"])
async def test_a_stream_tells_its_use_only_when_asked(path: str):
    body = {**CHAT, "prompt": "a", "stream": True}
    async with PretendMirror() as mirror:
        _, silent = await ask(mirror, path, body)
        _, told = await ask(mirror, path, {**body, "stream_options": {"include_usage": True}})
    assert b"usage" not in silent
    assert b'"choices": []' in told
    assert b'"usage": {"prompt_tokens"' in told


@pytest.mark.parametrize("stream", [True, False])
async def test_it_compresses_when_told_to(stream: bool):
    async with PretendMirror() as mirror:
        await mirror.behave(compress=True)
        plain = {"accept-encoding": "identity"}
        _, packed = await ask(mirror, "chat/completions", {**CHAT, "stream": stream}, **plain)
    assert packed.startswith(b"\x1f\x8b")
