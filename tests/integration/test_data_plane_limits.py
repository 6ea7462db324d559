"""Limits and bans on the request's way: places are given back, bans end what is open."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import pytest

from router.admission.client_address import parse
from router.admission.credentials import new_key
from router.admission.limits import MOST_WAITING
from router.wire.chunked import chunk
from tests.testkit.data_plane import DataPlane
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

LIMITS = {"limits": {"connections": 2, "requests_per_second": 0}}
HERE = "127.0.0.1/32"


class Gate:
    """A mirror whose answers wait until they are let go."""

    def __init__(self) -> None:
        self.waiting = 0
        self.open = asyncio.Event()

    async def script(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            await read_request(reader)
            self.waiting += 1
            await self.open.wait()
            self.waiting -= 1
            writer.write(OK)
            await writer.drain()


async def _streaming(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Streams without end, to who posts."""
    head, _ = await read_request(reader)
    if head.startswith(b"GET"):
        writer.write(OK)
        return
    writer.write(
        b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
    )
    while True:
        writer.write(chunk(CONTENT))
        await writer.drain()
        await asyncio.sleep(0.01)


async def test_one_too_many_is_refused_with_the_next_step_before_its_body_is_read() -> None:
    gate = Gate()
    async with (
        ScriptedMirror(gate.script) as mirror,
        DataPlane([mirror.table()], more=LIMITS) as plane,
    ):
        first, second = await plane.send(get()), await plane.send(get())
        await wait_until(lambda: gate.waiting == 2)
        third = await plane.send(post(body=b"x" * 100).replace(b": 100", b": 100000"))
        refused = await third.response()
        assert refused.status == 429
        assert refused.error["code"] == "too_many_connections"
        assert refused.error["type"] == "rate_limit_error"
        assert "2 requests and streams" in refused.error["message"]
        assert refused["retry-after"] == "1"
        assert "x-should-retry" not in refused
        gate.open.set()
        assert [(await each.response()).status for each in (first, second)] == [200, 200]
        assert (await plane.ask(get())).status == 200


async def test_a_client_that_has_just_ended_a_request_is_not_refused_the_next() -> None:
    gate = Gate()
    async with (
        ScriptedMirror(gate.script) as mirror,
        DataPlane([mirror.table()], more=LIMITS) as plane,
    ):
        held = [await plane.send(get()) for _ in range(2)]
        await wait_until(lambda: gate.waiting == 2)
        for _ in range(5):
            next_one = await plane.send(post())  # which comes before the end of the other
            await wait_until(lambda: plane.context.limits.waiting == 1)
            await held.pop(0).close()
            await wait_until(
                lambda: plane.context.limits.held == 2 and not plane.context.limits.waiting
            )
            held.append(next_one)
        gate.open.set()
        assert [(await each.response()).status for each in held] == [200, 200]


async def test_queueing_behind_a_clients_own_requests_is_not_overhead() -> None:
    taken, may_answer = asyncio.Semaphore(0), asyncio.Semaphore(0)

    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            await read_request(reader)
            taken.release()
            await may_answer.acquire()
            writer.write(OK)
            await writer.drain()

    moment = [0.0]
    one = {"limits": {**LIMITS["limits"], "connections": 1}}
    async with (
        ScriptedMirror(script) as mirror,
        DataPlane([mirror.table()], more=one, clock=lambda: moment[0]) as plane,
    ):
        status = 0
        while status != 200:  # it is refused where 0.1 s are too short for the steps below
            first = await plane.send(get())
            await taken.acquire()
            next_one = await plane.send(post())
            await wait_until(lambda: plane.context.limits.waiting or len(plane.finished) % 2)
            moment[0] += 5.0
            may_answer.release()
            assert (await first.response()).status == 200
            may_answer.release()
            status = (await next_one.response()).status
            if status != 200:
                await may_answer.acquire()
        assert plane.totals.cells("mirrorgate_overhead_seconds")[-1] < 1.0
        assert plane.totals.cells("mirrorgate_time_to_first_byte_seconds", ("a", "chat"))[-1] < 1.0
        assert mirror.connections == 1, "its connection was ready, so that it counts"


