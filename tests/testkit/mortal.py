"""A mirror that serves many requests a second and can die in several ways while it does.

It notes each request of a test (those with `x-test-id`) when it is complete, so that shares of the
traffic can be told. Times are `time.monotonic()`.
"""

from __future__ import annotations

import asyncio
import json
import socket
import struct
import time
from collections import deque
from types import TracebackType
from typing import Any, Self

from tests.testkit.sixty_words import WordyMirror

WAYS = ("refused", "reset", "blackhole", "500", "503", "hang", "slow", "garbage")
LATENCY, WORDS, GAP = 0.02, 4, 0.01
"""Seconds until it answers, events of a stream with content, seconds between them."""
SLOW = 10.0
_BEAT, _ON_TIME = 0.01, 0.04
"""Seconds between two looks at the clock, and by which this process may be late."""
_RESET = struct.pack("ii", 1, 0)
_JSON = b"HTTP/1.1 %d X\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%b"
_SSE = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
_GARBAGE = b"\x16\x03\x01 what a mirror never says \x00\xff" * 4


class MortalMirror:
    """Serves on a port of this machine, in the loop of the test."""

    def __init__(
        self, name: str, *, latency: float = LATENCY, bans_above: tuple[int, int] | None = None
    ) -> None:
        """`bans_above`: so many connections at once, or requests within any second."""
        self.name = name
        self.latency = latency
        self.banned = ""
        """What it has banned its clients for: it hears nothing of them any more."""
        self.most_connections = self.most_in_a_second = 0
        self.judged = 0
        """Arrivals that it could tell the time of: those while this process was on time itself."""
        self._bans_above = bans_above
        self._late_at = 0.0
        self._watch: asyncio.Task[None] | None = None
        self._last_second: deque[float] = deque()
        self.way = ""
        """How it is dead; "" while it lives."""
        self.asked: list[tuple[float, str]] = []
        """When, and the id of the request."""
        self.accepted: list[float] = []
        self.most_waiting = 0
        """Requests that it had at once, at most."""
        self.waiting = 0
        self.port = 0
        self.connections: set[_Connection] = set()
        self._server: asyncio.Server | None = None
        self._deaf: list[socket.socket] = []

    async def __aenter__(self) -> Self:
        await self._listen()
        if self._bans_above is not None:
            self._watch = asyncio.create_task(self._note_lateness())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: object, trace: TracebackType | None
    ) -> None:
        self._stop_listening()
        if self._watch is not None:
            self._watch.cancel()
        for connection in list(self.connections):
            connection.transport.abort()

    async def _note_lateness(self) -> None:
        """When this loop is late, what came one by one looks as if it had come at once."""
        while True:
            began = time.monotonic()
            await asyncio.sleep(_BEAT)
            if time.monotonic() - began > _BEAT + _ON_TIME:
                self._late_at = time.monotonic()

    def _is_on_time(self, now: float) -> bool:
        return now - self._late_at > 1.0 + _BEAT

    async def die(self, way: str) -> None:
        """From now on; see `WAYS`."""
        self.way = way
        if way in ("refused", "blackhole"):
            self._stop_listening()
        for connection in list(self.connections):
            connection.die(way)
        if way == "blackhole":
            self._hear_nothing()

    async def live(self) -> None:
        """Serve again; connections that it has silenced are ended."""
        was, self.way = self.way, ""
        if was in ("refused", "blackhole"):
            self._stop_listening()
            await self._listen()
        for connection in list(self.connections):
            if connection.silenced:
                connection.transport.abort()

    def met(self, connection: _Connection) -> None:
        """Somebody connects."""
        self.accepted.append(time.monotonic())
        self.connections.add(connection)
        if not self._is_on_time(time.monotonic()):
            return
        self.most_connections = max(self.most_connections, len(self.connections))
        if self._bans_above is not None and len(self.connections) > self._bans_above[0]:
            self._ban(f"{len(self.connections)} connections")

    def heard(self, test_id: str) -> None:
        """Somebody asks; a test, or the monitor if there is no id."""
        now = time.monotonic()
        if test_id:
            self.asked.append((now, test_id))
        last = self._last_second
        last.append(now)
        while now - last[0] >= 1.0:
            last.popleft()
        if not self._is_on_time(now):
            return
        self.judged += 1
        self.most_in_a_second = max(self.most_in_a_second, len(last))
        if self._bans_above is not None and len(last) > self._bans_above[1]:
            self._ban(f"{len(last)} requests within a second")

    def _ban(self, why: str) -> None:
        self.banned = self.banned or why
        self.way = "hang"
        for connection in list(self.connections):
            connection.die(self.way)

    def since(self, moment: float) -> int:
        """Requests since then; of a mirror that does not read them, connections."""
        unread = self.way == "reset"
        times = self.accepted if unread else [at for at, _ in self.asked]
        return sum(at > moment for at in times)

    def table(self, **more: Any) -> dict[str, Any]:
        """Its entry in a configuration."""
        url = f"http://127.0.0.1:{self.port}"
        return {"id": self.name, "url": url, "addresses": ["127.0.0.1"], **more}

    async def _listen(self) -> None:
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(
            lambda: _Connection(self), "127.0.0.1", self.port, backlog=1024
        )
        self.port = self._server.sockets[0].getsockname()[1]

    def _stop_listening(self) -> None:
        if self._server is not None:
            self._server.close()
            self._server = None
        for sock in self._deaf:
            sock.close()
        self._deaf.clear()

    def _hear_nothing(self) -> None:
        """A listener whose backlog is full: whoever connects gets no answer at all."""
        listener = socket.socket()
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(("127.0.0.1", self.port))
        listener.listen(0)
        self._deaf.append(listener)
        for _ in range(2):
            filler = socket.socket()
            filler.setblocking(False)
            filler.connect_ex(listener.getsockname())
            self._deaf.append(filler)


