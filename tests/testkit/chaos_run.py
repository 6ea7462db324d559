"""One run of chaos in a loop of its own, and the count of what is left behind it."""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import random
import ssl
from collections import Counter
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

from tests.testkit.certs import Authority
from tests.testkit.chaos import TIMEOUTS, ChaoticClient, ChaoticMirror
from tests.testkit.loops import run_on
from tests.testkit.road import Road, get
from tests.testkit.sockets import open_files
from tests.testkit.wait import wait_until_async as wait_until

MODES = [("uvloop", False), ("uvloop", True), ("asyncio", False), ("asyncio", True)]
"""The event loop, and whether clients come over TLS."""
CONNECTIONS = 30
"""Requests that the one address of all clients may have open."""
_SETTLE = 30.0
"""Seconds within which everything must have ended: more than the longest limit of `TIMEOUTS` and
the time of a connection that aiohttp answers."""


class _Complaints(logging.Handler):
    """Keeps what is logged as an error."""

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.said: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.said.append(record.getMessage())


def play_chaos(
    loop_name: str, over_tls: bool, seconds: float, clients: int, directory: Path, seed: int = 1
) -> Counter[str]:
    """Play, assert that nothing is left and nothing was reported, and return what happened."""
    complaints = _Complaints()
    logging.getLogger().addHandler(complaints)
    try:
        seen = run_on(loop_name, _play(over_tls, seconds, clients, directory, seed))
    finally:
        logging.getLogger().removeHandler(complaints)
    assert complaints.said == []
    return seen


async def _play(
    over_tls: bool, seconds: float, clients: int, directory: Path, seed: int
) -> Counter[str]:
    loop, rng, seen = asyncio.get_running_loop(), random.Random(seed), Counter[str]()
    reported: list[dict[str, Any]] = []
    loop.set_exception_handler(lambda loop, context: reported.append(context))
    tls = trust = None
    if over_tls:
        authority = Authority(directory)
        tls, trust = authority.issue().server_context(), authority.client_context()
    mirrors = [ChaoticMirror(name, random.Random(rng.random())) for name in ("a", "b", "c")]
    async with AsyncExitStack() as stack:
        for mirror in mirrors:
            await stack.enter_async_context(mirror)
        road = await stack.enter_async_context(_road(mirrors, tls, trust))
        await _play_on(road, mirrors, seconds, clients, rng, seen)
        assert reported == []
    return seen


def _road(
    mirrors: list[ChaoticMirror], tls: ssl.SSLContext | None, trust: ssl.SSLContext | None
) -> Road:
    tables = [mirrors[0].table(max_connections=10), *(mirror.table() for mirror in mirrors[1:])]
    router = {"timeouts": TIMEOUTS, "queue": {"max_wait": "1s"}}
    limits = {"limits": {"connections": CONNECTIONS, "requests_per_second": 0}}
    return Road(tables, router, limits, tls=tls, trust=trust)


async def _play_on(
    road: Road,
    mirrors: list[ChaoticMirror],
    seconds: float,
    clients: int,
    rng: random.Random,
    seen: Counter[str],
) -> None:
    await (await road.send(get("/healthz"))).response()
    await wait_until(lambda: not road.context.crowd, 20, what="the first client to leave")
    wheel, files = len(road.context.wheel), open_files(os.getpid())
    tasks = len(asyncio.all_tasks())
    until = asyncio.get_running_loop().time() + seconds
    players = [ChaoticClient(n, road, random.Random(rng.random()), seen) for n in range(clients)]
    await asyncio.gather(*(player.play(until) for player in players))
    await wait_until(lambda: not any(_held(road).values()), _SETTLE, "everything to end")
    await wait_until(lambda: len(road.context.wheel) == wheel, _SETTLE, "no deadline to be left")
    await wait_until(
        lambda: all(mirror.closed == mirror.connections for mirror in mirrors),
        _SETTLE,
        "the mirrors to be left",
    )
    gc.collect()
    await wait_until(lambda: open_files(os.getpid()) <= files, 10, "descriptors to be closed")
    await wait_until(lambda: len(asyncio.all_tasks()) <= tasks, 10, "tasks to end")
    seen["requests"] = len(road.finished)


def _held(road: Road) -> dict[str, int]:
    context = road.context
    for upstream in context.upstreams:
        upstream.close_idle()  # a connection that waits has a place on a mirror with limits
    gates = [upstream.gate for upstream in context.upstreams if upstream.gate is not None]
    assert gates, "one mirror has limits"
    return {
        "in flight": road.in_flight,
        "exchanges": len(context.exchanges),
        "places": context.limits.held,
        "bytes": context.memory.used,
        "clients": len(context.crowd),
        "queued": len(context.line),
        "watched": len(context.disconnects),
    }
