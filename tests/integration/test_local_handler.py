"""Connections that aiohttp answers count like all others, have limits, and end with the worker."""

from __future__ import annotations

import asyncio

from router.admission.capacity import Connections
from router.forwarding.local_handler import HURRY, STAY
from tests.testkit.clock import ManualClock
from tests.testkit.data_plane import DataPlane
from tests.testkit.event_loops import loop_test
from tests.testkit.raw_http import RawClient, get
from tests.testkit.wait import wait_until_async as wait_until

UNFINISHED = get("/nowhere", "Content-Length: 100").replace(b"GET", b"POST")


async def _lingering(plane: DataPlane) -> RawClient:
    """A client that has its answer and does not finish what it sends."""
    client = await plane.send(UNFINISHED)
    answer = await client.response()
    assert (answer.status, answer.error["code"]) == (404, "unknown_url")
    return client


@loop_test
async def test_a_visit_counts_from_its_beginning_to_its_end() -> None:
    async with DataPlane([]) as plane:
        before = len(plane.context.wheel)
        client = await _lingering(plane)
        assert (len(plane.context.connections), len(plane.context.wheel)) == (1, before + 1)
        await client.close()
        await wait_until(lambda: not plane.context.connections, what="the books to be empty")
        assert len(plane.context.wheel) == before


@loop_test
async def test_a_visit_that_takes_too_long_is_cut() -> None:
    clock = ManualClock(running=True)
    async with DataPlane([], wheel=clock.wheel) as plane:
        client = await _lingering(plane)
        clock.advance(STAY - 1)
        assert plane.context.connections
        clock.advance(2)
        assert await client.at_end()
        await wait_until(lambda: not plane.context.connections, what="the books to be empty")


@loop_test
async def test_a_worker_that_stops_does_not_wait_for_visits() -> None:
    clock = ManualClock(running=True)
    async with DataPlane([], wheel=clock.wheel) as plane:
        client = await _lingering(plane)
        plane.context.drain()
        assert not plane.context.emptied.is_set()
        clock.advance(HURRY + 1)
        assert await client.at_end()
        await asyncio.wait_for(plane.context.emptied.wait(), 5)


@loop_test
async def test_visits_make_way_for_others_of_their_client() -> None:
    clock = ManualClock(running=True)
    async with DataPlane([], wheel=clock.wheel) as plane:
        plane.context.connections = Connections(1000, per_client=2)
        clients = [await _lingering(plane) for _ in range(3)]
        clock.advance(HURRY + 1)
        assert await clients[0].at_end()
        await wait_until(lambda: len(plane.context.connections) == 2, what="the oldest to be gone")


@loop_test
async def test_visits_are_bounded_by_what_the_worker_can_carry() -> None:
    accepts: list[bool] = []
    clock = ManualClock(running=True)
    async with DataPlane([], wheel=clock.wheel) as plane:
        plane.context.connections = Connections(3, accepts.append)
        clients = [await _lingering(plane) for _ in range(3)]
        assert await clients[0].at_end()
        await wait_until(lambda: accepts == [False, True], what="newcomers to be let in")
