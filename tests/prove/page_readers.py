"""Readers of the status page, as a program: URL, requests a second, and for how many seconds.

They come from many addresses, follow lists of bans page by page and write their addresses in many
ways. Prints a JSON object at the end: how many answers there were of which status, and the slowest
of a hundred answers of the health check.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import json
import random
import time
from collections import Counter

from aiohttp import ClientError, ClientSession, ClientTimeout, TCPConnector

ADDRESSES = 50
HEALTH = "/api/v1/health"
PATHS = (
    "/",
    "/?lang=en&refresh=off",
    "/banned",
    "/banned?lang={odd}&x={odd}",
    "/history?{odd}",
    "/nodes/a?refresh={odd}",
    "/docs?lang=en",
    "/api/v1/bans?limit=200&after={cursor}",
    "/api/v1/bans?limit={limit}",
    "/banned?after={cursor}",
    "/api/v1/nodes",
    "/api/v1/incidents?{odd}",
    "/api/v2/incidents.json",
    "/feed.atom",
    "/nowhere",
    HEALTH,
)


class Readers:
    """Sends so many requests a second, whatever becomes of those before."""

    def __init__(self, url: str, rate: float, seed: int = 1) -> None:
        self.url, self.rate = url, rate
        self.statuses: Counter[str] = Counter()
        self.health: list[float] = []
        self._rng = random.Random(seed)
        self._cursors = [""]

    async def run(self, seconds: float) -> None:
        """Read for so long."""
        sessions = [self._session(number) for number in range(ADDRESSES)]
        began = time.monotonic()
        async with asyncio.TaskGroup() as tasks:
            for number in itertools.count():
                due = began + number / self.rate
                if due > began + seconds:
                    break
                await asyncio.sleep(max(0.0, due - time.monotonic()))
                path = PATHS[number % len(PATHS)]
                tasks.create_task(self._read(sessions[number % ADDRESSES], path))
        for session in sessions:
            await session.close()

    def _session(self, number: int) -> ClientSession:
        connector = TCPConnector(local_addr=(f"127.0.1.{number + 1}", 0))
        return ClientSession(
            self.url,
            connector=connector,
            timeout=ClientTimeout(total=30),
            headers={"Accept": "text/html", "User-Agent": "Mozilla/5.0"},
        )

    async def _read(self, session: ClientSession, path: str) -> None:
        asked = path.format(
            odd=self._rng.random(),
            cursor=self._rng.choice(self._cursors),
            limit=self._rng.randint(1, 200),
        )
        began = time.monotonic()
        try:
            async with session.get(asked) as response:
                body = await response.read()
                self.statuses[str(response.status)] += 1
        except (ClientError, OSError, TimeoutError) as error:
            self.statuses[type(error).__name__] += 1
            return
        if path == HEALTH:
            self.health.append(time.monotonic() - began)
        if path.startswith("/api/v1/bans") and response.status == 200:
            self._follow(json.loads(body)["next"])

    def _follow(self, cursor: str | None) -> None:
        if cursor is not None:
            self._cursors = [*self._cursors[-500:], cursor]


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("url")
    parser.add_argument("rate", type=float)
    parser.add_argument("seconds", type=float)
    arguments = parser.parse_args()
    readers = Readers(arguments.url, arguments.rate)
    asyncio.run(readers.run(arguments.seconds))
    slowest = sorted(readers.health)[int(len(readers.health) * 0.99)] if readers.health else 0.0
    print(json.dumps({"statuses": readers.statuses, "health": slowest}))
