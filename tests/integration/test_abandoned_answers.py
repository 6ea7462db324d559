"""Clients with a lent key that leave before the mirror has told the usage: the answer is read on
for a bounded time, and they are charged by the mirror's own numbers."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest

from router.forwarding.abandoned import MOST_BYTES, MOST_PER_KEY, READ_FOR
from router.wire.chunked import LAST_CHUNK, chunk
from tests.testkit.clock import Clock
from tests.testkit.lent import asking, charges, issue
from tests.testkit.road import RawClient, Road, ScriptedMirror, get, read_request
from tests.testkit.wait import wait_until_async as wait_until

SSE_HEAD = (
    b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
)
STREAM = {"model": "m", "stream": True, "messages": [{"role": "user", "content": "hi"}]}
PLAIN = {**STREAM, "stream": False}
USAGE = {"prompt_tokens": 100, "completion_tokens": 5000}
LENDS = {"callers": ["issued", "own"]}


def event(data: Any) -> bytes:
    return b"data: " + json.dumps(data).encode() + b"\n\n"


FINISH = event({"choices": [{"index": 0, "delta": {"content": "x"}, "finish_reason": "stop"}]})
TOLD = event({"choices": [], "usage": USAGE}) + b"data: [DONE]\n\n"


class Held:
    """A mirror that answers in two halves, the second when it is let go."""

    def __init__(self, first: bytes, second: bytes, close: bool = False) -> None:
        self.go = asyncio.Event()
        self.first, self.second, self.close = first, second, close
        self.requests = 0

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            await read_request(reader)
            self.requests += 1
            writer.write(self.first)
            gone = asyncio.ensure_future(reader.read(1))
            going = asyncio.ensure_future(self.go.wait())
            await asyncio.wait([gone, going], return_when=asyncio.FIRST_COMPLETED)
            going.cancel()
            if gone.done():
                return
            gone.cancel()
            await asyncio.gather(gone, return_exceptions=True)
            writer.write(self.second)
            await writer.drain()
            if self.close:
                return


def stream() -> Held:
    return Held(SSE_HEAD + chunk(FINISH), chunk(TOLD) + LAST_CHUNK)


def lending(mirror: ScriptedMirror, **more: Any) -> dict[str, Any]:
    return mirror.table(api_key="sk-mirror", client_keys=["*"], **more)


def reset(client: RawClient) -> None:
    sock = client.writer.get_extra_info("socket")
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    client.writer.transport.abort()


def finish(client: RawClient) -> None:
    client.writer.close()


async def leave(road: Road, client: RawClient, how: Callable[[RawClient], None] = finish) -> None:
    """Leave, and wait until the exchange has ended."""
    ends = len(road.finished) + 1
    how(client)
    await wait_until(lambda: len(road.finished) == ends, what="the exchange to end")


async def given_back(road: Road) -> None:
    await wait_until(lambda: road.in_flight == 0, what="nothing to be in flight")
    assert not len(road.context.abandoned)


@pytest.mark.parametrize("how", [finish, reset], ids=["FIN", "RST"])
async def test_a_stream_left_before_its_usage_is_charged_by_the_usage(
    how: Callable[[RawClient], None],
) -> None:
    script = stream()
    async with ScriptedMirror(script) as mirror, Road([lending(mirror)], LENDS) as road:
        key = issue(road)
        client = await road.send(asking(key, STREAM))
        await client.head()
        assert await client.chunk() == FINISH
        await leave(road, client, how)
        assert (road.in_flight, road.context.limits.held) == (1, 0)
        script.go.set()
        await given_back(road)
        assert charges(road) == [("k1", "usage", 1, 100, 5000)]
        assert [end.outcome for end in road.finished] == ["client_abort"]
        assert road.suspected == []
        assert (await road.ask(asking(key, STREAM))).complete
        assert mirror.connections == 1, "a whole answer gives its connection back to the pool"


@contextlib.asynccontextmanager
async def left_while_awaited(script: Held, body: dict[str, Any]) -> AsyncIterator[Road]:
    """A road whose client has left before the mirror went on, when all has been given back."""
    async with ScriptedMirror(script) as mirror, Road([lending(mirror)], LENDS) as road:
        client = await road.send(asking(issue(road), body))
        await wait_until(lambda: script.requests == 1, what="the mirror to be asked")
        await leave(road, client)
        script.go.set()
        await given_back(road)
        yield road


@pytest.mark.parametrize(
    "script",
    [
        Held(b"", SSE_HEAD + chunk(FINISH + TOLD) + LAST_CHUNK),
        Held(SSE_HEAD, chunk(FINISH + TOLD) + LAST_CHUNK),
        Held(SSE_HEAD + chunk(event({"choices": [{"delta": {"role": "assistant"}}]})),
             chunk(FINISH + TOLD) + LAST_CHUNK),
    ],
    ids=["no head", "a head", "held events"],
)  # fmt: skip
async def test_a_stream_left_before_its_content_is_charged_by_the_usage(script: Held) -> None:
    script.go = asyncio.Event()
    async with left_while_awaited(script, STREAM) as road:
        assert charges(road) == [("k1", "usage", 1, 100, 5000)]


async def test_json_left_before_it_came_is_charged_by_the_usage() -> None:
    body = json.dumps({"choices": [{"message": {"content": "x"}}], "usage": USAGE}).encode()
    head = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"
    script = Held(b"", head % len(body) + body)
    async with left_while_awaited(script, PLAIN) as road:
        assert charges(road) == [("k1", "usage", 1, 100, 5000)]


async def test_an_error_that_comes_after_the_client_has_left_is_free() -> None:
    script = Held(b"", b"HTTP/1.1 500 Oh\r\nContent-Length: 2\r\n\r\n{}")
    async with left_while_awaited(script, PLAIN) as road:
        assert charges(road) == []
        assert road.suspected == []


@pytest.mark.parametrize("first", [b"", SSE_HEAD + chunk(FINISH)], ids=["awaited", "begun"])
async def test_a_short_limit_of_the_callers_own_does_not_evade_the_usage(first: bytes) -> None:
    whole = first + chunk(TOLD) if first else SSE_HEAD + chunk(FINISH + TOLD)
    script = Held(first, whole.removeprefix(first) + LAST_CHUNK)
    clock = Clock()
    async with ScriptedMirror(script) as mirror:
        async with Road([lending(mirror)], LENDS, wheel=clock.wheel, clock=clock.now) as road:
            request = asking(issue(road), STREAM, "chat/completions", "x-mirrorgate-timeout: 5")
            client = await road.send(request)
            await wait_until(lambda: script.requests == 1, what="the mirror to be asked")
            if first:
                await client.head()
                assert await client.chunk() == FINISH
            clock.pass_by(6)
            await wait_until(lambda: len(road.finished) == 1, what="the exchange to end")
            assert road.in_flight == 1
            script.go.set()
            await given_back(road)
            assert charges(road) == [("k1", "usage", 1, 100, 5000)]
            assert road.suspected == []


async def test_who_stops_reading_and_is_given_up_is_charged_by_the_usage(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # The kernel's buffers hold more than that before the mirror is stopped.
    monkeypatch.setattr("router.forwarding.abandoned.MOST_BYTES", 1 << 30)
    words = "word " * 2000
    filler = event({"choices": [{"delta": {"content": words}}]})
    sent = asyncio.Event()

    async def floods(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_request(reader)
        writer.write(SSE_HEAD)
        stalled = False
        while not stalled:
            writer.write(chunk(filler))
            try:
                await asyncio.wait_for(writer.drain(), 0.5)
            except TimeoutError:
                stalled = True
        sent.set()
        writer.write(chunk(FINISH + TOLD) + LAST_CHUNK)
        await reader.read()

    timeouts = {**LENDS, "timeouts": {"write_stall": 30}}
    clock = Clock()
    async with ScriptedMirror(floods) as mirror:
        async with Road([lending(mirror)], timeouts, wheel=clock.wheel) as road:
            sock = socket.socket()
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            sock.setblocking(False)
            await asyncio.get_running_loop().sock_connect(sock, ("127.0.0.1", road.port))
            _, writer = await asyncio.open_connection(sock=sock, limit=1024)
            writer.write(asking(issue(road), STREAM))
            await asyncio.wait_for(sent.wait(), 30)
            clock.pass_by(31)
            await wait_until(lambda: len(road.finished) == 1, what="the client to be given up")
            await given_back(road)
            ((key, basis, requests, input_tokens, output),) = charges(road)
            assert (key, basis, requests, input_tokens) == ("k1", "usage", 1, 100)
            assert output == 5000
            writer.transport.abort()


@pytest.mark.parametrize("stalls", [True, False])
async def test_who_makes_a_mirror_give_up_by_not_reading_has_left(stalls: bool) -> None:
    filler, close = event({"choices": [{"delta": {"content": "word " * 2000}}]}), asyncio.Event()
    stalled = asyncio.Event()

    async def gives_up(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_request(reader)
        writer.write(SSE_HEAD)
        while not stalled.is_set():
            writer.write(chunk(filler))
            try:
                await asyncio.wait_for(writer.drain(), 0.5)
            except TimeoutError:
                stalled.set()
        await close.wait()

    clock = Clock()
    async with ScriptedMirror(gives_up) as mirror:
        async with Road([lending(mirror)], LENDS, wheel=clock.wheel) as road:
            reader, writer = await asyncio.open_connection("127.0.0.1", road.port, limit=1024)
            writer.write(asking(issue(road), STREAM))
            await asyncio.wait_for(stalled.wait(), 30)
            clock.pass_by(11 if stalls else 1)
            close.set()
            while await asyncio.wait_for(reader.read(65536), 20):
                pass
            await given_back(road)
            charged = [row[1] for row in charges(road)]
            assert (charged, road.suspected) == ((["estimate"], []) if stalls else ([], ["a"]))
            writer.close()
            await writer.wait_closed()


async def test_a_reading_ends_after_its_time_and_is_estimated() -> None:
    script, clock = stream(), Clock()
    async with ScriptedMirror(script) as mirror:
        async with Road([lending(mirror)], LENDS, wheel=clock.wheel) as road:
            client = await road.send(asking(issue(road), STREAM))
            await client.head()
            assert await client.chunk() == FINISH
            await leave(road, client)
            clock.pass_by(READ_FOR - 1)
            assert road.in_flight == 1
            clock.pass_by(2)
            await given_back(road)
            await wait_until(lambda: mirror.closed == 1, what="the mirror is released")
            ((_, basis, _, _, output),) = charges(road)
            assert (basis, output) == ("estimate", 1)
            assert road.suspected == []


async def test_a_reading_ends_after_so_many_bytes() -> None:
    async def endless(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_request(reader)
        writer.write(SSE_HEAD)
        while True:
            writer.write(chunk(FINISH * 500))
            await writer.drain()

    async with ScriptedMirror(endless) as mirror, Road([lending(mirror)], LENDS) as road:
        client = await road.send(asking(issue(road), STREAM))
        await client.head()
        reset(client)
        await wait_until(lambda: mirror.closed == 1, what="the mirror is released")
        await given_back(road)
        ((_, basis, _, _, output),) = charges(road)
        assert basis == "estimate"
        assert output >= MOST_BYTES // len(FINISH) // 2


async def test_the_readings_of_a_key_have_a_bound_and_the_oldest_ends() -> None:
    script = stream()
    async with ScriptedMirror(script) as mirror, Road([lending(mirror)], LENDS) as road:
        key, other = issue(road), issue(road, "k2")
        for sender in (other, *[key] * (MOST_PER_KEY + 5)):
            client = await road.send(asking(sender, STREAM))
            await client.head()
            await leave(road, client)
        assert len(road.context.abandoned) == MOST_PER_KEY + 1
        await wait_until(lambda: mirror.closed == 5, what="five are released")
        assert road.in_flight == MOST_PER_KEY + 1
        script.go.set()
        await given_back(road)
        assert sorted(row[:3] for row in charges(road)) == [
            ("k1", "estimate", 5),
            ("k1", "usage", MOST_PER_KEY),
            ("k2", "usage", 1),
        ]


async def test_a_reading_makes_way_where_its_mirror_is_full() -> None:
    script = stream()
    async with ScriptedMirror(script) as mirror:
        async with Road([lending(mirror, max_connections=1)], LENDS) as road:
            client = await road.send(asking(issue(road), STREAM))
            await client.head()
            await leave(road, client)
            assert len(road.context.abandoned) == road.in_flight == 1
            assert mirror.closed == 0
            following = await road.send(asking(issue(road, "k2"), STREAM))
            await following.head()
            script.go.set()
            assert await following.chunk() == FINISH
            await wait_until(lambda: len(road.finished) == 2, what="the second to end")
            assert {row[:3] for row in charges(road)} == {
                ("k1", "estimate", 1),
                ("k2", "usage", 1),
            }


async def test_an_own_key_takes_its_request_with_it() -> None:
    script = stream()
    async with ScriptedMirror(script) as mirror, Road([lending(mirror)], LENDS) as road:
        issue(road)
        client = await road.send(asking("sk-own", STREAM))
        await client.head()
        await leave(road, client)
        await given_back(road)
        await wait_until(lambda: mirror.closed == 1, what="the mirror is released")


async def test_a_mirror_that_breaks_off_while_it_is_read_on_is_charged_by_estimate() -> None:
    script = Held(SSE_HEAD + chunk(FINISH), b"", close=True)
    async with ScriptedMirror(script) as mirror, Road([lending(mirror)], LENDS) as road:
        client = await road.send(asking(issue(road), STREAM))
        await client.head()
        assert await client.chunk() == FINISH
        await leave(road, client)
        assert len(road.context.abandoned) == road.in_flight == 1
        script.go.set()
        await given_back(road)
        assert [row[1:3] for row in charges(road)] == [("estimate", 1)]
        assert road.suspected == []


@pytest.mark.parametrize("told", [True, False])
async def test_a_worker_that_stops_waits_for_readings_and_charges_the_rest(told: bool) -> None:
    script = stream()
    async with ScriptedMirror(script) as mirror, Road([lending(mirror)], LENDS) as road:
        client = await road.send(asking(issue(road), STREAM))
        await client.head()
        await leave(road, client)
        assert len(road.context.abandoned) == road.in_flight == 1
        road.context.drain()
        settled: Awaitable[None] = asyncio.ensure_future(road.context.abandoned.settled())
        if told:
            script.go.set()
            await asyncio.wait_for(settled, 10)
        road.context.abandoned.close()
        await asyncio.wait_for(settled, 10)
        await given_back(road)
        assert [row[1:3] for row in charges(road)] == [("usage" if told else "estimate", 1)]


async def test_what_is_not_billed_is_not_read_on() -> None:
    script = Held(b"", b"")
    async with ScriptedMirror(script) as mirror, Road([lending(mirror)], LENDS) as road:
        request = get().replace(b"sk-x", issue(road).encode())
        client = await road.send(request)
        await wait_until(lambda: script.requests == 1, what="the mirror to be asked")
        await leave(road, client)
        await given_back(road)
