"""Broken and hostile mirrors: what a client gets, and that the next request is none the worse."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
from typing import cast

import pytest

from router.wire.closing import reset
from tests.cases.hostile_responses import ANSWERS, MODES, Mode
from tests.testkit.data_plane import DataPlane
from tests.testkit.event_loops import each_loop, loop_test, run_on
from tests.testkit.raw_http import RawClient, Response, ScriptedMirror, answering, get, read_request
from tests.testkit.wait import wait_until_async

GOOD = b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\ngood"


class HostileMirror(ScriptedMirror):
    """Plays a mode on its first connection and answers well on all later ones."""

    def __init__(self, mode: Mode) -> None:
        super().__init__(self._play)
        self.mode = mode
        self.asked_again = 0
        """Requests on the first connection after the one that was answered."""

    async def _play(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self.connections > 1:
            await self._answer_well(reader, writer)
            return
        await read_request(reader)
        writer.write(self.mode.answer)
        await writer.drain()
        if self.mode.then == "reset":
            reset(cast(asyncio.Transport, writer.transport))
        elif self.mode.then in ("repeat", "drip"):
            await self._repeat(writer)
        elif self.mode.then == "hold":
            await self._answer_well(reader, writer)

    async def _answer_well(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        first = self.connections == 1
        while True:
            await read_request(reader)
            self.asked_again += first
            writer.write(GOOD)
            await writer.drain()

    async def _repeat(self, writer: asyncio.StreamWriter) -> None:
        for piece in itertools.islice(self.mode.pieces, 10_000):
            writer.write(piece)
            await writer.drain()
            await asyncio.sleep(0.01 if self.mode.then == "drip" else 0)


async def _first_answer(client: RawClient, mode: Mode) -> Response:
    while True:
        response = await client.response(to_head=mode.method == b"HEAD")
        if response.status >= 200:
            return response


async def _play(mode: Mode, plane: DataPlane, mirror: HostileMirror) -> tuple[Response, Response]:
    """The answer in this mode, and the one to another client's request after it."""
    client = await plane.send(get().replace(b"GET", mode.method))
    answer = await _first_answer(client, mode)
    await wait_until_async(lambda: plane.in_flight == 0, what="nothing in flight")
    return answer, await plane.ask(get())


def _failures(plane: DataPlane) -> float:
    """Failures that were counted against the mirror."""
    kinds = ("resolve", "connect", "tls", "broken", "malformed", "timeout", "cut", "stalled")
    return sum(plane.totals.get("mirrorgate_attempts", ("a", kind)) for kind in kinds)


def _outcome(answer: Response) -> str:
    if not answer.complete:
        return "cut"
    if answer.status in (502, 504) and answer.error["type"] == "server_error":
        return "gateway"
    return "relay"


_NAMED = [pytest.param(mode, id=mode.title) for mode in (*MODES, *ANSWERS)]


@each_loop
@pytest.mark.parametrize("mode", _NAMED)
def test_a_broken_answer_is_an_error_or_a_visible_cut_and_spoils_nothing_else(
    mode: Mode, loop_name: str
) -> None:
    mirror = HostileMirror(mode)

    async def play() -> tuple[Response, Response, float]:
        router = {"timeouts": dict(mode.timeouts)}
        async with mirror, DataPlane([mirror.table()], router) as plane:
            return *await _play(mode, plane, mirror), _failures(plane)

    answer, following, failures = run_on(loop_name, play())
    fields = [f"{name}: {value}".lower().encode("latin-1") for name, value in answer.fields]
    seen = b"\n".join([answer.reason.encode(), *fields, answer.body])
    assert _outcome(answer) in mode.expect, answer
    assert failures == (_outcome(answer) != "relay")
    assert mode.status in (None, answer.status)
    assert mode.body in (None, answer.body)
    assert all(unwanted not in seen for unwanted in mode.lacks)
    assert all(wanted in seen for wanted in mode.has)
    if answer.status == 429:
        assert (following.status, mirror.asked_again) == (429, 0), "it asked to be left alone"
        return
    assert (following.status, following.body) == (200, b"good")
    assert mirror.asked_again == (1 if mode.reusable else 0)


_ASKED = (
    "Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Version: 13",
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
)  # fmt: skip
_ACCEPT = b"Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n"
_SWITCH = b"HTTP/1.1 101 Switching Protocols\r\n"
_UPGRADE = b"Upgrade: websocket\r\nConnection: Upgrade\r\n"


@pytest.mark.parametrize(
    ("head", "status"),
    [
        (_SWITCH + _UPGRADE + _ACCEPT, 101),
        (_SWITCH + _UPGRADE.replace(b"websocket", b"WebSocket") + _ACCEPT, 101),
        (_SWITCH + _UPGRADE, 502),
        (_SWITCH + _UPGRADE + _ACCEPT.replace(b"s3p", b"S3p"), 502),
        (_SWITCH + _ACCEPT, 502),
        (_SWITCH + b"Upgrade: h2c\r\nConnection: Upgrade\r\n" + _ACCEPT, 502),
        (_SWITCH + b"Upgrade: websocket\r\n" + _ACCEPT, 502),
    ],
)
@loop_test
async def test_a_101_must_answer_the_clients_key(head: bytes, status: int) -> None:
    async def switches(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_request(reader)
        writer.write(head + b"\r\n")
        await reader.read()

    async with ScriptedMirror(switches) as mirror, DataPlane([mirror.table()]) as plane:
        client = await plane.send(get("/v1/realtime", *_ASKED))
        got, _, fields = await client.head()
        assert got == status
        if status == 101:
            assert ("sec-websocket-accept", "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=") in [
                (name.lower(), value) for name, value in fields
            ]
        await client.close()
        with contextlib.suppress(ConnectionError):
            await wait_until_async(lambda: plane.in_flight == 0, what="the tunnel to end")


@loop_test
async def test_an_endless_body_is_taken_only_as_fast_as_the_client_reads() -> None:
    sent = 0

    async def endless(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal sent
        await read_request(reader)
        writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
        while True:
            writer.write(bytes(1 << 16))
            await writer.drain()
            sent += 1 << 16

    async with ScriptedMirror(endless) as mirror, DataPlane([mirror.table()]) as plane:
        client = await plane.send(get())
        await client.head()
        assert await client.chunk()
        await client.close()
        await wait_until_async(lambda: mirror.closed == 1, what="the mirror to be left")
    assert plane.in_flight == 0


@pytest.mark.parametrize("status", [401, 402, 403])
@loop_test
async def test_a_mirrors_refusal_of_its_own_key_is_hidden_from_clients(status: int) -> None:
    body = b'{"error": {"message": "Incorrect API key provided: sk-mirr****rror"}}'
    refusal = b"HTTP/1.1 %d X\r\nContent-Length: %d\r\n\r\n%b" % (status, len(body), body)
    router = {"callers": ["anonymous", "own"], "cors_origins": []}
    async with ScriptedMirror(answering(refusal)) as mirror:
        async with DataPlane([mirror.table(api_key="sk-mirror")], router) as plane:
            answer = await plane.ask(b"GET /v1/models HTTP/1.1\r\nHost: localhost\r\n\r\n")
            assert (answer.status, answer.error["code"]) == (503, "no_mirror_available")
            assert b"sk-" not in answer.body
            assert plane.refused == ["a"]
            own = await plane.ask(get())
            assert (own.status, own.body) == (status, body)
