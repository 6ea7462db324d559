"""WebSockets with a mirror's key: what a caller's key does not allow goes no further."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

import pytest
from websockets.asyncio.client import ClientConnection, connect
from websockets.asyncio.server import ServerConnection, serve
from websockets.exceptions import ConnectionClosed, InvalidStatus

from router.admission.credentials import new_key
from router.forwarding.abandoned import MOST_PER_KEY, READ_FOR
from router.wire.websocket import (
    CLOSE,
    GOING_AWAY,
    PROTOCOL_ERROR,
    TEXT,
    TOO_BIG,
    FrameReader,
    close_frame,
    frame,
)
from tests.testkit.clock import ManualClock
from tests.testkit.data_plane import DataPlane
from tests.testkit.event_loops import loop_test
from tests.testkit.listener import reset
from tests.testkit.raw_http import RawClient, ScriptedMirror, read_request
from tests.testkit.wait import wait_until_async as wait_until

PRICES = {"gpt-4o": [{"input": 1000.0, "output": 2000.0}], "o3": [{"input": 1.0}]}
CREATE = {"type": "response.create", "model": "gpt-4o", "input": "hi"}


@dataclass
class Lent:
    """A data plane with an issued key, and a mirror that speaks Responses over WebSockets."""

    plane: DataPlane
    key: str
    heads: list[Any] = field(default_factory=list)
    seen: list[Any] = field(default_factory=list)
    """What the mirror was sent."""
    closes: list[int | None] = field(default_factory=list)
    """How the mirror's connections were closed."""
    answers: bool = True
    go: asyncio.Event | None = None
    """When it tells the usage, after a ping, if it does not at once."""
    hangs_up: int = 0
    """The code with which the mirror closes when something is cancelled."""
    quotes: str = ""
    """What the mirror says after a message whatever that was."""

    def open(self, path: str = "responses", **more: Any) -> Any:
        """A client's connection."""
        shown = {"Authorization": f"Bearer {self.key}"}
        url = f"ws://127.0.0.1:{self.plane.port}/v1/{path}"
        return connect(url, additional_headers=shown, proxy=None, **more)

    def grant(
        self,
        models: str = "",
        left: int | None = None,
        tokens: int | None = None,
        rate: float = 0,
    ) -> None:
        """Let the key do this from now on."""
        ring = self.plane.context.keys
        row = ("k1", ring.digest(self.key.encode()).hex(), None, rate, models, left, tokens)
        ring.extend([row])

    @property
    def used(self) -> Any:
        """The charge: money in billionths, and tokens."""
        return self.plane.context.metering.uses.spent("k1")

    async def converse(self, wire: ServerConnection) -> None:
        """The mirror."""
        self.heads.append(wire.request.headers if wire.request is not None else {})
        try:
            async for message in wire:
                self.seen.append(message)
                if self.quotes:
                    await wire.send(self.quotes)
                with contextlib.suppress(ValueError, AttributeError, TypeError):
                    await self._answer(wire, json.loads(message))
        finally:
            self.closes.append(wire.close_code)

    async def _answer(self, wire: ServerConnection, event: dict[str, Any]) -> None:
        if event.get("type") == "response.cancel" and self.hangs_up:
            await wire.close(self.hangs_up)
        if event.get("type") != "response.create":
            return
        await wire.send(json.dumps({"type": "response.created", "response": {"id": "r"}}))
        await wire.send(json.dumps({"type": "response.output_text.delta", "delta": "y" * 40}))
        if self.go is not None:
            await self.go.wait()
            await (await wire.ping())
        if self.answers or self.go is not None:
            usage = {"input_tokens": 100, "output_tokens": 10}
            done = {"type": "response.completed", "response": {"id": "r", "usage": usage}}
            await wire.send(json.dumps(done))


