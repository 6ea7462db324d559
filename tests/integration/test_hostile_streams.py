"""Streams and tunnels that are endless, odd or half-closed: passed on as they are, in bounded
memory, and none the worse for the next request.
"""

from __future__ import annotations

import asyncio
import hashlib
from typing import cast

import pytest

from router.balancing.timeouts import LONGEST
from router.forwarding.client_connection import ClientConnection
from tests.testkit.clock import ManualClock
from tests.testkit.data_plane import DataPlane
from tests.testkit.event_loops import loop_test
from tests.testkit.raw_http import (
    CONTENT,
    OK,
    SWITCHED,
    UPGRADE,
    RawClient,
    Script,
    ScriptedMirror,
    answering,
    get,
    post,
    read_request,
)
from tests.testkit.wait import wait_until_async as wait_until

SSE = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
LAST = b"0\r\n\r\n"
STREAM = post(body=b'{"model": "gpt-4o", "messages": [], "stream": true}')
KERNEL = 60 << 20
"""More than the kernel's buffers of four sockets on the loopback address hold."""


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


class FirstHostile(ScriptedMirror):
    """Plays a script on its first connection and answers well on all later ones."""

    def __init__(self, script: Script) -> None:
        async def play(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            if self.connections == 1:
                await script(reader, writer)
                return
            await answering(OK)(reader, writer)

        super().__init__(play)


async def is_well(plane: DataPlane) -> None:
    """Nothing is held any more, and another client is served."""
    await wait_until(lambda: plane.in_flight == 0 and not plane.context.exchanges, what="the end")
    assert (await plane.ask(get())).status == 200


def only_door(plane: DataPlane) -> ClientConnection:
    (door,) = plane.context.connections.all()
    return cast(ClientConnection, door)


@pytest.mark.parametrize("piece", [b"x", b": a comment\n\n"], ids=["a byte", "a comment"])
@loop_test
async def test_a_little_now_and_then_keeps_a_stream_alive_and_silence_ends_it(piece: bytes) -> None:
    speak: asyncio.Queue[bytes] = asyncio.Queue()

    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_request(reader)
        writer.write(SSE)
        while True:
            writer.write(chunk(await speak.get()))

    clock = ManualClock(running=True)
    timeouts = {"timeouts": {"idle": 90}}
    async with FirstHostile(script) as mirror:
        async with DataPlane([mirror.table()], timeouts, wheel=clock.wheel) as plane:
            client = await plane.send(post())
            await wait_until(lambda: mirror.connections)
            speak.put_nowait(CONTENT)
            await client.head()
            assert await client.chunk() == CONTENT
            for _ in range(5):
                clock.advance(60)
                speak.put_nowait(piece)
                assert await client.chunk() == piece
            clock.advance(60)
            clock.advance(60)
            while last := await client.chunk():
                assert b"stream_interrupted" in last
            assert last is None, "it does not look whole"
            await is_well(plane)


@loop_test
async def test_a_mirror_that_says_that_it_processes_is_waited_for() -> None:
    time = ManualClock()

    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_request(reader)
        for _ in range(14):
            writer.write(b"HTTP/1.1 102 Processing\r\n\r\n")
            await writer.drain()
            await time.sleep(10.0)
        writer.write(OK)

    async with ScriptedMirror(script) as mirror, ScriptedMirror(answering(OK), "b") as other:
        tables = [mirror.table(priority=0), other.table(priority=1)]
        settings = {"balance": {"policy": "priority"}}
        async with DataPlane(tables, settings, wheel=time.wheel, clock=time) as plane:
            asked = post(body=b'{"model": "gpt-4o", "stream": true}').replace(b"1.1", b"1.0", 1)
            answer = await time.run(plane.ask(asked))
            assert (answer.status, answer["x-mirrorgate-mirror"]) == (200, "a")
            assert other.connections == 0


@loop_test
async def test_comments_without_end_are_waited_for_no_longer_than_any_model() -> None:
    time, pause = ManualClock(), 10.0

    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_request(reader)
        writer.write(SSE)
        while True:
            writer.write(chunk(b": %b\n\n" % (b"x" * 4000)))
            await writer.drain()
            await time.sleep(pause)

    async with ScriptedMirror(script) as mirror:
        async with DataPlane([mirror.table()], wheel=time.wheel, clock=time) as plane:
            answer = await time.run(plane.ask(STREAM))
            assert not answer.complete
            # the clock may go on while bytes are under way
            assert plane.finished[-1].seconds < LONGEST + pause


@loop_test
async def test_an_event_without_an_end_of_line_passes_in_bounded_memory() -> None:
    size, piece = 96 << 20, bytes(range(11, 75)) * 1024
    sent = hashlib.sha256()

    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_request(reader)
        writer.write(SSE)
        for _ in range(size // len(piece)):
            sent.update(piece)
            writer.write(chunk(piece))
            await writer.drain()
        writer.write(LAST)
        await answering(OK)(reader, writer)

    async with FirstHostile(script) as mirror, DataPlane([mirror.table()]) as plane:
        client = await plane.send(post())
        await client.head()
        door, most, got, count = only_door(plane), 0, hashlib.sha256(), 0
        while data := await client.chunk():
            got.update(data)
            count += len(data)
            most = max(most, door.transport.get_write_buffer_size())
        assert (count, got.digest()) == (size, sent.digest())
        assert most < 200_000
        await client.close()
        await is_well(plane)


ODD_EVENTS = {
    "carriage returns": b"data: 1\r\rdata: 2\r\r",
    "both line ends": b"data: 1\r\n\r\ndata: 2\r\n\r\n",
    "a byte order mark": b"\xef\xbb\xbfdata: 1\n\n",
    "a field without a colon": b"data\n\ndata\n\n",
    "characters of several bytes": "data: 模型 🙂\n\n".encode(),
    "no last word": b'data: {"a": 1}\n\n',
    "no end of line at the end": b'data: 1\n\ndata: {"a": 1}',
    "bytes that are no text": b"data: \xff\xfe\x00\n\n",
}


@pytest.mark.parametrize("step", [1, 7, 1000])
@pytest.mark.parametrize("events", ODD_EVENTS.values(), ids=ODD_EVENTS)
@loop_test
async def test_odd_events_pass_as_they_are_however_they_are_cut_into_chunks(
    events: bytes, step: int
) -> None:
    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_request(reader)
        writer.write(SSE)
        for i in range(0, len(events), step):
            writer.write(chunk(events[i : i + step]))
            await asyncio.sleep(0)
        writer.write(LAST)
        await answering(OK)(reader, writer)

    async with FirstHostile(script) as mirror, DataPlane([mirror.table()]) as plane:
        answer = await plane.ask(post())
        assert (answer.body, answer.complete) == (events, True)
        await is_well(plane)


_ENDLESS_FRAMES = {
    "a frame of 1 GB": (b"\x82\x7f" + (1 << 30).to_bytes(8, "big"), bytes(1 << 16)),
    "fragments without end": (b"\x01\x01x", b"\x00\x01x" * 20_000),
    "a packed bomb": (b"\xc2\x7e\xff\xff", b"\xec\xc1\x01\x01\x00\x00\x00\x80" * 8000),
    "pings without end": (b"", b"\x89\x00" * 30_000),
}


async def _tunnel(plane: DataPlane) -> RawClient:
    client = await plane.send(get("/v1/realtime", *UPGRADE))
    assert (await client.head())[0] == 101
    return client


@pytest.mark.parametrize("frames", _ENDLESS_FRAMES.values(), ids=_ENDLESS_FRAMES)
@loop_test
async def test_a_websocket_without_bounds_takes_no_more_than_its_client_reads(
    frames: tuple[bytes, bytes],
) -> None:
    sent = 0

    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal sent
        await read_request(reader)
        writer.write(SWITCHED + frames[0])
        while True:
            writer.write(frames[1])
            await writer.drain()
            sent += len(frames[1])
            await asyncio.sleep(0)

    async with FirstHostile(script) as mirror, DataPlane([mirror.table()]) as plane:
        client = await _tunnel(plane)
        client.writer.transport.pause_reading()  # type: ignore[attr-defined]
        transport = only_door(plane).transport
        await wait_until(lambda: transport.get_write_buffer_size() > 0, what="the client to stall")
        for _ in range(500):
            await asyncio.sleep(0)
            assert transport.get_write_buffer_size() < 200_000
        assert sent < KERNEL
        client.writer.transport.abort()
        await wait_until(lambda: mirror.closed == 1, what="the mirror to be released")
        await is_well(plane)


@loop_test
async def test_a_websocket_that_ends_without_a_close_frame_ends_for_its_client_too() -> None:
    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_request(reader)
        writer.write(SWITCHED + b"\x81\x02hi")

    async with FirstHostile(script) as mirror, DataPlane([mirror.table()]) as plane:
        client = await _tunnel(plane)
        assert await asyncio.wait_for(client.reader.read(), 10) == b"\x81\x02hi"
        await client.close()
        await is_well(plane)


HALF_CLOSED = {
    "without an answer": (b"", 502, True),
    "with a whole answer": (b"HTTP/1.1 413 X\r\nContent-Length: 3\r\n\r\nbig", 413, True),
    "with an answer that ends so": (b"HTTP/1.1 400 X\r\n\r\nbig", 400, True),
    "within an answer": (b"HTTP/1.1 400 X\r\nContent-Length: 9\r\n\r\nbig", 400, False),
}


@pytest.mark.parametrize("case", HALF_CLOSED.values(), ids=HALF_CLOSED)
@loop_test
async def test_a_mirror_that_half_closes_during_an_upload_has_said_all(
    case: tuple[bytes, int, bool],
) -> None:
    answer, status, complete = case

    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(answer)
        writer.write_eof()
        while await reader.read(1 << 16):
            pass

    head = post("/v1/files", b"").replace(b"Content-Length: 0", b"Content-Length: 100000000")
    async with FirstHostile(script) as mirror, DataPlane([mirror.table()]) as plane:
        client = await plane.send(head.replace(b"application/json", b"text/plain") + bytes(200_000))
        got = await client.response()
        assert (got.status, got.complete) == (status, complete)
        assert await client.at_end()
        await is_well(plane)
