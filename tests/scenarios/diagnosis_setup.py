"""One trial of the diagnosis: a mirror behind a censor, with a name of its own.

Each set-up has addresses, a censor and beliefs of its own, so many of them run side by side in one
event loop.
"""

import asyncio
import ssl
from collections.abc import Coroutine, Iterator
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any, Self

from monitor.health.snapshot import endpoint_of
from monitor.probes.tls import TlsContexts
from tests.testkit.censor.dns import DnsServer, DohServer
from tests.testkit.censor.path_watcher import Diagnosed, PathWatcher, shortened
from tests.testkit.censor.relay import Censor
from tests.testkit.listener import TlsServer

RESIDUAL = 1.0
"""Seconds that the censors of set-ups remember, where they do."""
PACE = shortened(RESIDUAL + 0.3)


@dataclass(frozen=True)
class Servers:
    """Servers that all set-ups share."""

    server: TlsServer
    """Answers every request with a long body."""
    others: dict[str, TlsServer]
    """Where connections can be diverted to: other certificates."""
    resolver: DnsServer
    doh: DohServer
    ca_file: Path
    trust: ssl.SSLContext
    contexts: TlsContexts
    transfers: asyncio.Semaphore
    """How many of them may run at once."""
    numbers: Iterator[int]


class Setup:
    """A mirror with one or two addresses behind a censor; an async context manager."""

    def __init__(self, servers: Servers, addresses: int, seed: int) -> None:
        self.servers, self.rng, number = servers, Random(seed), next(servers.numbers)
        self.hostname = f"m{number}.mirror.test"
        high, low = divmod(number, 250)
        self.addresses = [f"127.{40 + n}.{high}.{low + 1}" for n in range(addresses)]
        self.censor = Censor(rng=Random(seed))
        self.online = True
        self.port = 0
        self._stack = AsyncExitStack()
        self._watcher = PathWatcher(
            servers.contexts, servers.ca_file, PACE, rng=self.rng, online=lambda: self.online
        )

    async def __aenter__(self) -> Self:
        await self._stack.enter_async_context(self.censor)
        self._stack.push_async_callback(self._watcher.close)
        self.port = await self.censor.listen(self.addresses, self.servers.server.address)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._stack.aclose()

    def meanwhile(self, change: Coroutine[Any, Any, None]) -> None:
        """Let something happen in the background until it ends."""
        task = asyncio.create_task(change)

        async def end() -> None:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

        self._stack.push_async_callback(end)

    async def diagnose(self, probes: int = 1) -> list[Diagnosed]:
        """Probe each path until it fails, at most so many times, and examine what was cut off."""
        return [
            await self._watcher.path(self.hostname, address, self.port, probes)
            for address in self.addresses
        ]

    def improper(self) -> int:
        """Count the hellos with the mirror's name to endpoints while they were held."""
        return sum(
            endpoint_of(seen.address, seen.port) == held.endpoint
            for held in self._watcher.quarantine.record
            for seen in self.censor.handshakes(self.hostname, None, held.since, held.until)
        )