@contextlib.asynccontextmanager
async def lent(endpoints: tuple[str, ...] = (), **more: Any) -> AsyncIterator[Lent]:
    """All of it; afterwards nothing is left."""
    key = new_key("mg-")

    async def converse(wire: ServerConnection) -> None:
        await made.converse(wire)

    async with serve(converse, "127.0.0.1", 0, close_timeout=1) as server:
        port = next(iter(server.sockets)).getsockname()[1]
        table = {"id": "a", "url": f"http://127.0.0.1:{port}", "addresses": ["127.0.0.1"]}
        table |= {"api_key": "sk-mirror"}
        keys = {"keys": {"endpoints": list(endpoints)}} if endpoints else {}
        async with DataPlane([table], more={"prices": PRICES, **keys}, **more) as plane:
            plane.context.keys.season("01" * 32)
            made = Lent(plane, key)
            made.grant()
            yield made
            await wait_until(lambda: not plane.context.exchanges, what="the exchanges to end")
            assert plane.context.memory.used == 0
            uses = plane.context.metering.uses
            while (message := uses.due(float("inf"))) is not None:
                uses.acknowledged(message["seq"])


async def events(wire: ClientConnection, until: str) -> list[dict[str, Any]]:
    """Events up to one of this type."""
    found: list[dict[str, Any]] = []
    while not found or found[-1]["type"] != until:
        found.append(json.loads(await asyncio.wait_for(wire.recv(), 10)))
    return found


async def refused(wire: ClientConnection) -> tuple[str, int]:
    """The code of the error event, and of the close frame that follows it."""
    told = (await events(wire, "error"))[-1]["error"]
    with pytest.raises(ConnectionClosed) as caught:
        await asyncio.wait_for(wire.recv(), 10)
    assert caught.value.rcvd is not None
    return told["code"], caught.value.rcvd.code


@loop_test
async def test_a_key_for_some_models_may_ask_for_these_and_no_others() -> None:
    async with lent() as made:
        made.grant(models="gpt-4o*")
        async with made.open() as wire:
            for _ in range(3):
                await wire.send(json.dumps(CREATE))
                await events(wire, "response.completed")
            assert made.used.tokens == 330
            await wire.send(json.dumps({**CREATE, "model": "o3"}))
            assert await refused(wire) == ("model_not_found", 1008)
        await wait_until(lambda: made.closes, what="the mirror's end")
        assert [json.loads(message)["model"] for message in made.seen] == ["gpt-4o"] * 3
        assert made.closes == [GOING_AWAY]


HIDDEN: dict[str, tuple[str | bytes, str]] = {
    "another model": (json.dumps({**CREATE, "model": "o3"}), "model_not_found"),
    "a model within": (
        json.dumps({"type": "response.create", "response": {"model": "o3"}}), "model_not_found"),
    "one that is allowed and one that is not": (
        json.dumps({**CREATE, "response": {"model": "o3"}}), "ambiguous_request"),
    "no model": (json.dumps({"type": "response.create"}), "model_not_found"),
    "a model that is no text": (json.dumps({**CREATE, "model": ["o3"]}), "model_not_found"),
    "two models": ('{"type":"response.create","model":"gpt-4o","model":"o3"}',
                   "ambiguous_request"),
    "a model in capitals": ('{"type":"response.create","model":"gpt-4o","MODEL":"o3"}',
                            "ambiguous_request"),
    "two types": ('{"type":"response.steer","type":"response.create","model":"o3"}',
                  "ambiguous_request"),
    "escaped": (r'{"type":"response.create","mod\u0065l":"o3"}', "model_not_found"),
    "an unknown event": (json.dumps({"type": "response.inject", "model": "o3"}),
                         "endpoint_not_allowed"),
    "no event": (json.dumps({"model": "o3"}), "endpoint_not_allowed"),
    "no object": (json.dumps([CREATE]), "malformed_request"),
    "no JSON": ("response.create o3", "malformed_request"),
    "binary": (json.dumps(CREATE).encode(), "malformed_request"),
    "brackets without end": ("[" * 100_000, "malformed_request"),
}  # fmt: skip


@pytest.mark.parametrize("case", HIDDEN.values(), ids=HIDDEN)
@loop_test
async def test_messages_forbidden_to_a_limited_key_never_reach_a_mirror(
    case: tuple[str | bytes, str],
) -> None:
    message, code = case
    async with lent() as made:
        made.grant(models="gpt-4o*")
        async with made.open() as wire:
            await wire.send([message[:5], message[5:]])
            assert (await refused(wire))[0] == code
        await wait_until(lambda: made.closes, what="the mirror's end")
        assert not made.seen


