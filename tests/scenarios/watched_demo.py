"""The mirrors of the demo behind an instance that Prometheus watches, with every kind of traffic.

Own keys, issued keys and none, streams and plain answers, clients that leave, that are refused and
banned, mirrors that come and go, fail, are slow or blocked: so that no metric has nothing to tell.
"""

import asyncio
import contextlib
import itertools
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp

from tests.testkit.demo import KEY, farm
from tests.testkit.instance import Instance
from tests.testkit.mirror.behaviour import Behaviour
from tests.testkit.mirror.server import TEST_KEY, PretendMirror
from tests.testkit.prometheus import Prometheus

CONFIG = """
[router]
workers = 2
callers = ["own", "issued", "anonymous"]
cors_origins = []
trusted_proxies = ["127.0.0.0/8"]

[limits]
connections = 20
requests_per_second = 40
burst = 60
ban = { violations = 2, within = "1m", for = "1m" }

[monitor]
interval = "2s"
residual = "12s"
vantage = "demo"
sni = { control = ["example.org"] }


[prices."gpt-4o"]
input = 2.5
output = 10
"""
NAMED = """
[[mirrors]]
id = "de-cutting"
name = "德国（断流）"
region = "德国"
url = "http://localhost:{port}"
allow_private = true
api_key = "{key}"
models = ["gpt-4o", "gpt-3.5-turbo"]
"""
"""A mirror that is found by DNS, and breaks off some of its streams."""
GREEDY = "203.0.113.250"


@dataclass
class Watched:
    """The processes."""

    instance: Instance
    prometheus: Prometheus
    unsteady: PretendMirror


@contextlib.asynccontextmanager
async def watched_demo(directory: Path, *, every: str = "1s") -> AsyncIterator[Watched]:
    """Start all of it, without traffic."""
    async with contextlib.AsyncExitStack() as stack:
        unsteady, mirrors = await stack.enter_async_context(farm(directory))
        cutting = PretendMirror("cutting", behaviour=Behaviour(cut_after=2, every=25))
        await stack.enter_async_context(cutting)
        tables = mirrors + NAMED.format(port=cutting.port, key=TEST_KEY)
        instance = Instance(CONFIG + tables, directory)
        await asyncio.to_thread(instance.__enter__)
        stack.push_async_callback(asyncio.to_thread, instance.__exit__)
        target = instance.admin_url.removeprefix("http://")
        watching = Prometheus(directory, [target], every=every)
        prometheus = await stack.enter_async_context(watching)
        yield Watched(instance, prometheus, unsteady)


class Traffic:
    """So many requests a second, from its beginning to its end."""

    def __init__(self, watched: Watched, rate: float) -> None:
        self._watched, self._rate = watched, rate
        self._tasks: set[asyncio.Task[None]] = set()
        self._issued = ""

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Send as long as the context lasts."""
        made = await asyncio.to_thread(
            self._watched.instance.command,
            *("keys", "create", "--name", "demo", "--quota", "2", "--json"),
            check=True,
        )
        self._issued = json.loads(made.stdout)["key"]
        sending = asyncio.create_task(self._send())
        moving = asyncio.create_task(self._come_and_go())
        try:
            yield
        finally:
            for task in (sending, moving, *self._tasks):
                task.cancel()
            await asyncio.gather(sending, moving, *self._tasks, return_exceptions=True)

    async def _come_and_go(self) -> None:
        unsteady = self._watched.unsteady
        for listener in itertools.cycle(("refuse", "serve")):
            await asyncio.sleep(20)
            await unsteady.behave(listener=listener)

    async def _send(self) -> None:
        async with aiohttp.ClientSession(self._watched.instance.base_url) as session:
            for turn in itertools.count():
                task = asyncio.create_task(self._one(session, turn))
                self._tasks.add(task)
                task.add_done_callback(self._tasks.discard)
                await asyncio.sleep(1 / self._rate)

    async def _one(self, session: aiohttp.ClientSession, turn: int) -> None:
        key = (KEY, self._issued, "")[(0, 1, 0, 2, 0, 1, 0, 0, 1, 1)[turn % 10]]
        key = "sk-wrong" if turn % 60 == 59 else key
        headers = {"x-forwarded-for": f"203.0.113.{turn % 200}"}
        if key:
            headers["authorization"] = f"Bearer {key}"
        body: dict[str, Any] = {
            "model": "my-own" if turn % 40 == 39 else ("gpt-4o", "gpt-3.5-turbo")[turn % 3 == 2],
            "stream": turn % 3 == 0,
            "messages": [{"role": "user", "content": "hi"}],
        }
        patience = 0.05 if turn % 37 == 36 else 20  # some leave before the answer
        with contextlib.suppress(aiohttp.ClientError, TimeoutError):
            async with asyncio.timeout(patience):
                path = "/v1/embeddings" if turn % 11 == 10 else "/v1/chat/completions"
                async with session.post(path, json=body, headers=headers) as answer:
                    await answer.read()
        if turn % 1500 == 150:
            await self._too_many(session)

    async def _too_many(self, session: aiohttp.ClientSession) -> None:
        """One client asks far too often, for as long as it takes to be banned."""
        headers = {"x-forwarded-for": GREEDY, "authorization": f"Bearer {KEY}"}
        for _ in range(4):
            answers = await asyncio.gather(
                *(self._models(session, headers) for _ in range(100)), return_exceptions=True
            )
            del answers
            await asyncio.sleep(1)

    async def _models(self, session: aiohttp.ClientSession, headers: dict[str, str]) -> None:
        async with session.get("/v1/models", headers=headers) as answer:
            await answer.read()
