"""Many event streams at once."""

import asyncio
import math
import time
from collections.abc import Callable
from dataclasses import dataclass

import uvloop

from benchmarks.load.result import LoadFailed, Result, percentile
from benchmarks.load.stream import StreamClient
from benchmarks.mirror import INTERVAL

PATIENCE = 30.0
"""Seconds beyond what the streams should take after which they are given up."""


@dataclass(frozen=True)
class Streams:
    """So many connections, each with one stream of `events` events after the other; their
    beginnings are spread evenly over the length of a stream."""

    connections: int = 200
    events: int = 100

    def warm(self, port: int) -> None:
        uvloop.run(_streams(port, self.connections, 1, 10))

    def run(self, port: int, seconds: float, memory: Callable[[], int]) -> Result:
        turns = max(1, math.ceil(seconds / (self.events * INTERVAL)))
        start = time.monotonic()
        delays, waits = uvloop.run(_streams(port, self.connections, turns, self.events))
        return Result(
            units=len(delays),
            seconds=time.monotonic() - start,
            p50=percentile(delays, 0.5),
            p99=percentile(delays, 0.99),
            first_p50=percentile(waits, 0.5),
            first_p99=percentile(waits, 0.99),
        )


async def _streams(
    port: int, connections: int, turns: int, events: int
) -> tuple[list[int], list[int]]:
    """Return in µs the delay of every event, and how long each stream's first one took."""
    length = events * INTERVAL
    limit = (1 + turns) * length + PATIENCE
    clients: list[StreamClient] = []
    try:
        async with asyncio.timeout(limit):
            for _ in range(connections):
                clients.append(await connected(port, turns, events))
                await asyncio.sleep(length / connections)  # all at once, they would queue
            delays = await asyncio.gather(*(client.ended for client in clients))
    except TimeoutError:
        raise LoadFailed(f"streams that did not end within {limit:.0f} s") from None
    finally:
        for client in clients:
            client.close()
    waits = [wait for client in clients for wait in client.waits]
    return [delay for each in delays for delay in each], waits


async def connected(
    port: int, turns: int, events: int, on_event: Callable[[], None] = lambda: None
) -> StreamClient:
    """Return a client that has begun to ask."""
    loop = asyncio.get_running_loop()
    _, client = await loop.create_connection(
        lambda: StreamClient(port, turns, events, on_event), "127.0.0.1", port
    )
    return client