@loop_test
async def test_a_quota_is_metered_by_message_and_ends_the_socket_when_used_up() -> None:
    async with lent() as made:
        made.grant(left=150_000_000)  # an answer costs 120,000,000
        async with made.open() as wire:
            for spent in (120_000_000, 240_000_000):
                await wire.send(json.dumps(CREATE))
                await events(wire, "response.completed")
                assert made.used.cost == spent
            await wire.send(json.dumps(CREATE))
            assert await refused(wire) == ("insufficient_quota", 1008)
        with pytest.raises(InvalidStatus) as caught:
            async with made.open():
                pass
        assert caught.value.response.status_code == 429
        assert len(made.seen) == 2


@loop_test
async def test_a_quota_of_money_needs_a_price() -> None:
    async with lent() as made:
        made.grant(left=1_000_000_000)
        async with made.open() as wire:
            await wire.send(json.dumps({**CREATE, "model": "unpriced"}))
            assert await refused(wire) == ("model_not_found", 1008)
        assert not made.seen


async def leave(made: Lent, wire: ClientConnection, how: str) -> None:
    """Leave a socket, and wait until its exchange has ended."""
    ends = len(made.plane.finished) + 1
    transport = wire.transport
    match how:
        case "close":
            await wire.close()
        case "FIN":
            transport.write_eof()
        case "RST":
            reset(transport)
        case "no WebSocket":
            transport.write(b"\xff" * 64)
        case "refused":
            await wire.send("no JSON")
    await wait_until(lambda: len(made.plane.finished) == ends, what="the exchange to end")


WAYS = ("close", "FIN", "RST", "no WebSocket", "refused")


@pytest.mark.parametrize("how", WAYS)
@pytest.mark.parametrize("path", ["responses", "realtime?model=gpt-4o"])
@loop_test
async def test_an_answer_that_the_client_leaves_is_charged_by_its_usage(
    path: str, how: str
) -> None:
    async with lent(endpoints=("responses", "realtime")) as made:
        made.answers, made.go = False, asyncio.Event()
        made.grant(models="gpt-4o")
        async with made.open(path) as wire:
            await wire.send(json.dumps({**CREATE, "input": "x" * 400}))
            await events(wire, "response.output_text.delta")
            await leave(made, wire, how)
            context = made.plane.context
            assert (len(context.abandoned), made.plane.in_flight, context.limits.held) == (1, 1, 0)
            assert made.used.tokens == 0
            made.go.set()
            await wait_until(lambda: not len(context.abandoned), what="the reading to end")
            assert made.used.tokens == 110
            await wait_until(lambda: made.closes, what="the mirror's end")
            assert made.closes == [GOING_AWAY]
            assert made.plane.in_flight == 0


@pytest.mark.parametrize("code", [1002, 1003, 1007, 1008, 1009])
async def test_a_client_that_has_the_mirror_hang_up_pays_for_the_answer(code: int) -> None:
    """A mirror closes with such a code because of something that the client has sent."""
    async with lent() as made:
        made.grant(tokens=1_000_000)
        made.answers, made.hangs_up = False, code
        async with made.open() as wire:
            await wire.send(json.dumps(CREATE))
            await events(wire, "response.output_text.delta")
            await wire.send(json.dumps({"type": "response.cancel", "metadata": {"a": "x"}}))
            with pytest.raises(ConnectionClosed):
                await events(wire, "response.completed")
        await wait_until(lambda: made.used.tokens >= 10, what="the estimate")
        assert not len(made.plane.context.abandoned), "it says nothing more"
        await wait_until(lambda: made.closes, what="the mirror's end")
        assert made.closes == [code], "the client's answer to its close frame came"


async def test_an_answer_that_the_mirror_breaks_off_by_itself_is_free() -> None:
    async with lent() as made:
        made.answers, made.hangs_up = False, 1011
        async with made.open() as wire:
            await wire.send(json.dumps(CREATE))
            await events(wire, "response.output_text.delta")
            await wire.send(json.dumps({"type": "response.cancel"}))
            with pytest.raises(ConnectionClosed):
                await events(wire, "response.completed")
        await wait_until(lambda: not made.plane.context.exchanges, what="the end")
        assert made.used.tokens == 0


