"""Open-loop load: so many requests a second, whatever becomes of those before.

Half of them are plain chats, three in ten streams, one reads and one (images) must not be sent
twice.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Self

import aiohttp

from tests.testkit.http_client import read_stream

TIMEOUT = 30.0
PLAIN, STREAM, READ, ONCE = "plain", "stream", "read", "once"
MIX = (PLAIN, STREAM, PLAIN, READ, STREAM, PLAIN, ONCE, PLAIN, STREAM, PLAIN)
_CHAT: dict[str, Any] = {"model": "gpt-4o", "messages": [{"role": "user", "content": "hi"}]}
WORDS = 4
"""Events with content in a whole stream, each with its number."""
_SAID = "".join(f" {number}" for number in range(WORDS))


@dataclass
class Ended:
    """One request: "whole", "error" (one, clear), or what else it was."""

    id: str
    kind: str
    began: float
    seconds: float
    outcome: str
    mirror: str
    attempts: int = 1
    begun: bool = False
    """True if content had reached the client."""
    detail: str = field(default="", repr=True)

    @property
    def must_succeed(self) -> bool:
        """True if it may be repeated, and no content of it had come."""
        return self.kind != ONCE and not self.begun


class OpenLoad:
    """Sends from the beginning of its context to the end; then waits for what is on its way."""

    def __init__(self, base_url: str, rate: float, mix: Sequence[str] = MIX) -> None:
        self.ended: list[Ended] = []
        self._base_url, self._rate = base_url, rate
        self._mix = itertools.cycle(mix)
        self._running: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Self:
        self._session = aiohttp.ClientSession(
            self._base_url,
            connector=aiohttp.TCPConnector(limit=0),
            timeout=aiohttp.ClientTimeout(total=TIMEOUT),
            headers={"Authorization": "Bearer sk-x"},
        )
        self._pace = asyncio.create_task(self._send_on())
        return self

    async def __aexit__(self, *_: object) -> None:
        self._pace.cancel()
        await asyncio.gather(*self._running)
        await self._session.close()

    def between(self, begin: float, end: float = float("inf")) -> list[Ended]:
        """Requests that began then."""
        return [one for one in self.ended if begin <= one.began < end]

    async def _send_on(self) -> None:
        began = time.monotonic()
        for number in itertools.count():
            await asyncio.sleep(max(0.0, began + number / self._rate - time.monotonic()))
            task = asyncio.create_task(self._one(f"t{number}", next(self._mix)))
            self._running.add(task)
            task.add_done_callback(self._running.discard)

    async def _one(self, name: str, kind: str) -> None:
        began = time.monotonic()
        ended = Ended(name, kind, began, 0.0, "none", "")
        try:
            async with self._request(kind, name) as response:
                await _read(response, kind, ended)
        except (aiohttp.ClientError, OSError, TimeoutError) as error:
            ended.detail = f"{type(error).__name__}: {error}"
        ended.seconds = time.monotonic() - began
        self.ended.append(ended)

    def _request(self, kind: str, name: str) -> Any:
        fields = {"x-test-id": name}
        if kind == READ:
            return self._session.get("/v1/models", headers=fields)
        if kind == ONCE:
            body = {"model": "dall-e-3", "prompt": "hi"}
            return self._session.post("/v1/images/generations", headers=fields, json=body)
        chat = {**_CHAT, "stream": kind == STREAM}
        return self._session.post("/v1/chat/completions", headers=fields, json=chat)


async def _read(response: aiohttp.ClientResponse, kind: str, ended: Ended) -> None:
    ended.mirror = response.headers.get("x-mirrorgate-mirror", "")
    ended.attempts = int(response.headers.get("x-mirrorgate-attempts", "1"))
    body, complete = b"", True
    try:
        async for piece in response.content.iter_any():
            body += piece
    except (aiohttp.ClientError, OSError):
        complete = False
    if response.status != 200:
        error = json.loads(body)["error"] if complete else {}
        ended.outcome = "error" if error.get("message") and "code" in error else "unclear"
        ended.detail = f"{response.status} {error}"
    elif kind == STREAM:
        ended.outcome, ended.begun = _of_stream(body, complete)
        ended.detail = "" if ended.outcome == "whole" else repr(body[-200:])
    else:
        ended.outcome = "whole" if complete and json.loads(body)["object"] == "thing" else "unclear"


def _of_stream(body: bytes, complete: bool) -> tuple[str, bool]:
    said, errors, done, odd = read_stream(body)
    if complete and done and said == _SAID and not errors:
        return "whole", True
    one_error = len(errors) == 1 and not done and not complete and not odd
    return ("error" if one_error else "unclear"), bool(said)


def percentile(values: Iterable[float], percent: float) -> float:
    """Of the values; 0 if there are none."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * percent / 100))] if ordered else 0.0
