"""Connections that have ended leave no cycles behind: these would stay for very long, because the
workers let Python's collector look at old objects rarely (`GC_THRESHOLDS`).
"""

from __future__ import annotations

import gc
from collections import Counter

from tests.cases.vanishing_points import ON_A_MIRROR
from tests.testkit.data_plane import DataPlane
from tests.testkit.event_loops import loop_test
from tests.testkit.raw_http import OK, ScriptedMirror, answering, get, post
from tests.testkit.wait import wait_until_async as wait_until

_SWITCH = next(point for point in ON_A_MIRROR if point.name == "after a switch")


async def _some(plane: DataPlane, requests: tuple[bytes, ...]) -> None:
    for request in requests * 5:
        client = await plane.send(request)
        assert (await client.head())[0] in (101, 200, 404)
        await client.close()
    await wait_until(
        lambda: not plane.context.connections and plane.in_flight == 0, what="their ends"
    )
    for upstream in plane.context.upstreams:
        upstream.close_idle()
    plane.finished.clear()
    plane.clients.clear()


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


@loop_test
async def test_connections_that_have_ended_leave_no_cycles() -> None:
    async with ScriptedMirror(answering(OK)) as mirror, DataPlane([mirror.table()]) as plane:
        requests = (get(), post(), post("/v1/files"), get("/nowhere"))
        await _some(plane, requests)
        gc.collect()
        gc.disable()
        try:
            await _some(plane, requests)
            await wait_until(lambda: mirror.closed == mirror.connections, what="mirrors to be left")
            assert not _of_ours()
        finally:
            gc.enable()


@loop_test
async def test_tunnels_that_have_ended_leave_no_cycles() -> None:
    async with ScriptedMirror(_SWITCH.script) as mirror, DataPlane([mirror.table()]) as plane:
        await _some(plane, (_SWITCH.sent,))
        gc.collect()
        gc.disable()
        try:
            await _some(plane, (_SWITCH.sent,))
            await wait_until(lambda: mirror.closed == mirror.connections, what="mirrors to be left")
            assert not _of_ours()
        finally:
            gc.enable()