@loop_test
async def test_an_answer_that_does_not_end_in_time_is_estimated() -> None:
    clock = ManualClock(running=True)
    async with lent(wheel=clock.wheel) as made:
        made.answers = False
        made.grant(tokens=10_000)
        async with made.open() as wire:
            await wire.send(json.dumps({**CREATE, "input": "x" * 400, "store": False}))
            await events(wire, "response.output_text.delta")
            await leave(made, wire, "RST")
            assert made.used.tokens == 0
            clock.advance(READ_FOR + 1)
            await wait_until(lambda: made.used.tokens > 0, what="the estimate")
        assert 110 <= made.used.tokens <= 140
        assert made.plane.totals.get("mirrorgate_unmetered_requests", ("left",)) == 1
        await wait_until(lambda: made.closes == [GOING_AWAY], what="the mirror's end")


@loop_test
async def test_a_worker_that_stops_ends_the_reading_of_a_websocket() -> None:
    async with lent() as made:
        made.answers = False
        async with made.open() as wire:
            await wire.send(json.dumps(CREATE))
            await events(wire, "response.output_text.delta")
            await leave(made, wire, "close")
            made.plane.context.drain()
            made.plane.context.abandoned.close()
            await asyncio.wait_for(made.plane.context.abandoned.settled(), 10)
            assert made.used.tokens > 0
        await wait_until(lambda: made.closes == [GOING_AWAY], what="the mirror's end")


@loop_test
async def test_the_readings_of_websockets_have_a_bound() -> None:
    async with lent() as made:
        made.answers = False
        for number in range(MOST_PER_KEY + 2):
            async with made.open() as wire:
                await wire.send(json.dumps(CREATE))
                await events(wire, "response.output_text.delta")
            await wait_until(lambda: len(made.plane.finished) == number + 1, what="its end")  # noqa: B023
        assert len(made.plane.context.abandoned) == MOST_PER_KEY
        made.plane.context.abandoned.close()


@pytest.mark.parametrize("models", ["", "gpt-4o"])
@pytest.mark.parametrize("path", ["responses", "realtime?model=gpt-4o"])
@loop_test
async def test_each_answer_asked_for_counts_by_the_rate_of_the_key(path: str, models: str) -> None:
    async with lent(endpoints=("responses", "realtime")) as made:
        made.grant(models=models, rate=0.001)  # one request, and one ahead of it
        async with made.open(path) as wire:
            await wire.send(json.dumps(CREATE))
            await events(wire, "response.completed")
            for _ in range(3):
                await wire.send(json.dumps(CREATE))
                told = (await events(wire, "error"))[-1]["error"]
                assert told["code"] == "rate_limit_exceeded"
                assert told["message"].startswith("This key is used for more than 0.001 requests")
            await (await wire.ping())
        assert len(made.seen) == 1


@loop_test
async def test_a_revoked_key_ends_its_socket_with_a_word() -> None:
    async with lent() as made:
        async with made.open() as wire:
            await wire.send(json.dumps(CREATE))
            await events(wire, "response.completed")
            made.plane.context.keys.remove(["k1"])
            made.plane.context.end_revoked()
            assert await refused(wire) == ("invalid_api_key", 1008)


@loop_test
async def test_a_worker_that_stops_says_so_when_no_answer_is_awaited() -> None:
    async with lent() as made:
        made.answers = False
        async with made.open() as idle, made.open() as busy:
            await busy.send(json.dumps(CREATE))
            await events(busy, "response.output_text.delta")
            made.plane.context.drain()
            assert await refused(idle) == ("no_mirror_available", GOING_AWAY)
            await busy.ping()
            for door in made.plane.context.connections.all():
                door.cut()
            assert await refused(busy) == ("no_mirror_available", GOING_AWAY)
        await asyncio.wait_for(made.plane.context.emptied.wait(), 10)


@loop_test
async def test_compression_is_not_offered_with_a_mirrors_key() -> None:
    async with lent() as made, made.open(compression="deflate") as wire:
        await wire.send(json.dumps(CREATE))
        await events(wire, "response.completed")
        assert "sec-websocket-extensions" not in made.heads[0]
        assert "Sec-WebSocket-Extensions" not in wire.response.headers


