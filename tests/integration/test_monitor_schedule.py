"""The schedule of probes, on a real loop."""

import asyncio
import random
import time
from collections.abc import AsyncIterator, Callable

import pytest

from monitor.engine.scheduler import SUSPECT_GAP, Probe, Schedule
from tests.testkit.wait import wait_until_async

FOREVER = 10_000.0
Start = Callable[..., Schedule]


@pytest.fixture
async def start() -> AsyncIterator[Start]:
    schedules: list[Schedule] = []

    def make(probe: Probe, interval: float = FOREVER, concurrency: int = 16) -> Schedule:
        schedule = Schedule(probe, interval, time.monotonic, random.Random(1), concurrency)
        schedules.append(schedule)
        return schedule

    yield make
    for schedule in schedules:
        await schedule.stop()


async def test_every_mirror_is_probed_at_once_and_then_again(start):
    seen: list[str] = []

    async def probe(mirror_id: str) -> bool:
        seen.append(mirror_id)
        return False

    schedule = start(probe, interval=0.02)
    for mirror_id in "abc":
        schedule.add(mirror_id)
    await wait_until_async(lambda: len(seen) >= 3)
    assert sorted(seen[:3]) == ["a", "b", "c"]
    await wait_until_async(lambda: all(seen.count(i) >= 4 for i in "abc"))


async def test_doubt_brings_the_next_probe_forward(start):
    times: list[float] = []

    async def probe(_: str) -> bool:
        times.append(time.monotonic())
        return len(times) < 3

    start(probe, interval=5.0).add("a")
    await wait_until_async(lambda: len(times) == 3)
    assert 2.0 <= times[2] - times[0] < 5 * 0.2 + 5 * 0.8


async def test_suspicion_probes_at_once_but_at_most_once_a_second(start):
    times: list[float] = []

    async def probe(_: str) -> bool:
        times.append(time.monotonic())
        return False

    schedule = start(probe)
    schedule.add("a")
    await wait_until_async(lambda: len(times) == 1)
    for _ in range(100):
        schedule.suspect("a")
        await asyncio.sleep(0)
    await wait_until_async(lambda: len(times) == 2)
    assert times[1] - times[0] >= SUSPECT_GAP
    schedule.suspect("unknown")


async def test_a_probe_never_overlaps_itself(start):
    running, most, count = 0, 0, 0

    async def probe(_: str) -> bool:
        nonlocal running, most, count
        running += 1
        most = max(most, running)
        await asyncio.sleep(0.02)
        running -= 1
        count += 1
        return True

    schedule = start(probe, interval=0.01)
    schedule.add("a")
    schedule.add("a")
    await wait_until_async(lambda: schedule.suspect("a") or count >= 5)
    assert most == 1


async def test_only_so_many_probes_run_at_once(start):
    running, most, seen = 0, 0, set[str]()

    async def probe(mirror_id: str) -> bool:
        nonlocal running, most
        running += 1
        most = max(most, running)
        await asyncio.sleep(0)
        running -= 1
        seen.add(mirror_id)
        return False

    schedule = start(probe, concurrency=3)
    for number in range(20):
        schedule.add(str(number))
    await wait_until_async(lambda: len(seen) == 20)
    assert most == 3


async def test_the_probe_of_a_removed_mirror_has_no_effect_any_more(start):
    entered, release, ended = asyncio.Event(), asyncio.Event(), []

    async def probe(mirror_id: str) -> bool:
        entered.set()
        await release.wait()
        ended.append(mirror_id)
        return False

    schedule = start(probe)
    schedule.add("a")
    await entered.wait()
    release.set()
    schedule.remove("a")
    await schedule.stop()
    assert ended == []


async def test_an_unforeseen_error_does_not_end_the_probing(start, caplog):
    count = 0

    async def probe(_: str) -> bool:
        nonlocal count
        count += 1
        raise RuntimeError("bug")

    start(probe, interval=0.01).add("a")
    await wait_until_async(lambda: count >= 3)
    assert "probe: unexpected error with a" in caplog.text


async def test_a_shorter_interval_holds_for_those_who_wait(start):
    count = 0

    async def probe(_: str) -> bool:
        nonlocal count
        count += 1
        return False

    schedule = start(probe)
    schedule.add("a")
    await wait_until_async(lambda: count == 1)
    schedule.set_interval(0.01)
    await wait_until_async(lambda: count >= 3)
