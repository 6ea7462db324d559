"""Many clients on one worker: whatever a few addresses take, there is room for the others."""

from __future__ import annotations

import asyncio
import json

import pytest

from router.admission.capacity import Connections, Memory
from router.admission.credentials import new_key
from router.forwarding.client_connection import DRAIN_GRACE
from router.forwarding.exchange import Exchange
from tests.testkit.clock import ManualClock
from tests.testkit.data_plane import DataPlane
from tests.testkit.raw_http import OK, RawClient, ScriptedMirror, answering, get, post, read_request
from tests.testkit.wait import wait_until_async as wait_until

MEMORY = 4 << 20
GREEDY = [f"127.0.1.{number}" for number in range(1, 13)]
OTHER = "127.0.2.1"
CHAT = json.dumps(
    {"model": "gpt-4o", "messages": [{"role": "user", "content": "hello " * 25_000}]}
).encode()


def _issue(plane: DataPlane) -> bytes:
    """A key that is for one model only, so that requests with it have to be read."""
    key, ring = new_key("mg-").encode(), plane.context.keys
    ring.season("01" * 32)
    ring.extend([("k1", ring.digest(key).hex(), None, 0.0, "gpt-4o", None, None)])
    return key


def _half(size: int, key: bytes = b"sk-x") -> bytes:
    """Half of a request whose body has so many bytes."""
    request = post(body=b"x" * size).replace(b"sk-x", key)
    return request[: -size // 2]


async def _hold_half_bodies(plane: DataPlane, key: bytes = b"sk-x") -> list[RawClient]:
    """A dozen addresses that together send more than there is memory for, and never the rest."""
    size = 200_000
    held = [await plane.send(_half(size, key), source) for source in GREEDY for _ in range(10)]
    assert len(held) * size / 2 > MEMORY
    came = size // 2 - 200
    await wait_until(lambda: len(plane.context.exchanges) > 10)
    await wait_until(lambda: all(each.body.size > came for each in _exchanges(plane)))
    return held


def _exchanges(plane: DataPlane) -> list[Exchange]:
    return [each for each in plane.context.exchanges if isinstance(each, Exchange)]


@pytest.mark.parametrize("read", [True, False], ids=["read for the key", "own key"])
async def test_half_sent_bodies_of_a_dozen_addresses_do_not_hinder_others(read: bool) -> None:
    async with ScriptedMirror(answering(OK)) as mirror:
        async with DataPlane([mirror.table(api_key="sk-m")]) as plane:
            plane.context.memory = memory = Memory(MEMORY)
            key = _issue(plane) if read else b"sk-x"
            held = await _hold_half_bodies(plane, key)
            asked = post(body=CHAT).replace(b"sk-x", key)
            for _ in range(3):
                assert (await plane.ask(asked, OTHER)).status == 200
            for client in held:
                await client.close()
            await wait_until(lambda: memory.used == 0, what="all memory to be given back")


async def test_a_client_over_its_share_is_refused_where_its_request_must_be_read() -> None:
    async with ScriptedMirror(answering(OK)) as mirror:
        async with DataPlane([mirror.table(api_key="sk-m")]) as plane:
            plane.context.memory = Memory(MEMORY)
            key = _issue(plane)
            held = [await plane.send(_half(3 << 20, key), OTHER) for _ in range(3)]
            answers = [asyncio.ensure_future(each.response()) for each in held]
            done, others = await asyncio.wait(answers, return_when=asyncio.FIRST_COMPLETED)
            refused = done.pop().result()
            assert (refused.status, refused.error["code"]) == (503, "queue_full")
            assert refused["retry-after"] == "2"
            for each in others:
                each.cancel()
            assert (await plane.ask(post(body=CHAT).replace(b"sk-x", key), GREEDY[0])).status == 200


async def test_a_body_above_its_share_of_memory_is_streamed_with_the_callers_own_key() -> None:
    seen: list[tuple[bytes, bytes]] = []
    async with ScriptedMirror(answering(OK, seen)) as mirror, DataPlane([mirror.table()]) as plane:
        plane.context.memory = Memory(1 << 20)
        assert (await plane.ask(post(body=b"x" * (3 << 20)))).status == 200
    assert len(seen[0][1]) == 3 << 20


async def _half_heads(plane: DataPlane, number: int) -> list[RawClient]:
    """Connections of one address on which nothing but half of a head comes."""
    return [await plane.send(b"GET /v1/models HT", GREEDY[0]) for _ in range(number)]


async def test_half_heads_of_one_address_do_not_keep_others_out() -> None:
    accepts: list[bool] = []
    async with ScriptedMirror(answering(OK)) as mirror, DataPlane([mirror.table()]) as plane:
        crowd = plane.context.connections = Connections(20, accepts.append)
        others = [await plane.connect(OTHER) for _ in range(2)]
        await wait_until(lambda: len(crowd) == 2)
        greedy = await _half_heads(plane, 18)
        await wait_until(lambda: accepts == [False, True], what="newcomers to be let in")
        assert await greedy[0].at_end()
        for other in others:
            await other.send(post())
            assert (await other.response()).status == 200


async def test_an_address_with_too_many_connections_is_asked_to_end_the_oldest() -> None:
    clock = ManualClock(running=True)
    async with DataPlane([], wheel=clock.wheel) as plane:
        crowd = plane.context.connections = Connections(1000, per_client=5)
        greedy = await _half_heads(plane, 8)
        await wait_until(lambda: len(crowd) == 8)
        for _ in range(2):
            clock.advance(DRAIN_GRACE * 0.6)
        for client in greedy[:3]:
            assert (await client.response()).status == 408
        other = await plane.send(get("/healthz"), OTHER)
        assert (await other.response()).status == 200
        assert not any(client.reader.at_eof() for client in greedy[3:])


async def _never(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """A mirror that takes a request and does not answer."""
    await read_request(reader)
    await reader.read()


async def test_the_queue_for_full_mirrors_is_not_one_addresss_alone() -> None:
    queue = {"max_waiting": 6}
    async with ScriptedMirror(_never) as mirror:
        async with DataPlane([mirror.table(max_connections=1)], {"queue": queue}) as plane:
            greedy = [await plane.send(get(), GREEDY[0]) for _ in range(7)]
            await wait_until(lambda: len(plane.context.queue) == 6)
            other = await plane.send(get(), OTHER)
            refused = [asyncio.ensure_future(each.response()) for each in greedy]
            done, waiting = await asyncio.wait(refused, return_when=asyncio.FIRST_COMPLETED)
            assert [(each.result().status, each.result()["retry-after"]) for each in done] == [
                (503, "2")
            ]
            assert len(plane.context.queue) == 6
            assert (await plane.ask(get(), GREEDY[0])).error["code"] == "queue_full"
            assert not other.reader.at_eof()
            for each in waiting:
                each.cancel()