@loop_test
async def test_messages_in_fragments_with_pings_between_pass_as_they_are() -> None:
    async with lent() as made:
        made.grant(models="gpt-4o")
        async with made.open(max_size=None) as wire:
            text = json.dumps({**CREATE, "input": "z" * 300_000})

            async def pieces() -> AsyncIterator[str]:
                for at in range(0, len(text), 50_000):
                    yield text[at : at + 50_000]
                    await wire.ping()

            await wire.send(pieces())
            await events(wire, "response.completed")
        assert [len(message) for message in made.seen] == [len(text)]


@loop_test
async def test_realtime_names_its_model_in_the_handshake_and_in_events() -> None:
    async with lent() as made:
        made.grant(models="gpt-realtime")
        several = "?model=gpt-realtime&model=o3"
        for query, status in (("", 404), ("?model=o3", 404), (several, 400)):
            with pytest.raises(InvalidStatus) as caught:
                async with made.open(f"realtime{query}"):
                    pass
            assert caught.value.response.status_code == status
        for path in ("realtime/calls", "realtime/x?model=gpt-realtime"):
            with pytest.raises(InvalidStatus) as caught:
                async with made.open(path):
                    pass
            assert caught.value.response.status_code == 403
        whisper = {"audio": {"input": {"transcription": {"model": "whisper-1"}}}}
        sessions: list[dict[str, Any]] = [{"model": "o3"}, whisper]
        for session in sessions:
            async with made.open("realtime?model=gpt-realtime") as wire:
                await wire.send(json.dumps({"type": "input_audio_buffer.clear"}))
                await wire.send(json.dumps({"type": "session.update", "session": session}))
                assert await refused(wire) == ("model_not_found", 1008)
        assert {json.loads(seen)["type"] for seen in made.seen} == {"input_audio_buffer.clear"}


@loop_test
async def test_a_quota_does_not_open_realtime() -> None:
    async with lent() as made:
        made.grant(tokens=1000)
        with pytest.raises(InvalidStatus) as caught:
            async with made.open("realtime?model=gpt-realtime"):
                pass
        assert caught.value.response.status_code == 403
        assert json.loads(caught.value.response.body)["error"]["code"] == "endpoint_not_metered"


async def last_words(client: RawClient) -> bytes:
    """All that a raw client reads up to a close frame, which it answers, and then the end."""
    reader, got = FrameReader(masked=False, most=1 << 20), b""
    while True:
        piece = await asyncio.wait_for(client.reader.read(1 << 16), 10)
        assert piece, got
        got += piece
        if any(message.opcode == CLOSE for message in reader.feed(piece)):
            break
    await client.send(close_frame(1000, "", b"abcd"))
    assert await asyncio.wait_for(client.reader.read(), 10) == b""
    return got


SWITCH = (
    b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    b"Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n"
)
GARBAGE = {
    "a gigabyte": (b"\x82\x7f" + (1 << 30).to_bytes(8, "big"), TOO_BIG),
    "a masked frame": (b"\x81\x82abcdef", PROTOCOL_ERROR),
    "what is no frame": (b"HTTP/1.1 200 OK\r\n\r\n", PROTOCOL_ERROR),
    "compression": (b"\xc1\x02hi", PROTOCOL_ERROR),
}


def handshake(key: str) -> bytes:
    """Of a raw client."""
    return (
        b"GET /v1/responses HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
        b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
        b"Authorization: Bearer " + key.encode() + b"\r\n\r\n"
    )


def scripted(extra: bytes, frames: bytes) -> Callable[..., Awaitable[None]]:
    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_request(reader)
        writer.write(SWITCH + extra + b"\r\n" + frames)
        await reader.read()

    return script


@pytest.mark.parametrize("case", GARBAGE.values(), ids=GARBAGE)
@loop_test
async def test_invalid_frames_of_a_mirror_close_the_clients_websocket_with_a_code(
    case: tuple[bytes, int],
) -> None:
    frames, code = case
    good = b"\x81\x02{}"
    async with ScriptedMirror(scripted(b"", good + frames)) as mirror:
        async with DataPlane([mirror.table(api_key="sk-mirror")]) as plane:
            plane.context.keys.season("01" * 32)
            key = new_key("mg-")
            digest = plane.context.keys.digest(key.encode()).hex()
            plane.context.keys.extend([("k1", digest, None, 0, "", None, None)])
            client = await plane.send(handshake(key))
            assert (await client.head())[0] == 101
            told = await last_words(client)
            assert told.startswith(good)
            event, _, close = told.removeprefix(good).rpartition(b"\x88")
            assert b'"upstream_error"' in event
            assert close[1:3] == code.to_bytes(2, "big")
            await client.close()
            await wait_until(lambda: plane.finished, what="its end")
            assert [end.outcome for end in plane.finished] == ["interrupted"]


