"""Ends of requests: clients leave, mirrors break off, deadlines pass, and all is given back."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Callable
from typing import Any, cast

import pytest

from monitor.health.snapshot import HealthSnapshot
from router.wire.chunked import chunk
from tests.testkit.clock import ManualClock
from tests.testkit.data_plane import DataPlane
from tests.testkit.event_loops import loop_test
from tests.testkit.listener import unanswered_port
from tests.testkit.raw_http import (
    CONTENT,
    OK,
    RawClient,
    ScriptedMirror,
    answering,
    get,
    post,
    read_request,
)
from tests.testkit.wait import wait_until_async as wait_until

SSE_HEAD = (
    b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
)


async def _silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await read_request(reader)
    await reader.read()


async def _streams_forever(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await read_request(reader)
    writer.write(SSE_HEAD)
    gone = asyncio.ensure_future(reader.read())
    while not gone.done():
        writer.write(chunk(CONTENT))
        await writer.drain()
        await asyncio.wait([gone], timeout=0.01)


def _finish(client: RawClient) -> None:
    client.writer.close()


UPLOAD = post("/v1/files", b"x" * 1000).replace(b"Content-Length: 1000", b"Content-Length: 5000")


@pytest.mark.parametrize("leave", [_finish, RawClient.reset], ids=["FIN", "RST"])
@pytest.mark.parametrize(
    ("request_bytes", "script", "wait_for_answer"),
    [
        (post(), _silent, False),
        (post(), _streams_forever, True),
        (UPLOAD.replace(b"application/json", b"application/octet-stream"), _silent, False),
    ],
    ids=["waiting", "streaming", "uploading"],
)
async def test_a_client_that_leaves_takes_its_request_with_it(
    request_bytes: bytes,
    script: Callable[..., object],
    wait_for_answer: bool,
    leave: Callable[[RawClient], None],
) -> None:
    async with ScriptedMirror(script) as mirror, DataPlane([mirror.table()]) as plane:  # type: ignore[arg-type]
        client = await plane.send(request_bytes)
        if wait_for_answer:
            await client.head()
        await wait_until(lambda: mirror.connections == 1, what="the mirror is connected")
        leave(client)
        await wait_until(lambda: mirror.closed == 1, timeout=20, what="the mirror is released")
        await wait_until(lambda: plane.in_flight == 0, what="nothing is in flight")
        assert plane.suspected == []
        assert [end.outcome for end in plane.finished] == ["client_abort"]


async def test_a_client_that_leaves_while_a_connection_is_being_opened_leaves_nothing() -> None:
    with unanswered_port() as port:
        table = {"id": "deaf", "url": f"http://127.0.0.1:{port}", "addresses": ["127.0.0.1"]}
        async with DataPlane([table]) as plane:
            client = await plane.send(post())
            await wait_until(lambda: plane.in_flight == 1, what="the attempt runs")
            await client.close()
            await wait_until(lambda: plane.in_flight == 0, what="the attempt is given up")
            assert [end.outcome for end in plane.finished] == ["client_abort"]


CUT_BODIES = {
    "length": b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf",
    "chunked": SSE_HEAD + b"9\r\ndata: x\n\n\r\n",
    "chunk": SSE_HEAD + b"ff\r\ndata: x\n\ndata:",
}


@pytest.mark.parametrize("body", CUT_BODIES.values(), ids=CUT_BODIES)
@pytest.mark.parametrize("version", ["1.0", "1.1"])
async def test_a_body_that_breaks_off_is_visibly_cut(body: bytes, version: str) -> None:
    async def cuts(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_request(reader)
        writer.write(body)
        await writer.drain()

    async with ScriptedMirror(cuts) as mirror, DataPlane([mirror.table()]) as plane:
        client = await plane.send(get(version=version))
        status, _, fields = await client.head()
        framed = {name.lower() for name, _ in fields} & {"content-length", "transfer-encoding"}
        assert status == 200
        if framed:
            rest = await asyncio.wait_for(client.reader.read(), 20)
            assert not rest.endswith(b"0\r\n\r\n")
            assert (b"stream_interrupted" in rest) is (b"data: x\n\n\r\n" in rest)
        else:  # nothing but a reset tells a cut from the end
            with pytest.raises(ConnectionResetError):
                await asyncio.wait_for(client.reader.read(), 20)
        await wait_until(lambda: bool(plane.finished), what="the request has ended")
        assert [end.outcome for end in plane.finished] == ["interrupted"]
        assert plane.totals.get("mirrorgate_stream_interruptions", ("a", "cut")) == 1


async def test_a_body_that_ends_with_its_connection_is_complete() -> None:
    async def closes(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_request(reader)
        writer.write(b"HTTP/1.1 200 OK\r\n\r\nall of it")

    async with ScriptedMirror(closes) as mirror, DataPlane([mirror.table()]) as plane:
        answer = await plane.ask(get())
        assert (answer.body, answer.complete) == (b"all of it", True)
        old = await plane.ask(get(version="1.0"))
        assert (old.body, old["connection"]) == (b"all of it", "close")


async def test_a_mirror_that_does_not_answer_in_time_is_a_504() -> None:
    timeouts = {"timeouts": {"first_byte": 0.1}}
    async with ScriptedMirror(_silent) as mirror, DataPlane([mirror.table()], timeouts) as plane:
        answer = await plane.ask(post())
        assert (answer.status, answer.error["code"]) == (504, "upstream_timeout")
        assert plane.suspected == ["a"]
        await wait_until(lambda: mirror.closed == 1, what="the mirror is released")


async def test_a_response_that_falls_silent_is_cut() -> None:
    async def stalls(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_request(reader)
        writer.write(SSE_HEAD + chunk(CONTENT))
        await reader.read()

    async with ScriptedMirror(stalls) as mirror:
        async with DataPlane([mirror.table()], {"timeouts": {"idle": 0.1}}) as plane:
            answer = await plane.ask(post())
            assert not answer.complete
            assert answer.body.startswith(CONTENT)
            assert b'"code": "stream_interrupted"' in answer.body.removeprefix(CONTENT)
            assert b"[DONE]" not in answer.body
            assert plane.totals.get("mirrorgate_stream_interruptions", ("a", "stalled")) == 1


async def test_a_head_that_does_not_arrive_is_a_408() -> None:
    async with DataPlane([], {"timeouts": {"header": 0.1}}) as plane:
        client = await plane.send(b"POST /v1/chat/completions HTTP/1.1\r\nHost:")
        answer = await client.response()
        assert (answer.status, answer.error["code"]) == (408, "request_timeout")
        assert await client.at_end()


async def test_a_body_that_stops_arriving_is_a_408() -> None:
    async with ScriptedMirror(_silent) as mirror:
        async with DataPlane([mirror.table()], {"timeouts": {"body_stall": 0.1}}) as plane:
            for request in (
                UPLOAD,
                UPLOAD.replace(b"application/json", b"application/octet-stream"),
            ):
                answer = await plane.ask(request)
                assert (answer.status, answer.error["code"]) == (408, "request_timeout")
            assert plane.suspected == []
            assert plane.in_flight == 0


async def test_a_body_that_drips_holds_its_mirror_no_longer_than_one_that_stops() -> None:
    received, clock = 0, ManualClock(running=True)

    async def takes(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal received
        await reader.readuntil(b"\r\n\r\n")
        while data := await reader.read(65536):
            received += len(data)

    head = UPLOAD.partition(b"\r\n\r\n")[0].replace(
        b"application/json", b"application/octet-stream"
    )
    async with ScriptedMirror(takes) as mirror:
        async with DataPlane([mirror.table()], wheel=clock.wheel) as plane:
            client = await plane.send(head + b"\r\n\r\n")
            for count in range(1, 8):
                client.writer.write(b"x")
                await wait_until(lambda: received == count, what="the byte to arrive")  # noqa: B023
                clock.advance(8)
            client.writer.write(b"x")
            clock.advance(8)
            answer = await client.response()
            assert (answer.status, answer.error["code"]) == (408, "request_timeout")
            await wait_until(lambda: mirror.closed == 1, what="the mirror is released")
            assert plane.in_flight == 0
            assert plane.suspected == []


async def test_a_client_that_reads_byte_by_byte_holds_its_mirror_no_longer() -> None:
    stalled, clock = asyncio.Event(), ManualClock(running=True)

    async def floods(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_request(reader)
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000000\r\n\r\n")
        while not stalled.is_set():
            writer.write(b"x" * 65536)
            try:
                await asyncio.wait_for(writer.drain(), 0.5)
            except TimeoutError:
                stalled.set()
        await reader.read()

    async with ScriptedMirror(floods) as mirror:
        async with DataPlane([mirror.table()], wheel=clock.wheel) as plane:
            loop = asyncio.get_running_loop()
            with socket.socket() as sock:
                sock.setblocking(False)
                await loop.sock_connect(sock, ("127.0.0.1", plane.port))
                await loop.sock_sendall(sock, get())
                await asyncio.wait_for(stalled.wait(), 30)
                for _ in range(6):
                    assert plane.in_flight == 1
                    assert await loop.sock_recv(sock, 1)
                    clock.advance(9)
                clock.advance(9)
                await wait_until(lambda: mirror.closed == 1, what="the mirror is released")
            assert [end.outcome for end in plane.finished] == ["client_abort"]
            assert plane.in_flight == 0
            assert plane.suspected == []


async def test_a_connection_that_idles_between_requests_is_closed() -> None:
    async with ScriptedMirror(answering(OK)) as mirror:
        async with DataPlane([mirror.table()], {"timeouts": {"keep_alive": 0.1}}) as plane:
            client = await plane.send(get())
            await client.response()
            assert await client.at_end()


async def test_a_client_that_stops_reading_bounds_what_is_taken_from_the_mirror() -> None:
    sent = 0

    async def floods(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal sent
        await read_request(reader)
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000000\r\n\r\n")
        while True:
            writer.write(b"x" * 65536)
            await writer.drain()
            sent += 65536

    timeouts = {"timeouts": {"write_stall": 1}}
    async with ScriptedMirror(floods) as mirror, DataPlane([mirror.table()], timeouts) as plane:
        _, writer = await asyncio.open_connection("127.0.0.1", plane.port, limit=1024)
        writer.write(get())
        await wait_until(lambda: mirror.closed == 1, what="the stalled client is given up")
        assert sent < 60_000_000  # kernel buffers of four sockets, not the body
        assert [end.outcome for end in plane.finished] == ["client_abort"]
        assert plane.suspected == []
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()


async def test_an_answer_that_comes_before_the_upload_is_complete_arrives() -> None:
    async def refuses(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 413 Too Large\r\nContent-Length: 3\r\n\r\nbig")
        while await reader.read(65536):
            pass

    request = post("/v1/files", b"").replace(b"Content-Length: 0", b"Content-Length: 100000000")
    request = request.replace(b"application/json", b"application/octet-stream")
    async with ScriptedMirror(refuses) as mirror, DataPlane([mirror.table()]) as plane:
        client = await plane.send(request + b"x" * 200_000)
        answer = await client.response()
        assert (answer.status, answer.body, answer["connection"]) == (413, b"big", "close")
        assert await client.at_end()
        assert plane.in_flight == 0


async def test_a_removed_mirror_finishes_what_runs_and_is_ended_after_the_drain_time() -> None:
    router = {"timeouts": {"drain": 0.1}}
    async with (
        ScriptedMirror(_streams_forever) as mirror,
        DataPlane([mirror.table()], router) as plane,
    ):
        client = await plane.send(post())
        await client.head()
        plane.context.configure(plane.config([]), HealthSnapshot())
        assert await client.chunk() == CONTENT
        while await client.chunk():
            pass
        await wait_until(lambda: mirror.closed == 1, what="the removed mirror is released")
        assert (await plane.ask(get())).status == 503


async def test_a_draining_worker_ends_idle_connections_and_marks_the_last_answer() -> None:
    async with ScriptedMirror(answering(OK)) as mirror, DataPlane([mirror.table()]) as plane:
        idle = await plane.send(get())
        await idle.response()
        busy = await plane.send(post("/v1/files", b"x" * 10)[:-5])
        await wait_until(lambda: len(plane.context.connections) == 2, what="both are connected")
        plane.context.drain()
        assert await idle.at_end()
        await busy.send(b"x" * 5)
        answer = await busy.response()
        assert (answer.status, answer["connection"]) == (200, "close")
        assert await busy.at_end()
        await asyncio.wait_for(plane.context.emptied.wait(), 5)


@loop_test
async def test_a_client_that_takes_no_answers_is_cut_whatever_it_has_pipelined() -> None:
    asked = b"x-" + b"a" * 7000
    preflight = (
        b"OPTIONS /v1/chat/completions HTTP/1.1\r\nHost: test\r\nOrigin: http://a\r\n"
        b"Access-Control-Request-Method: POST\r\nAccess-Control-Request-Headers: %b\r\n\r\n" % asked
    )
    async with DataPlane([], {"timeouts": {"write_stall": "1s"}}) as plane:
        client = await plane.connect()
        client.writer.transport.pause_reading()  # type: ignore[attr-defined]
        (door,) = cast(Any, plane.context.connections.all())
        while not door.transport.get_write_buffer_size():
            client.writer.write(preflight * 8)
            await asyncio.sleep(0)
        client.writer.write(preflight * 8)
        assert door.vacant, "it makes way where there are too many"
        await wait_until(lambda: not plane.context.connections, what="the connection to end")
