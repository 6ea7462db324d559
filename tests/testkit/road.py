"""The data plane of a worker in this process, on real sockets, between raw clients and raw mirrors.

`async with Road(config, mirrors) as road:` serves; `await road.send(b"…")` gives a raw client;
`ScriptedMirror(script)` is a TCP server whose script is a coroutine over (reader, writer).
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import ssl
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Self

from aiohttp import web

from monitor.common.metric_registry import MetricRegistry
from monitor.common.settings import read
from monitor.health.snapshot import HealthSnapshot, MirrorHealth, State
from router.balancing.breaker_messages import Word
from router.forwarding.client_connection import ClientConnection
from router.forwarding.config import WorkerConfig
from router.forwarding.context import WorkerContext
from router.forwarding.metrics import FAMILIES
from router.forwarding.stats import Finished
from router.process.endpoints import build_app
from router.wire.timer_wheel import TimerWheel
from tests.testkit.wait import wait_until_async

Script = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
PATIENCE = 20.0


@dataclass
class Response:
    """Response that a raw client read."""

    status: int
    reason: str
    fields: list[tuple[str, str]]
    body: bytes
    complete: bool
    """True if the framing said that the body was all; a cut body is not."""

    def __getitem__(self, name: str) -> str:
        return next(value for key, value in self.fields if key.lower() == name.lower())

    def __contains__(self, name: str) -> bool:
        return any(key.lower() == name.lower() for key, _ in self.fields)

    @property
    def error(self) -> dict[str, Any]:
        """The error object of an OpenAI-shaped body."""
        error: dict[str, Any] = json.loads(self.body)["error"]
        return error


class RawClient:
    """A client that writes bytes and reads responses by their framing."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    async def send(self, data: bytes) -> None:
        """Write bytes."""
        self.writer.write(data)
        await self.writer.drain()

    async def head(self) -> tuple[int, str, list[tuple[str, str]]]:
        """The next response head, 1xx included."""
        raw = await asyncio.wait_for(self.reader.readuntil(b"\r\n\r\n"), PATIENCE)
        first, *lines = raw[:-4].decode("latin-1").split("\r\n")
        _, status, reason = (first + " ").split(" ", 2)
        fields = [tuple(map(str.strip, line.split(":", 1))) for line in lines]
        return int(status), reason.strip(), fields  # type: ignore[return-value]

    async def response(self, to_head: bool = False) -> Response:
        """The next response, whole or cut."""
        status, reason, fields = await self.head()
        named = {name.lower(): value for name, value in fields}
        body, complete = b"", True
        if to_head or status in (204, 304) or status < 200:
            pass
        elif "chunked" in named.get("transfer-encoding", ""):
            body, complete = await self._chunked()
        elif "content-length" in named:
            body, complete = await self._exactly(int(named["content-length"]))
        else:
            body, complete = await self._until_close()
        return Response(status, reason, fields, body, complete)

    async def _exactly(self, size: int) -> tuple[bytes, bool]:
        try:
            return await asyncio.wait_for(self.reader.readexactly(size), PATIENCE), True
        except asyncio.IncompleteReadError as error:
            return error.partial, False
        except ConnectionError:
            return b"", False

    async def _chunked(self) -> tuple[bytes, bool]:
        parts: list[bytes] = []
        while True:
            piece = await self.chunk()
            if piece is None:
                return b"".join(parts), False
            if not piece:
                return b"".join(parts), True
            parts.append(piece)

    async def chunk(self) -> bytes | None:
        """The next chunk; empty for the last one, None when the body was cut."""
        try:
            line = await asyncio.wait_for(self.reader.readuntil(b"\r\n"), PATIENCE)
            data = await self.reader.readexactly(int(line, 16) + 2)
        except (asyncio.IncompleteReadError, ConnectionError):
            return None
        return data[:-2]

    async def _until_close(self) -> tuple[bytes, bool]:
        try:
            return await asyncio.wait_for(self.reader.read(), PATIENCE), True
        except ConnectionError:
            return b"", False

    async def at_end(self) -> bool:
        """True if the router ends the connection without another byte."""
        try:
            return await asyncio.wait_for(self.reader.read(1), PATIENCE) == b""
        except ConnectionError:
            return True

    async def close(self) -> None:
        """Leave."""
        self.writer.close()
        with contextlib.suppress(ConnectionError):
            await self.writer.wait_closed()


