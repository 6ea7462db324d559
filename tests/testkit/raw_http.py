"""Raw HTTP/1.1 on both sides of the router: a client that writes bytes, and scripted mirrors.

`ScriptedMirror(script)` is a TCP server whose script is a coroutine over (reader, writer).
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Self

from tests.testkit.listener import reset
from tests.testkit.ports import free_port
from tests.testkit.reference_readers import NotStrict, StrictRequest, read_strictly

Script = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
PATIENCE = 20.0

_LEAST = b'HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n{"id": 1}'
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
UPGRADE = (
    "Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Version: 13",
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
)  # fmt: skip
"""What a client asks with: the example of RFC 6455 section 1.2."""
SWITCHED = (
    b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    b"Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n"
)


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
            body, complete = await self.chunks()
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

    async def chunks(self) -> tuple[bytes, bool]:
        """The data of all chunks, and whether the last one came."""
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

    def reset(self) -> None:
        """Leave with RST."""
        reset(self.writer.transport)

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
        self.port = free_port()
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(
            self._serve, "127.0.0.1", self.port, limit=1 << 20, backlog=2048
        )
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    @property
    def listening(self) -> socket.socket:
        """Its listening socket, for options."""
        assert self._server is not None, "not started"
        return self._server.sockets[0]

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
    return head, await read_body(reader, head)


async def read_body(reader: asyncio.StreamReader, head: bytes) -> bytes:
    """The body behind a head that has been read already."""
    lower = head.lower()
    if b"transfer-encoding: chunked" in lower:
        body = b""
        while size := int(await reader.readuntil(b"\r\n"), 16):
            body += (await reader.readexactly(size + 2))[:-2]
        await reader.readexactly(2)
        return body
    for line in lower.split(b"\r\n"):
        if line.startswith(b"content-length:"):
            return await reader.readexactly(int(line.split(b":")[1]))
    return b""


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


class StrictMirror(ScriptedMirror):
    """Takes the bytes of each connection apart with `read_strictly`."""

    def __init__(self) -> None:
        super().__init__(self._take)
        self.raw: list[bytearray] = []
        """All bytes of each connection."""
        self.requests: list[StrictRequest] = []
        self.violations: list[str] = []

    @property
    def everything(self) -> bytes:
        """All bytes of all connections."""
        return b"".join(map(bytes, self.raw))

    async def _take(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        raw, pending = bytearray(), b""
        self.raw.append(raw)
        while data := await reader.read(1 << 16):
            raw += data
            try:
                requests, pending = read_strictly(pending + data)
            except NotStrict as violation:
                self.violations.append(str(violation))
                return
            self.requests += requests
            writer.write(_LEAST * len(requests))
            await writer.drain()


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
