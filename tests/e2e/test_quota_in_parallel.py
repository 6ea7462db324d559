"""One key's parallel requests against its quota, over two workers."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from router.wire.chunked import LAST_CHUNK, chunk
from tests.scenarios import metered_calls as ledger
from tests.testkit.instance import Instance
from tests.testkit.raw_http import ScriptedMirror, read_request
from tests.testkit.wait import wait_until_async

pytestmark = pytest.mark.e2e

WORKERS = 2
MANY = 50
MOST = 1000
USED = {"prompt_tokens": 10, "completion_tokens": MOST}
EACH = 1010
PRICE = 10_000 * EACH
"""Nano-units of one answer."""
SSE_HEAD = (
    b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
)
BODY = {
    "model": "dear",
    "stream": True,
    "messages": [{"role": "user", "content": "x"}],
    "max_tokens": MOST,
}


def event(data: Any) -> bytes:
    return b"data: " + json.dumps(data).encode() + b"\n\n"


class Waits:
    """A mirror that answers all who ask once it may, with the dearest answer there is."""

    def __init__(self) -> None:
        self.asked = 0
        self.go = asyncio.Event()

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            head, _ = await read_request(reader)
            self.asked += head.startswith(b"POST")  # else it is a probe
            writer.write(SSE_HEAD + chunk(event({"choices": [{"delta": {"content": "x"}}]})))
            await self.go.wait()
            told = event({"choices": [], "usage": USED}) + b"data: [DONE]\n\n"
            writer.write(chunk(told) + LAST_CHUNK)
            await writer.drain()


QUOTAS: tuple[tuple[tuple[str, str], int], ...] = (
    (("--tokens", str(5 * EACH + 500)), 5),
    (("--quota", f"{(5 * PRICE + PRICE // 2) / 10**9:.9f}"), 5),
    (("--tokens", "20"), 1),
)
"""Quotas, and how many streams fit into each at the same time; one does into less than it costs."""


async def test_parallel_streams_spend_at_most_the_quota_and_one_request(tmp_path: Path) -> None:
    script = Waits()
    async with (
        ScriptedMirror(script) as mirror,
        aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0, force_close=True)) as client,
    ):
        config = {
            "router": {"workers": WORKERS},
            "monitor": {"interval": "1h"},
            "limits": {"connections": 0, "requests_per_second": 0},
            "mirrors": [mirror.table(api_key="sk-mirror", allow_private=True)],
            "prices": {"dear": {"input": 10, "output": 10}},
        }
        instance = Instance(config, tmp_path)
        await asyncio.to_thread(instance.start)
        try:
            for quota, fits in QUOTAS:
                await _spend(instance, client, script, quota, fits)
        finally:
            script.go.set()
            await asyncio.to_thread(instance.kill)


async def _spend(
    instance: Instance,
    client: aiohttp.ClientSession,
    script: Waits,
    quota: tuple[str, str],
    fits: int,
) -> None:
    """Ask with a new key in parallel, then one by one until its quota is used up."""
    script.asked, script.go = 0, asyncio.Event()
    statuses: Counter[int] = Counter()
    refusals: list[dict[str, Any]] = []
    key = await asyncio.to_thread(ledger.create, instance, "small", *quota)

    async def ask() -> None:
        url = f"{instance.base_url}/chat/completions"
        sent = {"authorization": f"Bearer {key.key}"}
        async with client.post(url, json=BODY, headers=sent) as answer:
            statuses[answer.status] += 1
            text = await answer.text()
            if answer.status != 200:
                refusals.append(json.loads(text)["error"])

    async def used_up() -> bool:
        await ask()
        return "is used up" in (refusals[-1]["message"] if refusals else "")

    asking = [asyncio.ensure_future(ask()) for _ in range(MANY)]
    await wait_until_async(lambda: statuses.total() == MANY, 60, "all to be told")
    assert statuses == {200: fits, 429: MANY - fits}, quota
    script.go.set()
    await asyncio.gather(*asking)
    assert {error["code"] for error in refusals} == {"insufficient_quota"}
    assert all("reserved by its open requests" in error["message"] for error in refusals)
    await wait_until_async(used_up, 30, "the rest to be used, one by one")
    assert script.asked == statuses[200] == (fits + 1 if fits > 1 else 1)