class ScriptedMirror:
    """A mirror that does exactly what its script says, once per connection."""

    def __init__(self, script: Script, name: str = "a") -> None:
        self.name = name
        self.script = script
        self.connections = 0
        self.closed = 0
        """Connections whose script has ended or been interrupted by the router."""
        self.port = 0
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(
            self._serve, "127.0.0.1", 0, limit=1 << 20, backlog=2048
        )
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: object, trace: TracebackType | None
    ) -> None:
        await self.stop()

    async def stop(self) -> None:
        """Refuse from now on, and drop every connection."""
        if self._server is None:
            return
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._server.wait_closed()
        self._server = None

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            await self.script(reader, writer)
        except (asyncio.IncompleteReadError, ConnectionError, asyncio.CancelledError):
            pass
        finally:
            self.closed += 1
            self._tasks.discard(task)
            writer.close()
            with contextlib.suppress(ConnectionError):
                await writer.wait_closed()

    def table(self, **more: Any) -> dict[str, Any]:
        """Its entry in a configuration."""
        return {
            "id": self.name,
            "url": f"http://127.0.0.1:{self.port}",
            "addresses": ["127.0.0.1"],
            **more,
        }


async def read_request(reader: asyncio.StreamReader) -> tuple[bytes, bytes]:
    """One request's head and body, as a mirror gets them."""
    head = await reader.readuntil(b"\r\n\r\n")
    lower = head.lower()
    if b"transfer-encoding: chunked" in lower:
        body = b""
        while size := int(await reader.readuntil(b"\r\n"), 16):
            body += (await reader.readexactly(size + 2))[:-2]
        await reader.readexactly(2)
        return head, body
    for line in lower.split(b"\r\n"):
        if line.startswith(b"content-length:"):
            return head, await reader.readexactly(int(line.split(b":")[1]))
    return head, b""


def answering(answer: bytes, seen: list[tuple[bytes, bytes]] | None = None) -> Script:
    """A script that answers every request with these bytes and keeps the connection."""

    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            request = await read_request(reader)
            if seen is not None:
                seen.append(request)
            writer.write(answer)
            await writer.drain()

    return script


CONTENT = (
    b'data: {"id": "c", "object": "chat.completion.chunk", "choices":'
    b' [{"index": 0, "delta": {"content": "x"}}]}\n\n'
)
"""An event of a chat that has content."""
ANSWER = b'{"id": "c", "choices": [{"index": 0}]}'
"""The least that a chat's answer has."""
OK = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\nContent-Type: application/json\r\n\r\n%b" % (
    len(ANSWER),
    ANSWER,
)


@dataclass
class Road:
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
    tls: ssl.SSLContext | None = None
    """What its clients are shown, if they come over TLS."""
    trust: ssl.SSLContext | None = None
    """What `connect` verifies that with."""

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
        )
        self._runner = web.AppRunner(build_app(self.context), access_log=None)
        await self._runner.setup()
        self.context.wheel.start(loop)
        self._server = await loop.create_server(
            lambda: ClientConnection(self.context), "127.0.0.1", 0, ssl=self.tls
        )
        self.port = self._server.sockets[0].getsockname()[1]
        self._clients: list[RawClient] = []
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

    async def __aexit__(
        self, kind: type[BaseException] | None, error: object, trace: TracebackType | None
    ) -> None:
        for client in self._clients:
            await client.close()
        self._server.close()
        for door in self.context.crowd.all():
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
        self._clients.append(client)
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


def get(path: str = "/v1/models", *fields: str, version: str = "1.1") -> bytes:
    """A GET request."""
    lines = [f"GET {path} HTTP/{version}", "Host: test", "Authorization: Bearer sk-x", *fields]
    return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")


def post(path: str = "/v1/chat/completions", body: bytes = b"{}", *fields: str) -> bytes:
    """A POST request with a JSON body."""
    lines = [
        f"POST {path} HTTP/1.1",
        "Host: test",
        "Authorization: Bearer sk-x",
        "Content-Type: application/json",
        f"Content-Length: {len(body)}",
        *fields,
    ]
    return ("\r\n".join(lines) + "\r\n\r\n").encode() + body
