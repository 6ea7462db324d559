"""Many clients on one worker: whatever a few addresses take, there is room for the others."""

from __future__ import annotations

import json

import pytest

from router.admission.keys import new_key
from router.exchange import Exchange
from router.pressure import Memory
from tests.support.road import (
    OK,
    RawClient,
    Road,
    ScriptedMirror,
    answering,
    post,
)
from tests.support.wait import wait_until_async as wait_until

MEMORY = 4 << 20
GREEDY = [f"127.0.1.{number}" for number in range(1, 13)]
OTHER = "127.0.2.1"
CHAT = json.dumps(
    {"model": "gpt-4o", "messages": [{"role": "user", "content": "hello " * 25_000}]}
).encode()


def _issue(road: Road) -> bytes:
    """A key that is for one model only, so that requests with it have to be read."""
    key, ring = new_key("mg-").encode(), road.plane.keys
    ring.season("01" * 32)
    ring.extend([("k1", ring.digest(key).hex(), None, 0.0, "gpt-4o", None, None)])
    return key


def _half(size: int, key: bytes = b"sk-x") -> bytes:
    """Half of a request whose body has so many bytes."""
    request = post(body=b"x" * size).replace(b"sk-x", key)
    return request[: -size // 2]


async def _hold_half_bodies(road: Road, key: bytes = b"sk-x") -> list[RawClient]:
    """A dozen addresses that together send more than there is memory for, and never the rest."""
    size = 200_000
    held = [await road.send(_half(size, key), source) for source in GREEDY for _ in range(10)]
    assert len(held) * size / 2 > MEMORY
    came = size // 2 - 200
    await wait_until(lambda: len(road.plane.exchanges) > 10)
    await wait_until(lambda: all(each.body.size > came for each in _exchanges(road)))
    return held


def _exchanges(road: Road) -> list[Exchange]:
    return [each for each in road.plane.exchanges if isinstance(each, Exchange)]


@pytest.mark.parametrize("read", [True, False], ids=["read for the key", "own key"])
async def test_half_sent_bodies_of_a_dozen_addresses_do_not_hinder_others(read: bool) -> None:
    async with ScriptedMirror(answering(OK)) as mirror:
        async with Road([mirror.table(api_key="sk-m")]) as road:
            road.plane.memory = memory = Memory(MEMORY)
            key = _issue(road) if read else b"sk-x"
            held = await _hold_half_bodies(road, key)
            asked = post(body=CHAT).replace(b"sk-x", key)
            for _ in range(3):
                assert (await road.ask(asked, OTHER)).status == 200
            for client in held:
                await client.close()
            await wait_until(lambda: memory.used == 0, what="all memory to be given back")


async def test_who_takes_more_than_its_share_is_told_so_where_its_request_must_be_read() -> None:
    async with ScriptedMirror(answering(OK)) as mirror:
        async with Road([mirror.table(api_key="sk-m")]) as road:
            road.plane.memory = Memory(MEMORY)
            key = _issue(road)
            held = [await road.send(_half(3 << 20, key), OTHER) for _ in range(3)]
            refused = await held[2].response()
            assert (refused.status, refused.error["code"]) == (503, "queue_full")
            assert refused["retry-after"] == "2"
            assert (await road.ask(post(body=CHAT).replace(b"sk-x", key), GREEDY[0])).status == 200


async def test_a_body_above_its_share_of_memory_is_streamed_with_the_callers_own_key() -> None:
    seen: list[tuple[bytes, bytes]] = []
    async with ScriptedMirror(answering(OK, seen)) as mirror, Road([mirror.table()]) as road:
        road.plane.memory = Memory(1 << 20)
        assert (await road.ask(post(body=b"x" * (3 << 20)))).status == 200
    assert len(seen[0][1]) == 3 << 20