async def test_a_flood_of_requests_too_many_is_not_put_off() -> None:
    gate = Gate()
    async with (
        ScriptedMirror(gate.script) as mirror,
        DataPlane([mirror.table()], more=LIMITS) as plane,
    ):
        _ = [await plane.send(get()) for _ in range(2)]
        await wait_until(lambda: gate.waiting == 2)
        for number in range(MOST_WAITING):
            other = parse(f"192.0.2.{number}")
            assert other is not None
            plane.context.limits.wait(other, 60.0, lambda: None)
        assert (await plane.ask(get())).status == 429


async def test_a_refused_request_without_a_body_keeps_its_connection() -> None:
    gate = Gate()
    async with (
        ScriptedMirror(gate.script) as mirror,
        DataPlane([mirror.table()], more=LIMITS) as plane,
    ):
        held = [await plane.send(get()) for _ in range(2)]
        await wait_until(lambda: gate.waiting == 2)
        client = await plane.send(get())
        assert (await client.response()).status == 429
        gate.open.set()
        for each in held:
            await each.response()
        await client.send(get())
        assert (await client.response()).status == 200


async def test_a_preflight_and_our_own_pages_are_not_counted() -> None:
    gate = Gate()
    async with (
        ScriptedMirror(gate.script) as mirror,
        DataPlane([mirror.table()], more=LIMITS) as plane,
    ):
        _ = [await plane.send(get()) for _ in range(2)]
        await wait_until(lambda: gate.waiting == 2)
        asked = b"OPTIONS /v1/models HTTP/1.1\r\nHost: test\r\nOrigin: https://app.example\r\n\r\n"
        assert (await plane.ask(asked)).status == 204
        assert (await plane.ask(get("/healthz"))).status == 200


async def test_pipelined_requests_take_a_place_when_it_is_their_turn() -> None:
    gate = Gate()
    async with (
        ScriptedMirror(gate.script) as mirror,
        DataPlane([mirror.table()], more=LIMITS) as plane,
    ):
        client = await plane.send(get() * 5)
        await wait_until(lambda: gate.waiting == 1)
        assert plane.context.limits.held == 1
        gate.open.set()
        assert [(await client.response()).status for _ in range(5)] == [200] * 5
        assert plane.context.limits.held == 0


@pytest.mark.parametrize("seed", range(3))
async def test_no_place_is_lost_whenever_clients_leave_and_whatever_mirrors_do(seed: int) -> None:
    rng = random.Random(seed)

    async def fickle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            await read_request(reader)
            await asyncio.sleep(rng.choice((0.0, 0.0, 0.005)))
            match rng.randrange(5):
                case 0:
                    return
                case 1:
                    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf")
                    return
                case 2:
                    writer.write(b"HTTP/1.1 999\r\n\r\n")
                case _:
                    writer.write(OK)

    requests = [
        get(),
        post(),
        post() * 3,
        post("/v1/files", b"x" * 100).replace(b": 100", b": 5000"),
        post(body=b"x" * 10).replace(b": 10", b": 50"),
        get("/v1/realtime", "Connection: upgrade", "Upgrade: websocket"),
        b"GET /v1/models HTTP/1.1\r\nbroken\r\n\r\n",
    ]

    async def client(plane: DataPlane) -> None:
        for _ in range(12):
            each = await plane.send(rng.choice(requests))
            with suppress(Exception):
                async with asyncio.timeout(rng.choice((0.0, 0.001, 0.02, 0.3))):
                    await each.response()
            await each.close()

    async with ScriptedMirror(fickle) as mirror, ScriptedMirror(fickle, name="b") as other:
        tables = [mirror.table(), other.table()]
        async with DataPlane(tables, more={"limits": {"connections": 7}}) as plane:
            await asyncio.gather(*(client(plane) for _ in range(12)))
            await wait_until(lambda: plane.context.limits.held == 0, what="all places to be free")


