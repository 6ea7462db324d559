"""Clients and mirrors that do at random what hostile or unlucky ones do, against one data plane.

Every choice comes from a seeded source, so that a run can be repeated as far as the network allows.
Each request carries a word of its own and each whole answer is checked to echo it: nobody may get
what is somebody else's. At the end nothing may be left behind.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import os
import random
import socket
import ssl
from collections import Counter
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any, cast

from router.forwarding.attempts import Attempts
from router.forwarding.client_connection import ClientConnection
from router.forwarding.exchange import Exchange
from router.forwarding.response import Response
from router.upstream.connection import UpstreamConnection
from tests.testkit.certs import Authority
from tests.testkit.data_plane import DataPlane
from tests.testkit.event_loops import run_on
from tests.testkit.listener import reset
from tests.testkit.processes import open_files
from tests.testkit.raw_http import (
    SWITCHED,
    UPGRADE,
    RawClient,
    ScriptedMirror,
    get,
    post,
    read_body,
)
from tests.testkit.wait import wait_until_async as wait_until

TIMEOUTS = {
    "connect": "500ms",
    "tls": "500ms",
    "first_byte": "1s",
    "idle": "1s",
    "total": "4s",
    "header": "1s",
    "body_stall": "1s",
    "write_stall": "1s",
    "keep_alive": "2s",
}
_OK = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
_CHUNKED = _OK + b"Transfer-Encoding: chunked\r\n\r\n"
_SAYS = {
    "fin": b"",
    "garbage": b"\x16\x03\x01 never heard of HTTP \x00\xff" * 9,
    "error": b"HTTP/1.1 500 X\r\nContent-Length: 2\r\n\r\n{}",
    "limited": b"HTTP/1.1 429 X\r\nRetry-After: 1\r\nContent-Length: 2\r\n\r\n{}",
    "cut": _OK + b"Content-Length: 100\r\n\r\nhalf",
}
_ENDS = (ConnectionError, asyncio.IncompleteReadError, asyncio.LimitOverrunError, TimeoutError)
_PAUSE = 0.05

MODES = [("uvloop", False), ("uvloop", True), ("asyncio", False), ("asyncio", True)]
"""The event loop, and whether clients come over TLS."""
CONNECTIONS = 30
"""Requests that the one address of all clients may have open."""
_PASSING = (ClientConnection, UpstreamConnection, Exchange, Attempts, Response)
_SETTLE = 30.0
"""Seconds within which everything must have ended: more than the longest limit of `TIMEOUTS` and
the time of a connection that aiohttp answers."""


class ChaoticMirror(ScriptedMirror):
    """Answers well most of the time, else in one of the ways of mirrors that are not well."""

    def __init__(self, name: str, rng: random.Random) -> None:
        super().__init__(self._play, name)
        self._rng = rng

    async def _play(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(*_ENDS, ValueError, RuntimeError, ssl.SSLError):
            while True:
                if self._rng.random() < 0.03:  # as servers do that close an idle connection
                    writer.write(b"HTTP/1.1 408 X\r\nContent-Length: 0\r\n\r\n")
                    return
                head = await reader.readuntil(b"\r\n\r\n")
                if b"upgrade: websocket" in head.lower():
                    await self._switch(reader, writer)
                    return
                if self._rng.random() < 0.04:
                    writer.write(_OK + b"Content-Length: 5\r\n\r\nearly")
                    await asyncio.wait_for(read_body(reader, head), 3)
                elif not await self._answer(
                    await asyncio.wait_for(read_body(reader, head), 3), writer
                ):
                    return

    async def _answer(self, body: bytes, writer: asyncio.StreamWriter) -> bool:
        """Answer one request; whether the connection can carry another."""
        word = body or b"{}"
        whole = _OK + b"Content-Length: %d\r\n\r\n" % len(word) + word
        way = self._rng.choices(
            ("whole", "chunked", "events", "rst", "fin", "silent", "garbage", "flood", "error",
             "limited", "cut", "drip"),
            (40, 15, 15, 3, 3, 1, 2, 2, 4, 2, 3, 2),
        )[0]  # fmt: skip
        if way in _SAYS:
            writer.write(_SAYS[way])
        elif way == "whole":
            writer.write(whole)
        elif way == "chunked":
            writer.write(_CHUNKED + b"%x\r\n%b\r\n" % (len(word), word))
            await asyncio.sleep(self._rng.random() * _PAUSE)
            writer.write(b"0\r\n\r\n")
        elif way == "events":
            await self._events(word, writer)
        elif way == "rst":
            reset(writer.transport)
        elif way == "silent":
            await asyncio.sleep(3)
        elif way == "flood":
            writer.write(_OK + b"Content-Length: 1000000000\r\n\r\n")
            await _flood(writer)
        else:
            for byte in whole:
                writer.write(bytes((byte,)))
                await asyncio.sleep(0)
        await asyncio.wait_for(writer.drain(), 3)
        return way not in ("rst", "fin", "silent", "garbage", "flood", "cut")

    async def _events(self, word: bytes, writer: asyncio.StreamWriter) -> None:
        writer.write(
            b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n"
            b"Transfer-Encoding: chunked\r\n\r\n"
        )
        for _ in range(self._rng.randrange(1, 6)):
            event = b"data: %b\n\n" % word
            writer.write(b"%x\r\n%b\r\n" % (len(event), event))
            await asyncio.sleep(self._rng.random() * _PAUSE)
        writer.write(b"e\r\ndata: [DONE]\n\n\r\n0\r\n\r\n")

    async def _switch(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        way = self._rng.choice(("echo", "echo", "echo", "refuse", "fin", "rst", "flood"))
        if way == "refuse":
            writer.write(b"HTTP/1.1 403 X\r\nContent-Length: 2\r\n\r\n{}")
            return
        writer.write(SWITCHED + b"hello")
        if way == "fin":
            return
        if way == "rst":
            await reader.read(10)
            reset(writer.transport)
            return
        if way == "flood":
            await _flood(writer)
            return
        while data := await asyncio.wait_for(reader.read(1 << 12), 3):
            writer.write(data)
            await asyncio.wait_for(writer.drain(), 3)


async def _flood(writer: asyncio.StreamWriter) -> None:
    for _ in range(100):
        writer.write(bytes(1 << 16))
        await asyncio.wait_for(writer.drain(), 3)


class ChaoticClient:
    """One client that connects again and again and behaves differently each time."""

    def __init__(
        self, number: int, plane: DataPlane, rng: random.Random, seen: Counter[str]
    ) -> None:
        self._number = number
        self._plane = plane
        self._rng = rng
        self._seen = seen
        self._asked = 0

    async def play(self, until: float) -> None:
        """Come and go until this time of the event loop."""
        loop = asyncio.get_running_loop()
        ways = (self._behave, self._pipeline, self._vanish, self._stall, self._half_close,
                self._upgrade, self._too_early, self._upload, self._elsewhere)  # fmt: skip
        while loop.time() < until:
            way = self._rng.choice(ways)
            self._seen[way.__name__.strip("_")] += 1
            try:
                client = await self._connect()
            except (*_ENDS, OSError):
                self._seen["not let in"] += 1
                continue
            try:
                await way(client)
            except (*_ENDS, OSError, RuntimeError, ValueError):
                self._seen["cut"] += 1
            finally:
                with contextlib.suppress(AttributeError, OSError):  # of a connection that is gone
                    self._leave(client)
                client.writer.transport.abort()

    async def _connect(self) -> RawClient:
        trust = self._plane.trust
        opened = asyncio.open_connection(
            "127.0.0.1",
            self._plane.port,
            limit=1 << 16,
            ssl=trust,
            server_hostname="localhost" if trust else None,
        )
        return RawClient(*await asyncio.wait_for(opened, 10))

    def _leave(self, client: RawClient) -> None:
        transport = cast(asyncio.Transport, client.writer.transport)
        way = self._rng.randrange(4)
        if way == 0 and not transport.is_closing():
            reset(transport)
        elif way == 1 and not transport.is_closing() and self._plane.tls is not None:
            descriptor = transport.get_extra_info("socket").fileno()
            with socket.socket(fileno=os.dup(descriptor)) as raw, contextlib.suppress(OSError):
                raw.shutdown(socket.SHUT_RDWR)  # without a close_notify

    def _request(self) -> tuple[bytes, bytes]:
        """A request, and its body, which its answer has to echo."""
        self._asked += 1
        stream = b', "stream": true' if self._rng.random() < 0.3 else b""
        body = b'{"word": "%d-%d"%b, "pad": "%b"}' % (
            self._number, self._asked, stream, b"x" * self._rng.choice((1, 100, 5000)),
        )  # fmt: skip
        return post(body=body), body

    async def _behave(self, client: RawClient) -> None:
        for _ in range(self._rng.randrange(1, 6)):
            request, body = self._request()
            await client.send(request)
            answer = await client.response()
            if answer.status == 200 and answer.complete and answer.body != b"early":
                assert body in answer.body, f"somebody else's answer: {answer.body[:200]!r}"
                self._seen["answered"] += 1
            if not answer.complete or "connection" in answer:
                return

    async def _pipeline(self, client: RawClient) -> None:
        requests = [self._request()[0] for _ in range(self._rng.randrange(2, 20))]
        await client.send(b"".join(requests))
        if self._rng.random() < 0.5:
            await asyncio.wait_for(client.reader.read(1 << 14), 5)

    async def _vanish(self, client: RawClient) -> None:
        request = self._request()[0]
        await client.send(request[: self._rng.randrange(len(request) + 1)])
        await asyncio.sleep(self._rng.random() * _PAUSE)

    async def _stall(self, client: RawClient) -> None:
        cast(asyncio.Transport, client.writer.transport).pause_reading()
        await client.send(b"".join(self._request()[0] for _ in range(3)))
        await asyncio.sleep(self._rng.random() * 2)

    async def _half_close(self, client: RawClient) -> None:
        await client.send(self._request()[0])
        if client.writer.can_write_eof():
            client.writer.write_eof()
        await asyncio.wait_for(client.reader.read(), 6)

    async def _upgrade(self, client: RawClient) -> None:
        early = b"early" if self._rng.random() < 0.3 else b""
        await client.send(get("/v1/realtime", *UPGRADE) + early)
        if (await client.head())[0] != 101:
            return
        for _ in range(self._rng.randrange(4)):
            await client.send(self._rng.randbytes(self._rng.choice((10, 1000, 100_000))))
            await asyncio.wait_for(client.reader.read(1 << 14), 3)
        if self._rng.random() < 0.3 and client.writer.can_write_eof():
            client.writer.write_eof()
            await asyncio.wait_for(client.reader.read(), 6)

    async def _too_early(self, client: RawClient) -> None:
        noise = self._rng.choice(
            (b"\0garbage", b"GET / HTTP/1.1\r\n\r\n", b"\r\n\r\n\r\n", b"x" * 100)
        )
        await client.send(self._request()[0] + noise)
        await asyncio.wait_for(client.reader.read(), 8)

    async def _upload(self, client: RawClient) -> None:
        head = post("/v1/files", b"").replace(b"Content-Length: 0", b"Transfer-Encoding: chunked")
        await client.send(head.replace(b"application/json", b"text/plain"))
        for _ in range(self._rng.randrange(6)):
            piece = b"u" * self._rng.choice((1, 1000, 60_000))
            await client.send(b"%x\r\n%b\r\n" % (len(piece), piece))
            await asyncio.sleep(self._rng.random() * _PAUSE)
        if self._rng.random() < 0.7:
            await client.send(b"0\r\n\r\n")
            await asyncio.wait_for(client.reader.read(1 << 14), 5)

    async def _elsewhere(self, client: RawClient) -> None:
        await client.send(self._rng.choice((get("/healthz"), get("/nowhere"), get("/")[:-9])))
        await asyncio.wait_for(client.reader.read(), 20)


class _Complaints(logging.Handler):
    """Keeps what is logged as an error."""

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.said: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.said.append(record.getMessage())


def play_chaos(
    loop_name: str, over_tls: bool, seconds: float, clients: int, directory: Path, seed: int = 1
) -> Counter[str]:
    """Play, assert that nothing is left and nothing was reported, and return what happened."""
    complaints = _Complaints()
    logging.getLogger().addHandler(complaints)
    try:
        seen = run_on(loop_name, _play(over_tls, seconds, clients, directory, seed))
    finally:
        logging.getLogger().removeHandler(complaints)
    assert complaints.said == []
    return seen


async def _play(
    over_tls: bool, seconds: float, clients: int, directory: Path, seed: int
) -> Counter[str]:
    loop, rng, seen = asyncio.get_running_loop(), random.Random(seed), Counter[str]()
    reported: list[dict[str, Any]] = []
    loop.set_exception_handler(lambda loop, context: reported.append(context))
    tls = trust = None
    if over_tls:
        authority = Authority(directory)
        tls, trust = authority.issue().server_context(), authority.client_context()
    mirrors = [ChaoticMirror(name, random.Random(rng.random())) for name in ("a", "b", "c")]
    async with AsyncExitStack() as stack:
        for mirror in mirrors:
            await stack.enter_async_context(mirror)
        plane = await stack.enter_async_context(_plane(mirrors, tls, trust))
        await _play_on(plane, mirrors, seconds, clients, rng, seen)
        assert reported == []
    return seen


def _plane(
    mirrors: list[ChaoticMirror], tls: ssl.SSLContext | None, trust: ssl.SSLContext | None
) -> DataPlane:
    tables = [mirrors[0].table(max_connections=10), *(mirror.table() for mirror in mirrors[1:])]
    router = {"timeouts": TIMEOUTS, "queue": {"max_wait": "1s"}}
    limits = {"limits": {"connections": CONNECTIONS, "requests_per_second": 0}}
    return DataPlane(tables, router, limits, tls=tls, trust=trust)


async def _play_on(
    plane: DataPlane,
    mirrors: list[ChaoticMirror],
    seconds: float,
    clients: int,
    rng: random.Random,
    seen: Counter[str],
) -> None:
    await (await plane.send(get("/healthz"))).response()
    await wait_until(lambda: not plane.context.connections, 20, what="the first client to leave")
    wheel, files = len(plane.context.wheel), open_files(os.getpid())
    tasks, kept = len(asyncio.all_tasks()), _kept()
    until = asyncio.get_running_loop().time() + seconds
    players = [ChaoticClient(n, plane, random.Random(rng.random()), seen) for n in range(clients)]
    await asyncio.gather(*(player.play(until) for player in players))
    await wait_until(lambda: not any(_held(plane).values()), _SETTLE, "everything to end")
    await wait_until(lambda: len(plane.context.wheel) == wheel, _SETTLE, "no deadline to be left")
    await wait_until(
        lambda: all(mirror.closed == mirror.connections for mirror in mirrors),
        _SETTLE,
        "the mirrors to be left",
    )
    await wait_until(lambda: _kept() <= kept, 10, "objects of requests and connections to be freed")
    await wait_until(lambda: open_files(os.getpid()) <= files, 10, "descriptors to be closed")
    await wait_until(lambda: len(asyncio.all_tasks()) <= tasks, 10, "tasks to end")
    seen["requests"] = len(plane.finished)


def _kept() -> int:
    """Objects that were made for a request or a connection and still exist."""
    gc.collect()
    return sum(isinstance(found, _PASSING) for found in gc.get_objects())


def _held(plane: DataPlane) -> dict[str, int]:
    context = plane.context
    for upstream in context.upstreams:
        upstream.close_idle()  # a connection that waits has a place on a mirror with limits
    limiters = [upstream.limiter for upstream in context.upstreams if upstream.limiter is not None]
    assert limiters, "one mirror has limits"
    return {
        "in flight": plane.in_flight,
        "exchanges": len(context.exchanges),
        "places": context.limits.held,
        "bytes": context.memory.used,
        "clients": len(context.connections),
        "queued": len(context.queue),
        "watched": len(context.disconnects),
    }