@loop_test
async def test_a_mirror_that_uses_an_extension_unasked_is_no_answer() -> None:
    extra = b"Sec-WebSocket-Extensions: permessage-deflate\r\n"
    async with ScriptedMirror(scripted(extra, b"")) as mirror:
        async with DataPlane([mirror.table(api_key="sk-mirror")]) as plane:
            plane.context.keys.season("01" * 32)
            key = new_key("mg-")
            digest = plane.context.keys.digest(key.encode()).hex()
            plane.context.keys.extend([("k1", digest, None, 0, "", None, None)])
            assert (await plane.ask(handshake(key))).status == 502


@loop_test
async def test_a_message_that_is_too_large_is_refused_before_it_is_kept() -> None:
    async with lent() as made:
        client = await made.plane.send(
            handshake(made.key) + b"\x81\xff" + (5 << 20).to_bytes(8, "big")
        )
        assert (await client.head())[0] == 101
        told = await last_words(client)
        assert b"malformed_request" in told
        assert b"\x88" in told
        assert TOO_BIG.to_bytes(2, "big") in told.rpartition(b"\x88")[2]
        await client.close()
        assert not made.seen


@loop_test
async def test_a_flood_of_pings_passes_and_keeps_nothing() -> None:
    async with lent() as made, made.open() as wire:
        for _ in range(2000):
            await wire.ping()
        await wire.send(json.dumps(CREATE))
        await events(wire, "response.completed")
        assert made.plane.context.memory.used == 0


@loop_test
async def test_frames_before_the_switch_are_judged_too() -> None:
    async with lent() as made:
        made.grant(models="gpt-4o")
        bad = frame(TEXT, json.dumps({**CREATE, "model": "o3"}).encode(), b"abcd")
        client = await made.plane.send(handshake(made.key) + bad)
        assert (await client.head())[0] == 101
        assert b"model_not_found" in await last_words(client)
        await client.close()
        assert not made.seen


@loop_test
async def test_a_client_that_does_not_answer_a_close_frame_is_left() -> None:
    clock = ManualClock(running=True)
    async with lent(wheel=clock.wheel) as made:
        made.grant(models="gpt-4o")
        bad = frame(TEXT, json.dumps({**CREATE, "model": "o3"}).encode(), b"abcd")
        client = await made.plane.send(handshake(made.key) + bad)
        assert (await client.head())[0] == 101
        assert b"\x88" in await client.reader.readuntil(b"\x88")
        clock.advance(2.1)
        await asyncio.wait_for(client.reader.read(), 10)
        await client.close()


@loop_test
async def test_a_callers_own_key_is_not_looked_into() -> None:
    async with ScriptedMirror(scripted(b"Sec-WebSocket-Extensions: x\r\n", b"\xff\xff")) as mirror:
        async with DataPlane([mirror.table()]) as plane:
            client = await plane.send(handshake("sk-own"))
            assert (await client.head())[0] == 101
            assert await client.reader.readexactly(2) == b"\xff\xff"
            await client.close()


@pytest.mark.parametrize("path", ["responses", "realtime?model=gpt-4o", "other"])
@pytest.mark.parametrize("quoted", ["sk-mirror", "sk-\\u006dirror", "c2stbWlycm9y"])
@loop_test
async def test_a_message_that_quotes_the_mirrors_key_does_not_pass(path: str, quoted: str) -> None:
    async with lent(endpoints=("responses", "realtime", "other")) as made:
        async with made.open(path) as wire:
            await wire.send("{}")
            made.quotes = f'{{"type": "note", "why": "your key is {quoted}."}}'
            await wire.send("{}")
            told = []
            with contextlib.suppress(ConnectionClosed):
                while True:
                    told.append(await asyncio.wait_for(wire.recv(), 10))
            assert not any(quoted[:5] in str(message) for message in told)
        await wait_until(lambda: made.closes, what="the mirror's end")
