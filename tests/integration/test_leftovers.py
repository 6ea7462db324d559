"""Connections that have ended leave no cycles behind: these would stay for very long, because the
workers let Python's collector look at old objects rarely (`GC_THRESHOLDS`).
"""

from __future__ import annotations

import gc
from collections import Counter

from tests.testkit.points import ON_A_MIRROR
from tests.testkit.road import OK, Road, ScriptedMirror, answering, get, post
from tests.testkit.scenes import scene
from tests.testkit.wait import wait_until_async as wait_until

_SWITCH = next(point for point in ON_A_MIRROR if point.name == "after a switch")


async def _some(road: Road, requests: tuple[bytes, ...]) -> None:
    for request in requests * 5:
        client = await road.send(request)
        assert (await client.head())[0] in (101, 200, 404)
        await client.close()
    await wait_until(lambda: not road.context.crowd and road.in_flight == 0, what="their ends")
    for upstream in road.context.upstreams:
        upstream.close_idle()
    road.finished.clear()
    road._clients.clear()


def _of_ours() -> Counter[str]:
    """Garbage of the router's own that only the collector finds."""
    gc.set_debug(gc.DEBUG_SAVEALL)
    try:
        gc.collect()
    finally:
        gc.set_debug(0)
    kinds = [type(found) for found in gc.garbage]
    gc.garbage.clear()
    return Counter(k.__name__ for k in kinds if k.__module__.startswith(("router", "httptools")))


@scene
async def test_connections_that_have_ended_leave_no_cycles() -> None:
    async with ScriptedMirror(answering(OK)) as mirror, Road([mirror.table()]) as road:
        requests = (get(), post(), post("/v1/files"), get("/nowhere"))
        await _some(road, requests)
        gc.collect()
        gc.disable()
        try:
            await _some(road, requests)
            await wait_until(lambda: mirror.closed == mirror.connections, what="mirrors to be left")
            assert not _of_ours()
        finally:
            gc.enable()


@scene
async def test_tunnels_that_have_ended_leave_no_cycles() -> None:
    async with ScriptedMirror(_SWITCH.script) as mirror, Road([mirror.table()]) as road:
        await _some(road, (_SWITCH.sent,))
        gc.collect()
        gc.disable()
        try:
            await _some(road, (_SWITCH.sent,))
            await wait_until(lambda: mirror.closed == mirror.connections, what="mirrors to be left")
            assert not _of_ours()
        finally:
            gc.enable()
