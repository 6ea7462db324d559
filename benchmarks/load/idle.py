"""Streams that stay open and say nothing: what an open stream costs in memory."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass

import uvloop

from benchmarks.load.result import LoadFailed, Result
from benchmarks.load.sse import connected
from benchmarks.load.stream import StreamClient

AT_ONCE = 50
"""Streams that are being opened at the same time."""
OPEN_TIMEOUT = 60.0
SETTLE = 0.5
"""Seconds after the last first event before memory is read."""


@dataclass(frozen=True)
class IdleStreams:
    """Memory is read with `first` streams open and again with `more`: the slope is the cost."""

    first: int = 200
    more: int = 2_000

    def warm(self, port: int) -> None:
        """Nothing: `first` is the warm-up, and it stays open."""

    def run(self, port: int, seconds: float, memory: Callable[[], int]) -> Result:
        start = time.monotonic()
        grown = uvloop.run(self._growth(port, memory))
        return Result(self.more, time.monotonic() - start, memory_per_unit=grown / self.more)

    async def _growth(self, port: int, memory: Callable[[], int]) -> int:
        async with opened(port, self.first):
            await asyncio.sleep(SETTLE)
            before = memory()
            async with opened(port, self.more):
                await asyncio.sleep(SETTLE)
                return memory() - before


@contextlib.asynccontextmanager
async def opened(port: int, count: int) -> AsyncIterator[None]:
    """`count` streams whose first event has come. Raises LoadFailed."""
    clients: list[StreamClient] = []
    free = asyncio.Semaphore(AT_ONCE)
    try:
        async with asyncio.timeout(OPEN_TIMEOUT):
            for _ in range(count):
                await free.acquire()
                clients.append(await connected(port, 1, 1, free.release))
                _check(clients[-1])
            for _ in range(AT_ONCE):
                await free.acquire()
        yield
        for client in clients:
            _check(client)
    except TimeoutError:
        raise LoadFailed(f"only {len(clients)} of {count} streams opened") from None
    finally:
        for client in clients:
            client.close()


def _check(client: StreamClient) -> None:
    if client.ended.done():
        client.ended.result()
        raise LoadFailed("a stream ended that should stay open")
