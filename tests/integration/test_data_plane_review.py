"""Clients that do not read, requests behind requests, connections in odd states: nothing hangs,
nothing is lost and nothing is held for ever.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from typing import Any, cast

import pytest

from router.forwarding.client_connection import ClientConnection
from router.upstream import connector as connecting
from router.upstream import opening
from tests.testkit.clock import ManualClock
from tests.testkit.data_plane import DataPlane
from tests.testkit.event_loops import loop_test
from tests.testkit.raw_http import (
    ANSWER,
    OK,
    RawClient,
    ScriptedMirror,
    answering,
    get,
    post,
    read_request,
)
from tests.testkit.wait import wait_until_async as wait_until

KEY = "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=="
UPGRADE = ("Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Version: 13", KEY)
SWITCH = (
    b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    b"Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n"
)
NO_KEY = b"GET /v1/models HTTP/1.1\r\nHost: test\r\n\r\n"


async def reluctant(plane: DataPlane, data: bytes) -> tuple[RawClient, ClientConnection]:
    """A client that has sent this and reads little, and its door, which notices at once."""
    sock = socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    sock.setblocking(False)
    before = set(plane.context.connections.all())
    await asyncio.get_running_loop().sock_connect(sock, ("127.0.0.1", plane.port))
    client = RawClient(*await asyncio.open_connection(sock=sock, limit=1024))
    plane.clients.append(client)
    (door,) = await wait_until(lambda: set(plane.context.connections.all()) - before)
    door = cast(ClientConnection, door)
    door.transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
    door.transport.set_write_buffer_limits(1)
    await client.send(data)
    return client, door


def sized(size: int, *fields: bytes) -> bytes:
    """An answer with a body of this size."""
    head = [b"HTTP/1.1 200 OK", b"Content-Length: %d" % size, *fields, b"", b""]
    return b"\r\n".join(head) + b"x" * size


@loop_test
async def test_a_connection_given_back_while_its_client_does_not_read_serves_the_next() -> None:
    async with (
        ScriptedMirror(answering(sized(30_000))) as mirror,
        DataPlane([mirror.table()]) as plane,
    ):
        await reluctant(plane, get())
        await wait_until(lambda: plane.finished, what="the whole answer is on its way")
        assert (await plane.ask(get())).status == 200
        assert mirror.connections == 1


@loop_test
async def test_an_answer_behind_one_that_is_not_read_waits_for_its_turn() -> None:
    size, sent = 64 << 20, 0

    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal sent
        await read_request(reader)
        writer.write(sized(30_000))
        await read_request(reader)
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % size)
        while sent < size:
            writer.write(bytes(65536))
            await writer.drain()
            sent += 65536

    timeouts = {"timeouts": {"write_stall": 1}}
    async with ScriptedMirror(script) as mirror, DataPlane([mirror.table()], timeouts) as plane:
        await reluctant(plane, get() + get())
        await wait_until(lambda: not plane.context.connections or sent == size, what="an end")
        assert sent < size


@loop_test
async def test_a_client_that_reads_late_gets_all_of_its_answers_in_order() -> None:
    async with (
        ScriptedMirror(answering(sized(30_000))) as mirror,
        DataPlane([mirror.table()]) as plane,
    ):
        client, _ = await reluctant(plane, get() * 5)
        await wait_until(lambda: plane.finished, what="the first answer is on its way")
        for _ in range(5):
            answer = await client.response()
            assert (answer.status, len(answer.body)) == (200, 30_000)
        await client.send(get())
        assert (await client.response()).complete


@loop_test
async def test_local_answers_wait_for_a_client_that_does_not_read() -> None:
    async with DataPlane([]) as plane:
        client, door = await reluctant(plane, b"")
        request = b"OPTIONS /v1/models HTTP/1.1\r\nHost: test\r\nOrigin: https://a.test\r\n\r\n"

        async def flood() -> None:
            for _ in range(2000):
                await client.send(request * 16)

        flooding = asyncio.ensure_future(flood())
        with contextlib.suppress(ConnectionError):
            await asyncio.wait([flooding], timeout=3)
        assert door.transport.get_write_buffer_size() < 200_000
        flooding.cancel()
        await asyncio.gather(flooding, return_exceptions=True)


@loop_test
async def test_a_body_that_comes_in_pieces_behind_another_request_is_read() -> None:
    first = asyncio.Event()

    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            await read_request(reader)
            await first.wait()
            writer.write(OK)

    async with ScriptedMirror(script) as mirror, DataPlane([mirror.table()]) as plane:
        second = post(body=b'{"a": 1}')
        client = await plane.send(get() + second[:-4])
        await wait_until(lambda: mirror.connections, what="the first is asked")
        await client.send(second[-4:])
        first.set()
        assert [(await client.response()).status for _ in range(2)] == [200, 200]


@pytest.mark.parametrize(
    "sent",
    [
        get("/v1/realtime", *UPGRADE).replace(b"Authorization: Bearer sk-x\r\n", b""),
        NO_KEY.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n") + b"more",
        NO_KEY.replace(b"GET", b"POST").replace(b"\r\n\r\n", b"\r\nContent-Length: 9\r\n\r\n")
        + b'{"a": 12}'
        + NO_KEY,
    ],
    ids=["WebSocket", "garbage behind close", "a body and another request"],
)
@loop_test
async def test_a_refusal_that_ends_the_connection_is_its_last_answer(sent: bytes) -> None:
    async with DataPlane([]) as plane:
        client = await plane.send(sent)
        answer = await client.response()
        assert (answer.status, answer["connection"]) == (401, "close")
        assert await client.at_end()


@pytest.mark.parametrize("answers", [NO_KEY, NO_KEY.replace(b"GET", b"OPTIONS")])
@loop_test
async def test_an_answer_made_here_to_a_bodiless_request_keeps_the_connection(
    answers: bytes,
) -> None:
    async with ScriptedMirror(answering(OK)) as mirror, DataPlane([mirror.table()]) as plane:
        client = await plane.send(answers)
        answer = await client.response()
        assert answer.status in (204, 401)
        assert "connection" not in answer
        await client.send(get())
        assert (await client.response()).status == 200


@pytest.mark.parametrize(
    "behind",
    [b"GARBAGE\r\n\r\n", b"GET /status HTTP/1.1\r\nHost: test\r\n\r\n", b"GET /v1/models HTT"],
    ids=["garbage", "another path", "half a head"],
)
@loop_test
async def test_bytes_behind_a_request_do_not_lose_its_answer(behind: bytes) -> None:
    answer = asyncio.Event()

    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_request(reader)
        await answer.wait()
        writer.write(OK)
        await reader.read()

    clock = ManualClock(running=True)
    async with (
        ScriptedMirror(script) as mirror,
        DataPlane([mirror.table()], wheel=clock.wheel) as plane,
    ):
        client = await plane.send(get() + behind)
        await wait_until(lambda: mirror.connections, what="the mirror is asked")
        for _ in range(3):
            clock.advance(20)
        answer.set()
        assert (await client.response()).body == ANSWER
        clock.advance(100)
        assert await client.at_end()


@pytest.mark.parametrize("broken", [False, True], ids=["complete", "broken off"])
@loop_test
async def test_a_client_that_never_reads_its_last_answer_is_given_up(broken: bool) -> None:
    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_request(reader)
        writer.write(sized(30_000)[: -1 if broken else None])

    clock = ManualClock(running=True)
    async with (
        ScriptedMirror(script) as mirror,
        DataPlane([mirror.table()], wheel=clock.wheel) as plane,
    ):
        before = len(plane.context.wheel)
        _, door = await reluctant(plane, get("/v1/models", "Connection: close"))
        await wait_until(lambda: mirror.closed, what="the mirror has answered")
        if broken:
            await wait_until(lambda: door.transport.get_write_buffer_size())
        else:
            await wait_until(lambda: plane.finished)
        for _ in range(3):
            clock.advance(70)
            await asyncio.sleep(0)
        await wait_until(lambda: door.transport.get_extra_info("socket").fileno() == -1, timeout=2)
        assert not plane.context.connections
        assert len(plane.context.wheel) == before


@pytest.mark.parametrize("limit", [1, 1 << 20], ids=["stalled", "not yet"])
@loop_test
async def test_a_connection_that_drains_has_first_given_what_was_not_read(limit: int) -> None:
    clock = ManualClock(running=True)
    async with (
        ScriptedMirror(answering(sized(30_000))) as mirror,
        DataPlane([mirror.table()], wheel=clock.wheel) as plane,
    ):
        client, door = await reluctant(plane, get())
        door.transport.set_write_buffer_limits(limit)
        await wait_until(lambda: plane.finished, what="the answer is on its way")
        plane.context.drain()
        clock.advance(1)
        assert len((await client.response()).body) == 30_000


@pytest.mark.parametrize("limit", [1, 1 << 20], ids=["paused", "ended"])
@loop_test
async def test_a_tunnel_ends_even_if_nobody_reads_what_is_left(limit: int) -> None:
    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_request(reader)
        writer.write(SWITCH + bytes(30_000))
        await reader.read(1)

    clock = ManualClock(running=True)
    async with (
        ScriptedMirror(script) as mirror,
        DataPlane([mirror.table()], wheel=clock.wheel) as plane,
    ):
        before = len(plane.context.wheel)
        client, door = await reluctant(plane, b"")
        door.transport.set_write_buffer_limits(limit)
        await client.send(get("/v1/realtime", *UPGRADE))
        await wait_until(door.transport.get_write_buffer_size, what="the client reads no more")
        await client.send(b"x")
        await wait_until(lambda: mirror.closed == 1, what="the mirror has ended")
        for _ in range(5):
            clock.advance(70)
            await asyncio.sleep(0)
        await wait_until(lambda: door.transport.get_extra_info("socket").fileno() == -1, timeout=2)
        assert len(plane.context.wheel) == before


@loop_test
async def test_frames_sent_before_the_switch_arrive_whatever_reads_they_come_in() -> None:
    switch = asyncio.Event()

    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head, _ = await read_request(reader)
        if b"realtime" not in head:
            writer.write(OK)
            return
        await switch.wait()
        writer.write(SWITCH)
        while data := await reader.read(100):
            writer.write(data.upper())

    async with ScriptedMirror(script) as mirror, DataPlane([mirror.table()]) as plane:
        client = await plane.send(get() + get("/v1/realtime", *UPGRADE) + b"one")
        assert (await client.response()).status == 200
        await client.send(b"two")
        await client.send(b"three")
        switch.set()
        assert (await client.head())[0] == 101
        read = asyncio.wait_for(client.reader.readexactly(11), 5)
        assert await read == b"ONETWOTHREE"


@loop_test
async def test_bodies_of_requests_that_are_dropped_are_not_counted_any_more() -> None:
    async with ScriptedMirror(answering(OK)) as mirror, DataPlane([mirror.table()]) as plane:
        client = await plane.send(get() + post(body=b"x" * 1000) + b"GARBAGE\r\n\r\n")
        assert (await client.response()).status == 200
        assert await client.at_end()
        assert plane.context.memory.used == 0


@pytest.mark.parametrize("first", [b"220 not what you expect\r\n", b""], ids=["greets", "closes"])
@loop_test
async def test_a_mirror_that_spoils_a_new_connection_at_once_was_sent_nothing(
    first: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    connect = connecting.connect

    async def too_late(*given: Any) -> Any:
        ready = await connect(*given)
        if ready.route.port == bad.port:
            await wait_until(lambda: ready.connection.is_closed(), what="the mirror has closed")
        return ready

    monkeypatch.setattr(opening, "connect", too_late)

    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(first)

    async with ScriptedMirror(script) as bad, ScriptedMirror(answering(OK), "b") as good:
        async with DataPlane([bad.table(weight=100), good.table()]) as plane:
            assert (await plane.ask(post())).status == 200
            assert plane.in_flight == 0
            assert bad.connections == 1


@loop_test
async def test_a_stale_connection_costs_no_attempt() -> None:
    async def once(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_request(reader)
        writer.write(OK)
        await read_request(reader)

    router = {"retry": {"attempts": 1}}
    async with ScriptedMirror(once) as mirror, DataPlane([mirror.table()], router) as plane:
        assert (await plane.ask(get())).status == 200
        assert (await plane.ask(get())).status == 200
        assert mirror.connections == 2


@loop_test
async def test_an_upload_waits_for_a_mirror_that_does_not_read_from_its_beginning(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    tcp, opened = connecting._tcp, asyncio.Event()

    async def narrow(address: str, port: int, timeout: float) -> socket.socket:
        await opened.wait()
        sock = await tcp(address, port, timeout)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
        return sock

    monkeypatch.setattr(connecting, "_tcp", narrow)

    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.transport.pause_reading()  # type: ignore[attr-defined]
        await gone.wait()

    gone = asyncio.Event()
    size = 64 << 20
    head = post("/v1/files").replace(b"Length: 2", b"Length: %d" % size)[:-2]
    head = head.replace(b"application/json", b"application/octet-stream")
    async with ScriptedMirror(script) as mirror, DataPlane([mirror.table()]) as plane:
        mirror.listening.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client = await plane.send(head + bytes(200_000))
        await wait_until(lambda: plane.context.memory.used > 65536, what="as much as may wait")
        opened.set()
        await wait_until(lambda: mirror.connections)
        door = plane.context.connections.all()[0]
        client.writer.write(bytes(size - 200_000))
        writing = asyncio.ensure_future(client.writer.drain())
        await asyncio.wait([writing], timeout=2)
        assert not writing.done(), door
        gone.set()
        writing.cancel()
        client.writer.transport.abort()
