"""Connections that aiohttp answers count like all others, have limits, and end with the worker."""

from __future__ import annotations

import asyncio

from router.forwarding.local_handler import HURRY, STAY
from tests.testkit.clock import Clock
from tests.testkit.road import RawClient, Road, get
from tests.testkit.scenes import scene
from tests.testkit.wait import wait_until_async as wait_until

UNFINISHED = get("/nowhere", "Content-Length: 100").replace(b"GET", b"POST")


async def _lingering(road: Road) -> RawClient:
    """A client that has its answer and does not finish what it sends."""
    client = await road.send(UNFINISHED)
    answer = await client.response()
    assert (answer.status, answer.error["code"]) == (404, "unknown_url")
    return client


@scene
async def test_a_visit_counts_from_its_beginning_to_its_end() -> None:
    async with Road([]) as road:
        before = len(road.context.wheel)
        client = await _lingering(road)
        assert (len(road.context.crowd), len(road.context.wheel)) == (1, before + 1)
        await client.close()
        await wait_until(lambda: not road.context.crowd, what="the books to be empty")
        assert len(road.context.wheel) == before


@scene
async def test_a_visit_that_takes_too_long_is_cut() -> None:
    clock = Clock()
    async with Road([], wheel=clock.wheel) as road:
        client = await _lingering(road)
        clock.pass_by(STAY - 1)
        assert road.context.crowd
        clock.pass_by(2)
        assert await client.at_end()
        await wait_until(lambda: not road.context.crowd, what="the books to be empty")


@scene
async def test_a_worker_that_stops_does_not_wait_for_visits() -> None:
    clock = Clock()
    async with Road([], wheel=clock.wheel) as road:
        client = await _lingering(road)
        road.context.drain()
        assert not road.context.emptied.is_set()
        clock.pass_by(HURRY + 1)
        assert await client.at_end()
        await asyncio.wait_for(road.context.emptied.wait(), 5)


@scene
async def test_visits_make_way_for_others_of_their_client() -> None:
    clock = Clock()
    async with Road([], wheel=clock.wheel) as road:
        road.context.crowd._per_client = 2
        clients = [await _lingering(road) for _ in range(3)]
        clock.pass_by(HURRY + 1)
        assert await clients[0].at_end()
        await wait_until(lambda: len(road.context.crowd) == 2, what="the oldest to be gone")


@scene
async def test_visits_are_bounded_by_what_the_worker_can_carry() -> None:
    accepts: list[bool] = []
    clock = Clock()
    async with Road([], wheel=clock.wheel) as road:
        road.context.crowd._limit, road.context.crowd._accept = 3, accepts.append
        clients = [await _lingering(road) for _ in range(3)]
        assert await clients[0].at_end()
        await wait_until(lambda: accepts == [False, True], what="newcomers to be let in")
