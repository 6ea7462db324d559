"""Fifty requests a second for an hour, one in ten of them on a mirror that fails it: nothing grows.

`MIRRORGATE_SOAK` sets another time in seconds; `make prove-compiled` plays ten minutes of it on the
compiled form.
"""

from __future__ import annotations

import asyncio
import json
import os
import statistics
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path

import aiohttp
import pytest

from monitor.common import compiled
from tests.prove.conftest import Measure
from tests.testkit.instance import Instance
from tests.testkit.instance_output import metric
from tests.testkit.mirror.behaviour import Behaviour
from tests.testkit.mirror.server import TEST_KEY, PretendMirror
from tests.testkit.processes import open_files, resident_bytes
from tests.testkit.wait import wait_until_async

pytestmark = pytest.mark.prove

SECONDS = float(os.environ.get("MIRRORGATE_SOAK", "3600"))
RATE = 50.0
"""Requests a second."""
LOOK_EVERY = SECONDS / 120
WARM = 0.2
"""Share of the time after which caches and pools have their size."""
MOST_GROWTH = 6 << 20
"""Bytes that a process may hold at the end beyond what it held when it was warm: an allocator's
noise, and history of the last hour that control shows."""
CHAT = "/v1/chat/completions"
FAULTS = (
    Behaviour(status=500, every=10, only=CHAT),
    Behaviour(cut_after=0, every=10, only=CHAT),
    Behaviour(latency=1.5, every=10, only=CHAT),
)
TROUBLES = (
    "Traceback",
    "TypeError",
    "unexpected error",
    "never retrieved",
    "never awaited",
    "unclosed",
)
ENOUGH = 0.999
"""Share of requests that are answered whole: what a mirror may have done already is repeated once,
and now and then the second mirror fails it too."""
CLEAN = ("mirrorgate_task_crashes_total", "mirrorgate_unhandled_errors_total")


@dataclass
class Look:
    """Resident bytes and descriptors of each process at one moment."""

    at: float
    memory: dict[str, int] = field(default_factory=dict)
    files: dict[str, int] = field(default_factory=dict)
    tasks: float = 0.0


def look(instance: Instance, began: float) -> Look:
    processes = {"control": instance.control().pid, "supervisor": instance.pid}
    processes |= {f"worker {n}": each.pid for n, each in enumerate(instance.workers())}
    return Look(
        time.monotonic() - began,
        {name: resident_bytes(pid) for name, pid in processes.items()},
        {name: open_files(pid) for name, pid in processes.items()},
        metric(instance, "mirrorgate_event_loop_tasks"),
    )


async def one(session: aiohttp.ClientSession, url: str, number: int, ends: Counter[str]) -> None:
    body = {
        "model": "gpt-4o",
        "stream": number % 2 == 0,
        "messages": [{"role": "user", "content": f"request {number}"}],
    }
    try:
        async with session.post(f"{url}{CHAT.removeprefix('/v1')}", json=body) as answer:
            text = await answer.text()
            whole = "[DONE]" in text if body["stream"] else "choices" in json.loads(text)
            ends["whole" if answer.status == 200 and whole else f"{answer.status} {text[:80]}"] += 1
    except (aiohttp.ClientError, TimeoutError, ValueError) as error:
        ends[type(error).__name__] += 1


@pytest.mark.timeout(SECONDS + 600)
async def test_an_hour_under_load_with_faults_leaves_nothing_behind(
    tmp_path: Path, measured: Measure
):
    async with AsyncExitStack() as stack:
        mirrors = [
            await stack.enter_async_context(PretendMirror(name, keys=[TEST_KEY], behaviour=fault))
            for name, fault in zip(("alpha", "beta", "gamma"), FAULTS, strict=True)
        ]
        config = {
            "router": {"workers": 2},
            "limits": {"allow": ["127.0.0.1"]},
            "monitor": {"interval": 5},
            "mirrors": [{"id": m.name, "url": m.base_url, "allow_private": True} for m in mirrors],
        }
        instance = Instance(config, tmp_path)
        await asyncio.to_thread(instance.__enter__)
        stack.push_async_callback(asyncio.to_thread, instance.__exit__)
        ends: Counter[str] = Counter()
        looks = await _under_load(instance, ends)
        await wait_until_async(
            lambda: metric(instance, "mirrorgate_requests_in_flight") == 0, 60, "all to have ended"
        )
        logs = instance.logs()
        measured("form", compiled.form.name)
        measured("requests", ends.total())
        measured("of them answered whole", ends["whole"])
        measured(
            "failures that clients did not notice",
            metric(instance, "mirrorgate_requests_rescued_total"),
        )
        _report(looks, measured)
        assert [trouble for trouble in TROUBLES if trouble in logs] == []
        assert [name for name in CLEAN if metric(instance, name)] == []
        assert {end[:3] for end in ends} <= {"who", "500", "502"}, ends
        assert ends["whole"] >= ENOUGH * ends.total(), ends
        _nothing_grew(looks)


async def _under_load(instance: Instance, ends: Counter[str]) -> list[Look]:
    looks: list[Look] = []
    headers = {"authorization": f"Bearer {TEST_KEY}"}
    began, number = time.monotonic(), 0
    connector = aiohttp.TCPConnector(limit=200)
    async with (
        aiohttp.ClientSession(connector=connector, headers=headers) as session,
        asyncio.TaskGroup() as requests,
    ):
        while (now := time.monotonic() - began) < SECONDS:
            while number < now * RATE:
                number += 1
                requests.create_task(one(session, instance.base_url, number, ends))
            if now >= len(looks) * LOOK_EVERY:
                looks.append(await asyncio.to_thread(look, instance, began))
            await asyncio.sleep(0.5 / RATE)
    looks.append(await asyncio.to_thread(look, instance, began))
    return looks


def _warm(looks: Sequence[Look]) -> list[Look]:
    return [each for each in looks if each.at >= SECONDS * WARM]


def _report(looks: Sequence[Look], measured: Measure) -> None:
    warm = _warm(looks)
    for name in looks[0].memory:
        held = [each.memory[name] / 2**20 for each in warm]
        files = [each.files[name] for each in warm]
        measured(
            f"{name}: MiB when warm, at most, at the end; descriptors at most",
            f"{held[0]:.1f}, {max(held):.1f}, {held[-1]:.1f}; {max(files)}",
        )
    measured("tasks when warm, at most", f"{warm[0].tasks:.0f}, {max(w.tasks for w in warm):.0f}")


def _nothing_grew(looks: Sequence[Look]) -> None:
    """Memory, and what is held when least is: a busy machine has more requests open, but only a
    leak leaves more when they have ended."""
    warm = _warm(looks)
    third = max(1, len(warm) // 3)
    first, last = warm[:third], warm[-third:]
    for name in looks[0].memory:
        held = [statistics.median(each.memory[name] for each in some) for some in (first, last)]
        assert held[1] - held[0] < MOST_GROWTH, (name, held)
        files = [min(each.files[name] for each in some) for some in (first, last)]
        assert files[1] <= files[0] + 10, (name, files)
    tasks = [min(each.tasks for each in some) for some in (first, last)]
    assert tasks[1] <= tasks[0] + 10, tasks
