"""Clients with a lent key that leave before the mirror has told the usage: the answer is read on
for a bounded time, and they are charged by the mirror's own numbers."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest

from router.admission.credentials import new_key
from router.forwarding.abandoned import MOST_BYTES, MOST_PER_KEY, READ_FOR
from router.wire.chunked import LAST_CHUNK, chunk
from tests.testkit.clock import ManualClock
from tests.testkit.data_plane import DataPlane
from tests.testkit.raw_http import RawClient, ScriptedMirror, get, post, read_request
from tests.testkit.wait import wait_until_async as wait_until


def issue(
    plane: DataPlane, key_id: str = "k1", left: int | None = None, tokens_left: int | None = None
) -> str:
    """A key that this worker knows; `left` in nano-units."""
    key, ring = new_key("mg-"), plane.context.keys
    if not ring.pepper:
        ring.season("01" * 32)
    digest = ring.digest(key.encode()).hex()
    ring.extend([(key_id, digest, None, 0.0, "", left, tokens_left)])
    return key


def asking(key: str, body: dict[str, Any], path: str = "chat/completions", *fields: str) -> bytes:
    """A request with such a key."""
    request = post(f"/v1/{path}", json.dumps(body).encode(), *fields)
    return request.replace(b"Bearer sk-x", f"Bearer {key}".encode())


def charges(plane: DataPlane) -> list[tuple[str, str, int, int, int]]:
    """The charges: key, basis, requests, input and output tokens."""
    uses = plane.context.metering.uses
    message = uses.due(float("inf"))
    rows = message["rows"] if message is not None else []
    return [(row[0], row[3], row[4], row[5], row[7]) for row in rows]


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


def finish(client: RawClient) -> None:
    client.writer.close()


async def leave(
    plane: DataPlane, client: RawClient, how: Callable[[RawClient], None] = finish
) -> None:
    """Leave, and wait until the exchange has ended."""
    ends = len(plane.finished) + 1
    how(client)
    await wait_until(lambda: len(plane.finished) == ends, what="the exchange to end")


async def given_back(plane: DataPlane) -> None:
    await wait_until(lambda: plane.in_flight == 0, what="nothing to be in flight")
    assert not len(plane.context.abandoned)


@pytest.mark.parametrize("how", [finish, RawClient.reset], ids=["FIN", "RST"])
async def test_a_stream_left_before_its_usage_is_charged_by_the_usage(
    how: Callable[[RawClient], None],
) -> None:
    script = stream()
    async with ScriptedMirror(script) as mirror, DataPlane([lending(mirror)], LENDS) as plane:
        key = issue(plane)
        client = await plane.send(asking(key, STREAM))
        await client.head()
        assert await client.chunk() == FINISH
        await leave(plane, client, how)
        assert (plane.in_flight, plane.context.limits.held) == (1, 0)
        script.go.set()
        await given_back(plane)
        assert charges(plane) == [("k1", "usage", 1, 100, 5000)]
        assert [end.outcome for end in plane.finished] == ["client_abort"]
        assert plane.suspected == []
        assert (await plane.ask(asking(key, STREAM))).complete
        assert mirror.connections == 1, "a whole answer gives its connection back to the pool"


@contextlib.asynccontextmanager
async def left_while_awaited(script: Held, body: dict[str, Any]) -> AsyncIterator[DataPlane]:
    """A data plane whose client left before the mirror went on, when all has been given back."""
    async with ScriptedMirror(script) as mirror, DataPlane([lending(mirror)], LENDS) as plane:
        client = await plane.send(asking(issue(plane), body))
        await wait_until(lambda: script.requests == 1, what="the mirror to be asked")
        await leave(plane, client)
        script.go.set()
        await given_back(plane)
        yield plane


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
    async with left_while_awaited(script, STREAM) as plane:
        assert charges(plane) == [("k1", "usage", 1, 100, 5000)]


async def test_json_left_before_it_came_is_charged_by_the_usage() -> None:
    body = json.dumps({"choices": [{"message": {"content": "x"}}], "usage": USAGE}).encode()
    head = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"
    script = Held(b"", head % len(body) + body)
    async with left_while_awaited(script, PLAIN) as plane:
        assert charges(plane) == [("k1", "usage", 1, 100, 5000)]


async def test_an_error_that_comes_after_the_client_has_left_is_free() -> None:
    script = Held(b"", b"HTTP/1.1 500 Oh\r\nContent-Length: 2\r\n\r\n{}")
    async with left_while_awaited(script, PLAIN) as plane:
        assert charges(plane) == []
        assert plane.suspected == []


@pytest.mark.parametrize("first", [b"", SSE_HEAD + chunk(FINISH)], ids=["awaited", "begun"])
async def test_a_short_limit_of_the_callers_own_does_not_evade_the_usage(first: bytes) -> None:
    whole = first + chunk(TOLD) if first else SSE_HEAD + chunk(FINISH + TOLD)
    script = Held(first, whole.removeprefix(first) + LAST_CHUNK)
    clock = ManualClock(running=True)
    async with ScriptedMirror(script) as mirror:
        async with DataPlane([lending(mirror)], LENDS, wheel=clock.wheel, clock=clock) as plane:
            request = asking(issue(plane), STREAM, "chat/completions", "x-mirrorgate-timeout: 5")
            client = await plane.send(request)
            await wait_until(lambda: script.requests == 1, what="the mirror to be asked")
            if first:
                await client.head()
                assert await client.chunk() == FINISH
            clock.advance(6)
            await wait_until(lambda: len(plane.finished) == 1, what="the exchange to end")
            assert plane.in_flight == 1
            script.go.set()
            await given_back(plane)
            assert charges(plane) == [("k1", "usage", 1, 100, 5000)]
            assert plane.suspected == []


async def test_a_client_that_stops_reading_and_is_cut_is_charged_by_the_usage(
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
    clock = ManualClock(running=True)
    async with ScriptedMirror(floods) as mirror:
        async with DataPlane([lending(mirror)], timeouts, wheel=clock.wheel) as plane:
            sock = socket.socket()
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            sock.setblocking(False)
            await asyncio.get_running_loop().sock_connect(sock, ("127.0.0.1", plane.port))
            _, writer = await asyncio.open_connection(sock=sock, limit=1024)
            writer.write(asking(issue(plane), STREAM))
            await asyncio.wait_for(sent.wait(), 30)
            clock.advance(31)
            await wait_until(lambda: len(plane.finished) == 1, what="the client to be given up")
            await given_back(plane)
            ((key, basis, requests, input_tokens, output),) = charges(plane)
            assert (key, basis, requests, input_tokens) == ("k1", "usage", 1, 100)
            assert output == 5000
            writer.transport.abort()


@pytest.mark.parametrize("stalls", [True, False])
async def test_a_client_that_makes_a_mirror_give_up_by_not_reading_counts_as_gone(
    stalls: bool,
) -> None:
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

    clock = ManualClock(running=True)
    async with ScriptedMirror(gives_up) as mirror:
        async with DataPlane([lending(mirror)], LENDS, wheel=clock.wheel) as plane:
            reader, writer = await asyncio.open_connection("127.0.0.1", plane.port, limit=1024)
            writer.write(asking(issue(plane), STREAM))
            await asyncio.wait_for(stalled.wait(), 30)
            clock.advance(11 if stalls else 1)
            close.set()
            while await asyncio.wait_for(reader.read(65536), 20):
                pass
            await given_back(plane)
            charged = [row[1] for row in charges(plane)]
            assert (charged, plane.suspected) == ((["estimate"], []) if stalls else ([], ["a"]))
            writer.close()
            await writer.wait_closed()


async def test_a_reading_ends_after_its_time_and_is_estimated() -> None:
    script, clock = stream(), ManualClock(running=True)
    async with ScriptedMirror(script) as mirror:
        async with DataPlane([lending(mirror)], LENDS, wheel=clock.wheel) as plane:
            client = await plane.send(asking(issue(plane), STREAM))
            await client.head()
            assert await client.chunk() == FINISH
            await leave(plane, client)
            clock.advance(READ_FOR - 1)
            assert plane.in_flight == 1
            clock.advance(2)
            await given_back(plane)
            await wait_until(lambda: mirror.closed == 1, what="the mirror is released")
            ((_, basis, _, _, output),) = charges(plane)
            assert (basis, output) == ("estimate", 1)
            assert plane.suspected == []


async def test_a_reading_ends_after_so_many_bytes() -> None:
    async def endless(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_request(reader)
        writer.write(SSE_HEAD)
        while True:
            writer.write(chunk(FINISH * 500))
            await writer.drain()

    async with ScriptedMirror(endless) as mirror, DataPlane([lending(mirror)], LENDS) as plane:
        client = await plane.send(asking(issue(plane), STREAM))
        await client.head()
        client.reset()
        await wait_until(lambda: mirror.closed == 1, what="the mirror is released")
        await given_back(plane)
        ((_, basis, _, _, output),) = charges(plane)
        assert basis == "estimate"
        assert output >= MOST_BYTES // len(FINISH) // 2


async def test_the_readings_of_a_key_have_a_bound_and_the_oldest_ends() -> None:
    script = stream()
    async with ScriptedMirror(script) as mirror, DataPlane([lending(mirror)], LENDS) as plane:
        key, other = issue(plane), issue(plane, "k2")
        for sender in (other, *[key] * (MOST_PER_KEY + 5)):
            client = await plane.send(asking(sender, STREAM))
            await client.head()
            await leave(plane, client)
        assert len(plane.context.abandoned) == MOST_PER_KEY + 1
        await wait_until(lambda: mirror.closed == 5, what="five are released")
        assert plane.in_flight == MOST_PER_KEY + 1
        script.go.set()
        await given_back(plane)
        assert sorted(row[:3] for row in charges(plane)) == [
            ("k1", "estimate", 5),
            ("k1", "usage", MOST_PER_KEY),
            ("k2", "usage", 1),
        ]


async def test_a_reading_makes_way_where_its_mirror_is_full() -> None:
    script = stream()
    async with ScriptedMirror(script) as mirror:
        async with DataPlane([lending(mirror, max_connections=1)], LENDS) as plane:
            client = await plane.send(asking(issue(plane), STREAM))
            await client.head()
            await leave(plane, client)
            assert len(plane.context.abandoned) == plane.in_flight == 1
            assert mirror.closed == 0
            following = await plane.send(asking(issue(plane, "k2"), STREAM))
            await following.head()
            script.go.set()
            assert await following.chunk() == FINISH
            await wait_until(lambda: len(plane.finished) == 2, what="the second to end")
            assert {row[:3] for row in charges(plane)} == {
                ("k1", "estimate", 1),
                ("k2", "usage", 1),
            }


async def test_an_own_key_takes_its_request_with_it() -> None:
    script = stream()
    async with ScriptedMirror(script) as mirror, DataPlane([lending(mirror)], LENDS) as plane:
        issue(plane)
        client = await plane.send(asking("sk-own", STREAM))
        await client.head()
        await leave(plane, client)
        await given_back(plane)
        await wait_until(lambda: mirror.closed == 1, what="the mirror is released")


async def test_a_mirror_that_breaks_off_while_it_is_read_on_is_charged_by_estimate() -> None:
    script = Held(SSE_HEAD + chunk(FINISH), b"", close=True)
    async with ScriptedMirror(script) as mirror, DataPlane([lending(mirror)], LENDS) as plane:
        client = await plane.send(asking(issue(plane), STREAM))
        await client.head()
        assert await client.chunk() == FINISH
        await leave(plane, client)
        assert len(plane.context.abandoned) == plane.in_flight == 1
        script.go.set()
        await given_back(plane)
        assert [row[1:3] for row in charges(plane)] == [("estimate", 1)]
        assert plane.suspected == []


@pytest.mark.parametrize("told", [True, False])
async def test_a_worker_that_stops_waits_for_readings_and_charges_the_rest(told: bool) -> None:
    script = stream()
    async with ScriptedMirror(script) as mirror, DataPlane([lending(mirror)], LENDS) as plane:
        client = await plane.send(asking(issue(plane), STREAM))
        await client.head()
        await leave(plane, client)
        assert len(plane.context.abandoned) == plane.in_flight == 1
        plane.context.drain()
        settled: Awaitable[None] = asyncio.ensure_future(plane.context.abandoned.settled())
        if told:
            script.go.set()
            await asyncio.wait_for(settled, 10)
        plane.context.abandoned.close()
        await asyncio.wait_for(settled, 10)
        await given_back(plane)
        assert [row[1:3] for row in charges(plane)] == [("usage" if told else "estimate", 1)]


async def test_an_unbilled_answer_is_not_read_on() -> None:
    script = Held(b"", b"")
    async with ScriptedMirror(script) as mirror, DataPlane([lending(mirror)], LENDS) as plane:
        request = get().replace(b"sk-x", issue(plane).encode())
        client = await plane.send(request)
        await wait_until(lambda: script.requests == 1, what="the mirror to be asked")
        await leave(plane, client)
        await given_back(plane)