async def _is_cut(client: RawClient) -> bool:
    """Read until there is no more."""
    with suppress(ConnectionError):
        while await client.reader.read(1 << 16):
            pass
    return True


async def test_a_ban_cuts_what_runs_and_lets_the_idle_ask_why() -> None:
    async with ScriptedMirror(_streaming) as mirror, DataPlane([mirror.table()]) as plane:
        idle = await plane.send(get())
        assert (await idle.response()).status == 200
        running = await plane.send(post())
        assert (await running.head())[0] == 200
        plane.context.ban([(HERE, None, "b" * 12, "too greedy")])
        assert await _is_cut(running)
        await wait_until(lambda: plane.context.limits.held == 0)
        await idle.send(get())
        refused = await idle.response()
        assert (refused.status, refused.error["code"]) == (403, "client_banned")


async def test_a_client_that_waits_for_a_place_gets_the_reason_of_a_ban() -> None:
    async with (
        ScriptedMirror(_streaming) as mirror,
        DataPlane([mirror.table()], more=LIMITS) as plane,
    ):
        running = [await plane.send(post()) for _ in range(2)]
        assert [(await each.head())[0] for each in running] == [200, 200]
        waiting = await plane.send(get())
        await wait_until(lambda: plane.context.limits.waiting == 1)
        plane.context.ban([(HERE, None, "b" * 12, "too greedy")])
        assert (await waiting.response()).error["code"] == "client_banned"


async def test_a_ban_behind_a_proxy_hits_only_who_is_banned() -> None:
    async with (
        ScriptedMirror(_streaming) as mirror,
        DataPlane([mirror.table()], {"trusted_proxies": ["private"]}) as plane,
    ):
        bad, good = [
            await plane.send(post("/v1/chat/completions", b"{}", f"X-Forwarded-For: {address}"))
            for address in ("203.0.113.7", "203.0.113.8")
        ]
        assert [(await each.head())[0] for each in (bad, good)] == [200, 200]
        plane.context.ban([("203.0.113.7/32", None, "b" * 12, "too greedy")])
        assert await _is_cut(bad)
        assert await good.chunk()
        assert [end.client for end in plane.finished] == ["203.0.113.7"]


def _rules(plane: DataPlane) -> Iterator[str]:
    return (alert.rule for alert in plane.context.alerts.take())


async def test_only_violations_are_counted_towards_a_ban() -> None:
    more: dict[str, Any] = {"limits": {"connections": 0, "requests_per_second": 1, "burst": 3}}
    issued = "mg-" + "x" * 42 + "0" * 6
    async with (
        ScriptedMirror(answering(OK)) as mirror,
        DataPlane([mirror.table()], more=more) as plane,
    ):
        for request, noted in (
            (get(), []),
            (get("/v1/models").replace(b"Authorization: Bearer sk-x\r\n", b""), []),
            (get().replace(b"sk-x", issued.encode()), []),  # its checksum is wrong
            (get("/elsewhere"), []),
            (b"GET  / HTTP/1.1\r\n\r\n", ["malformed_request"]),
        ):
            plane.context.alerts.take()
            await plane.ask(request)
            assert list(_rules(plane)) == noted, request
        for _ in range(5):
            await plane.ask(get())
        assert "rate_limit_exceeded" in list(_rules(plane))


