"""Fifty thousand bans and a hundred readers of pages a second: nothing else is late for them.

Times without and with readers are taken in turn, so that a machine that slows down meanwhile slows
both. How late probes begin, and everything else on its event loop, control measures itself; a
message to all workers and their answers back are timed from outside.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import aiohttp
import pytest

from router.cli.client import Client
from tests.prove.conftest import Measure
from tests.scenarios.open_loop_load import percentile
from tests.testkit.http_client import ask
from tests.testkit.instance import Instance
from tests.testkit.large_stores import fill_bans
from tests.testkit.mirror.process import MirrorProcess
from tests.testkit.mirror.server import TEST_KEY
from tests.testkit.processes import cpu_of, python_environment

pytestmark = pytest.mark.prove

BANS, READERS, ROUNDS, SECONDS = 50_000, 100, 6, 10.0
REQUESTS, QUESTIONS = 50.0, 10.0
"""A second, through the router and to all workers."""
MIRROR_TAKES = 0.05
LATEST = 0.05
MOST_GROWTH = 1.10
DELAY, PROBES = "mirrorgate_control_loop_delay_seconds", "mirrorgate_probe_late_seconds"


@dataclass
class Seen:
    """Measurements, round by round or in all."""

    router: list[float] = field(default_factory=list)
    """The 99th percentile of each round."""
    feeds: list[float] = field(default_factory=list)
    """Times from a question to the answers of all workers."""
    delays: Counter[float] = field(default_factory=Counter)
    """Observations of the delay of control's event loop, by upper bound."""
    probes: Counter[float] = field(default_factory=Counter)
    """The same of how late probes began."""
    cpu: list[float] = field(default_factory=list)
    """Seconds of control's CPU a second."""


def observations(instance: Instance) -> dict[str, Counter[float]]:
    """Observations so far that were at most so late, by metric."""
    told: dict[str, Counter[float]] = {DELAY: Counter(), PROBES: Counter()}
    exposed = ask(f"{instance.admin_url}/metrics", key="").body.decode()
    for line in exposed.splitlines():
        name = line.partition("_bucket{")[0]
        if name in told:
            bound = line.partition('le="')[2].partition('"')[0]
            told[name][float(bound)] = int(float(line.rpartition(" ")[2]))
    return told


def within(seen: Counter[float], share: float) -> float:
    """The least bound that this share of the observations keeps."""
    whole = seen[float("inf")]
    return min(bound for bound, count in seen.items() if count >= share * whole)


async def ask_router(session: aiohttp.ClientSession, times: list[float]) -> None:
    began = time.monotonic()
    async with session.get("/v1/models") as response:
        await response.read()
        assert response.status == 200
    times.append(time.monotonic() - began)


async def ask_workers(instance: Instance, until: float, times: list[float]) -> None:
    client = Client(Path(instance.config["admin"]["socket"]))
    while time.monotonic() < until:
        began = time.monotonic()
        told = await asyncio.to_thread(client.call, "GET", "/api/admin/explain")
        times.append(time.monotonic() - began)
        assert not told["silent"]
        await asyncio.sleep(max(0.0, began + 1 / QUESTIONS - time.monotonic()))


async def one_round(instance: Instance, seen: Seen) -> None:
    """Requests and questions for a while."""
    before, control = observations(instance), instance.control().pid
    used, began = cpu_of(control), time.monotonic()
    times: list[float] = []
    headers = {
        "Authorization": f"Bearer {TEST_KEY}",
        "x-test-behaviour": json.dumps({"latency": MIRROR_TAKES}),
    }
    connector = aiohttp.TCPConnector(limit=0)
    async with (
        aiohttp.ClientSession(instance.base_url, connector=connector, headers=headers) as session,
        asyncio.TaskGroup() as tasks,
    ):
        tasks.create_task(ask_workers(instance, began + SECONDS, seen.feeds))
        for number in range(int(REQUESTS * SECONDS)):
            await asyncio.sleep(max(0.0, began + number / REQUESTS - time.monotonic()))
            tasks.create_task(ask_router(session, times))
    seen.cpu.append((cpu_of(control) - used) / (time.monotonic() - began))
    seen.router.append(percentile(times, 99))
    after = observations(instance)
    for name, into in ((DELAY, seen.delays), (PROBES, seen.probes)):
        into.update({bound: count - before[name][bound] for bound, count in after[name].items()})


async def readers(instance: Instance) -> asyncio.subprocess.Process:
    command = ("-m", "tests.prove.page_readers", instance.dashboard_url, READERS, SECONDS)
    return await asyncio.create_subprocess_exec(
        sys.executable,
        *map(str, command),
        env=python_environment(),
        stdout=asyncio.subprocess.PIPE,
    )


async def test_readers_of_pages_make_nothing_late(tmp_path: Path, measured: Measure) -> None:
    with MirrorProcess("a", tmp_path, keys=[TEST_KEY]) as mirror:
        table = {"id": "a", "url": mirror.base_url, "addresses": ["127.0.0.1"]}
        budget = {"requests_per_second": 10, "total_requests_per_second": 400}
        config = {
            "router": {"workers": 2},
            "dashboard": budget,
            "monitor": {"interval": "1s", "anchors": [], "sni": {"control": []}},
            "mirrors": [table],
        }
        instance = Instance(config, tmp_path)
        try:
            instance.start()
            instance.stop()
            fill_bans(instance.config["store"]["url"], BANS)
            instance.start()
            quiet, busy = Seen(), Seen()
            statuses: Counter[str] = Counter()
            health = 0.0
            await one_round(instance, Seen())  # to warm up
            for _ in range(ROUNDS):
                await one_round(instance, quiet)
                process = await readers(instance)
                await one_round(instance, busy)
                printed, _ = await process.communicate()
                told = json.loads(printed)
                statuses.update(told["statuses"])
                health = max(health, told["health"])
            instance.stop()
        finally:
            instance.close()
    tell(measured, quiet, busy)
    measured("answers of pages, by status", dict(statuses))
    measured("health check, worst p99 of a round, ms", health * 1e3)
    assert set(statuses) <= {"200", "404"}
    late = percentile(busy.feeds, 99) - percentile(quiet.feeds, 50)
    assert within(busy.delays, 0.99) <= LATEST
    assert within(busy.probes, 0.99) <= LATEST
    assert late < LATEST
    assert percentile(busy.router, 50) < MOST_GROWTH * percentile(quiet.router, 50)


def tell(measured: Measure, quiet: Seen, busy: Seen) -> None:
    """Into the table."""
    for name, seen in (("without readers", quiet), ("with readers", busy)):
        measured(f"control's delay {name}, p99 at most, ms", within(seen.delays, 0.99) * 1e3)
        measured(f"probes late {name}, p99 at most, ms", within(seen.probes, 0.99) * 1e3)
        for percent in (50, 99):
            feeds = percentile(seen.feeds, percent) * 1e3
            measured(f"workers asked and answered {name}, p{percent}, ms", feeds)
        measured(f"requests {name}, p99, median of rounds, ms", percentile(seen.router, 50) * 1e3)
        measured(f"control {name}, % of a core", percentile(seen.cpu, 50) * 100)
