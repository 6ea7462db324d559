"""Closed-loop load on an instance: several clients in a thread, each with one request at a time."""

import asyncio
import itertools
import json
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Self

import aiohttp

from tests.testkit.http_client import CHAT
from tests.testkit.mirror.server import TEST_KEY
from tests.testkit.wait import wait_until

TIMEOUT = 30.0
MODELS, COMPLETION, STREAM = "models", "completion", "stream"
BEHAVIOUR = {"events": 4, "event_delay": 0.02, "latency": 0.02}
"""Slow enough that several requests are always under way."""


@dataclass(frozen=True)
class Result:
    """One request: `status` 0 means that no answer came, `error` "" that it came whole."""

    id: str
    kind: str
    began: float
    status: int
    mirror: str
    error: str

    @property
    def failed(self) -> bool:
        return self.status != 200 or bool(self.error)


class SteadyLoad:
    """GETs, POSTs and streams, in turn, by `clients` clients with kept connections."""

    def __init__(self, base_url: str, *, clients: int = 6, pause: float = 0.02) -> None:
        self.base_url = base_url
        self.results: list[Result] = []
        self._clients, self._pause = clients, pause
        self._numbers = itertools.count(1)
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._run()))

    @property
    def failures(self) -> list[Result]:
        return [result for result in list(self.results) if result.failed]

    def more(self, count: int, timeout: float = 30.0) -> None:
        """Wait until so many more requests have ended."""
        goal = len(self.results) + count
        wait_until(lambda: len(self.results) >= goal, timeout, f"{count} more requests")

    def since(self, moment: float) -> list[Result]:
        """Return the results of requests that began after that `time.monotonic()`."""
        return [result for result in list(self.results) if result.began > moment]

    def __enter__(self) -> Self:
        self._thread.start()
        self.more(self._clients * 3)
        return self

    def __exit__(self, *_: object) -> None:
        self._stopping.set()
        self._thread.join(2 * TIMEOUT)
        assert not self._thread.is_alive()

    async def _run(self) -> None:
        async with asyncio.TaskGroup() as clients:
            for number in range(self._clients):
                clients.create_task(self._client(number))

    async def _client(self, number: int) -> None:
        kinds = itertools.cycle((MODELS, COMPLETION, STREAM))
        for _ in range(number):
            next(kinds)
        timeout = aiohttp.ClientTimeout(total=TIMEOUT)
        async with aiohttp.ClientSession(self.base_url, timeout=timeout) as session:
            while not self._stopping.is_set():
                self.results.append(await self._request(session, next(kinds)))
                await asyncio.sleep(self._pause)

    async def _request(self, session: aiohttp.ClientSession, kind: str) -> Result:
        request_id = f"load-{next(self._numbers)}"
        began = time.monotonic()
        status, mirror, error = 0, "", ""
        try:
            async with _send(session, kind, request_id) as response:
                status = response.status
                mirror = response.headers.get("x-mirrorgate-mirror", "")
                error = _fault(kind, status, await response.read())
        except (aiohttp.ClientError, OSError, TimeoutError) as broken:
            error = f"{type(broken).__name__}: {broken}"
        return Result(request_id, kind, began, status, mirror, error)


def _send(session: aiohttp.ClientSession, kind: str, request_id: str) -> Any:
    headers = {
        "Authorization": f"Bearer {TEST_KEY}",
        "x-test-id": request_id,
        "x-test-behaviour": json.dumps(BEHAVIOUR),
    }
    if kind == MODELS:
        return session.get("/v1/models", headers=headers)
    body = {**CHAT, "stream": kind == STREAM}
    return session.post("/v1/chat/completions", headers=headers, json=body)


def _fault(kind: str, status: int, body: bytes) -> str:
    if status != 200:
        return body.decode(errors="replace")
    whole: Callable[[bytes], bool] = _is_whole_stream if kind == STREAM else _is_json
    return "" if whole(body) else f"incomplete: {body[-80:]!r}"


def _is_whole_stream(body: bytes) -> bool:
    return body.rstrip().endswith(b"data: [DONE]")


def _is_json(body: bytes) -> bool:
    try:
        json.loads(body)
    except ValueError:
        return False
    return True
