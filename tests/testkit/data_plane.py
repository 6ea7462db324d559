"""The data plane of a worker in this process, on real sockets, between raw clients and raw mirrors.

`async with DataPlane(mirrors) as plane:` serves; `await plane.send(b"…")` gives a raw client.
"""

from __future__ import annotations

import asyncio
import ssl
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Self

from monitor.common.metric_registry import MetricRegistry
from monitor.common.settings import read
from monitor.health.snapshot import HealthSnapshot, MirrorHealth, State
from router.admission.shared_table import Table
from router.balancing.breaker_messages import Word
from router.forwarding.client_connection import ClientConnection
from router.forwarding.config import WorkerConfig
from router.forwarding.context import WorkerContext
from router.forwarding.metrics import FAMILIES
from router.forwarding.stats import Finished
from router.process.control_questions import ControlQuestions
from router.process.endpoints import build_app, build_runner
from router.wire.timer_wheel import TimerWheel
from tests.testkit.raw_http import RawClient, Response
from tests.testkit.wait import wait_until_async


@dataclass
class DataPlane:
    """A plane that serves on a loopback port."""

    mirrors: Iterable[Mapping[str, Any]]
    router: Mapping[str, Any] = field(default_factory=dict)
    more: Mapping[str, Any] = field(default_factory=dict)
    finished: list[Finished] = field(default_factory=list)
    suspected: list[str] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)
    """Mirrors that have refused their own key."""
    wheel: TimerWheel | None = None
    clock: Callable[[], float] = time.monotonic
    wall: Callable[[], float] = time.time
    tell: Callable[[Word], None] = lambda word: None
    """Hears what the worker says to control."""
    table: Table | None = None
    """What workers share; its own by default."""
    tls: ssl.SSLContext | None = None
    """What its clients are shown, if they come over TLS."""
    trust: ssl.SSLContext | None = None
    """What `connect` verifies that with."""
    questions: ControlQuestions | None = None
    """Its questions to control, where there is one to answer them."""

    async def __aenter__(self) -> Self:
        loop = asyncio.get_running_loop()
        self.totals = MetricRegistry(FAMILIES)
        self.context = WorkerContext(
            self.config(self.mirrors),
            self.totals,
            hand_over=self._hand_over,
            report_failure=self.suspected.append,
            report_refusal=self.refused.append,
            access=self.finished.append,
            wheel=self.wheel,
            clock=self.clock,
            wall=self.wall,
            tell=self.tell,
            table=self.table,
        )
        self._runner = build_runner(build_app(self.context, self.questions))
        await self._runner.setup()
        self.context.wheel.start(loop)
        self._server = await loop.create_server(
            lambda: ClientConnection(self.context), "127.0.0.1", 0, ssl=self.tls
        )
        self.port = self._server.sockets[0].getsockname()[1]
        self.clients: list[RawClient] = []
        return self

    def config(self, mirrors: Iterable[Mapping[str, Any]]) -> WorkerConfig:
        """The worker's configuration with these mirrors."""
        unlimited = {"connections": 65535, "requests_per_second": 0}  # but all are counted
        given = {"limits": unlimited, **self.more}
        table = {"router": dict(self.router), "mirrors": list(mirrors), **given}
        return read(WorkerConfig, table)

    def _hand_over(self) -> asyncio.Protocol:
        server = self._runner.server
        assert server is not None
        return server()

    async def __aexit__(self, *_: object) -> None:
        for client in self.clients:
            await client.close()
        self._server.close()
        for door in self.context.connections.all():
            door.cut()
        self.context.configure(self.config([]), HealthSnapshot())
        await wait_until_async(lambda: self.context.limits.held == 0, 5, "places to be given back")
        self.context.abandoned.close()
        self.context.wheel.stop()
        self.context.disconnects.close()
        await self._runner.cleanup()
        await self._server.wait_closed()

    async def connect(self, source: str = "127.0.0.1") -> RawClient:
        """A client at this address."""
        streams = await asyncio.open_connection(
            "127.0.0.1",
            self.port,
            limit=1 << 20,
            local_addr=(source, 0),
            ssl=self.trust,
            server_hostname="localhost" if self.trust else None,
        )
        client = RawClient(*streams)
        self.clients.append(client)
        return client

    async def send(self, data: bytes, source: str = "127.0.0.1") -> RawClient:
        """A client that has sent these bytes."""
        client = await self.connect(source)
        await client.send(data)
        return client

    async def ask(self, data: bytes, source: str = "127.0.0.1") -> Response:
        """The response to these bytes."""
        return await (await self.send(data, source)).response()

    def health(self, **states: State) -> None:
        """Tell the plane these states of mirrors."""
        mirrors = {name: MirrorHealth(name, state) for name, state in states.items()}
        self.context.learn(HealthSnapshot(1, 1.0, "test", mirrors))

    @property
    def in_flight(self) -> int:
        """Requests in flight on all mirrors together."""
        return sum(upstream.in_flight for upstream in self.context.upstreams)