@pytest.mark.parametrize("by", ["ip", "key"])
async def test_an_address_is_not_blamed_for_a_key_that_is_used_too_much(by: str) -> None:
    more: dict[str, Any] = {
        "limits": {"connections": 0, "requests_per_second": 50, "by": by},
        "router": {"callers": ["issued"]},
    }
    script = answering(OK)
    async with ScriptedMirror(script) as mirror:
        async with DataPlane([mirror.table(api_key="sk-m")], more=more) as plane:
            key, ring = new_key("mg-"), plane.context.keys
            ring.season("01" * 32)
            ring.extend([("k1", ring.digest(key.encode()).hex(), None, 1.0, "", None, None)])
            request = get().replace(b"sk-x", key.encode())
            told = [(await plane.ask(request)).status for _ in range(6)]
            assert 429 in told
            assert list(_rules(plane)) == []


async def test_the_first_refused_user_agent_is_named_in_an_alert() -> None:
    more = {"limits": {"connections": 0, "requests_per_second": 1, "burst": 0}}
    async with (
        ScriptedMirror(answering(OK)) as mirror,
        DataPlane([mirror.table()], more=more) as plane,
    ):
        client: RawClient = await plane.connect()
        for agent in ("one/1", "two/2", "three/3"):
            await client.send(get("/v1/models", f"User-Agent: {agent}"))
            await client.response()
        alerts = plane.context.alerts.take()
        assert alerts[0].network == HERE
        assert alerts[0].user_agent == "two/2"
        assert sum(alert.refusals for alert in alerts) == 2


@pytest.mark.parametrize("value", ["keep-alive, {}", "close, {}", "{}", "x-other, {}"])
@pytest.mark.parametrize(
    ("field", "named"),
    [
        ("X-Forwarded-For", "203.0.113.7"),
        ("CF-Connecting-IP", "203.0.113.7"),
        ("X-Client", "203.0.113.7"),
        ("Forwarded", "for=203.0.113.7"),
    ],
)
async def test_a_client_cannot_have_its_own_address_removed(
    field: str, named: str, value: str
) -> None:
    settings = {"trusted_proxies": ["private"], "client_ip_header": field.lower()}
    async with (
        ScriptedMirror(answering(OK)) as mirror,
        DataPlane([mirror.table()], settings) as plane,
    ):
        fields = (f"{field}: {named}", f"Connection: {value.format(field.lower())}", "X-Other: 1")
        assert (await plane.ask(get("/v1/models", *fields))).status == 200
        assert [end.client for end in plane.finished] == ["203.0.113.7"]


async def test_no_field_that_decides_something_here_can_be_removed_by_connection() -> None:
    seen: list[tuple[bytes, bytes]] = []
    deciding = (
        "authorization, host, content-length, content-type, expect, origin, user-agent,"
        " x-mirrorgate-timeout, sec-websocket-protocol, sec-websocket-version, x-own"
    )
    fields = (
        f"Connection: keep-alive, {deciding}",
        "Expect: 100-continue",
        "Origin: https://page.test",
        "User-Agent: agent/1",
        "Sec-WebSocket-Version: 13",
        "X-Own: 1",
    )
    async with ScriptedMirror(answering(OK, seen)) as mirror, DataPlane([mirror.table()]) as plane:
        client = await plane.send(post("/v1/chat/completions", b"{}", *fields))
        assert (await client.head())[0] == 100
        answer = await client.response()
        assert (answer.status, "access-control-allow-origin" in answer) == (200, True)
    head = seen[0][0].lower()
    for kept in (b"bearer sk-x", b"application/json", b"agent/1", b"sec-websocket-version: 13"):
        assert kept in head
    assert b"x-own" not in head


async def test_a_key_that_connection_names_is_no_anonymous_call() -> None:
    settings = {"callers": ["own", "anonymous"], "cors_origins": []}
    seen: list[tuple[bytes, bytes]] = []
    async with ScriptedMirror(answering(OK, seen)) as mirror:
        async with DataPlane([mirror.table(api_key="sk-of-the-mirror")], settings) as plane:
            asked = get("/v1/models", "Connection: authorization")
            assert (await plane.ask(asked.replace(b": test", b": localhost"))).status == 200
    assert b"Bearer sk-x\r\n" in seen[0][0]