class _Connection(asyncio.Protocol):
    """One connection to it."""

    transport: asyncio.Transport

    def __init__(self, mirror: MortalMirror) -> None:
        self._mirror = mirror
        self._read = b""
        self._tasks: set[asyncio.Task[None]] = set()
        self.silenced = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        self._mirror.met(self)
        if self._mirror.way == "reset":
            self._reset()

    def connection_lost(self, exc: Exception | None) -> None:
        self._mirror.connections.discard(self)
        for task in self._tasks:
            task.cancel()

    def data_received(self, data: bytes) -> None:
        self._read += data
        while True:
            head, found, rest = self._read.partition(b"\r\n\r\n")
            if not found:
                return
            fields = dict(
                line.lower().split(b": ", 1) for line in head.split(b"\r\n")[1:] if b": " in line
            )
            size = int(fields.get(b"content-length", b"0"))
            if len(rest) < size:
                return
            self._read = rest[size:]
            self._asked(head, fields.get(b"x-test-id", b"").decode(), rest[:size])

    def die(self, way: str) -> None:
        """Apply its death to this connection."""
        if way == "refused":
            self.transport.abort()
        elif way == "reset":
            self._reset()
        elif way in ("blackhole", "hang"):
            self.silenced = True
        elif way == "garbage" and self._tasks:
            self.silenced = True
            self.transport.write(_GARBAGE)

    def _reset(self) -> None:
        sock = self.transport.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        self.transport.abort()

    def _asked(self, head: bytes, test_id: str, body: bytes) -> None:
        mirror = self._mirror
        mirror.heard(test_id)
        task = asyncio.ensure_future(self._answer(head, body))
        self._tasks.add(task)
        mirror.waiting += 1
        mirror.most_waiting = max(mirror.most_waiting, mirror.waiting)
        task.add_done_callback(self._answered)

    def _answered(self, task: asyncio.Task[None]) -> None:
        self._mirror.waiting -= 1
        self._tasks.discard(task)

    async def _answer(self, head: bytes, body: bytes) -> None:
        way = self._mirror.way
        if way in ("hang", "blackhole"):
            self.silenced = True
            return
        if way == "garbage":
            self._write(_GARBAGE)
        elif way in ("500", "503"):
            error = {"message": f"It says {way}.", "type": "server_error", "code": "dead"}
            self._write_json(int(way), {"error": error})
        else:
            factor = SLOW if way == "slow" else 1.0
            await asyncio.sleep(self._mirror.latency * factor)
            await self._serve(head, body, factor)

    async def _serve(self, head: bytes, body: bytes, factor: float) -> None:
        if b'"stream": true' not in body:
            self._write_json(200, {"object": "thing", "of": self._mirror.name, "data": []})
            return
        self._write(_SSE)
        for number in range(WORDS):
            choice = {"index": 0, "delta": {"content": f" {number}"}, "finish_reason": None}
            self._event(WordyMirror.chunk(self._mirror.name, [choice]))
            await asyncio.sleep(GAP * factor)
        choice = {"index": 0, "delta": {}, "finish_reason": "stop"}
        self._event(WordyMirror.chunk(self._mirror.name, [choice]))
        self._event(b"data: [DONE]\n\n")
        self._write(b"0\r\n\r\n")

    def _event(self, event: bytes) -> None:
        self._write(b"%x\r\n%b\r\n" % (len(event), event))

    def _write_json(self, status: int, document: Any) -> None:
        body = json.dumps(document).encode()
        self._write(_JSON % (status, len(body), body))

    def _write(self, data: bytes) -> None:
        if not self.silenced and not self.transport.is_closing():
            self.transport.write(data)
