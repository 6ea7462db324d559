"""A thousand reloads under load, each of which adds or removes a mirror: nothing lost or grown."""

import copy
import re
import time
import urllib.request
from dataclasses import dataclass

import pytest

from tests.prove.conftest import Measure
from tests.testkit.certs import Authority
from tests.testkit.closed_loop_load import SteadyLoad
from tests.testkit.farm import Farm
from tests.testkit.instance import Config, Instance
from tests.testkit.processes import open_files, resident_bytes
from tests.testkit.wait import wait_until

pytestmark = pytest.mark.prove

RELOADS = 1000
WARM_UP = 200
"""After as many the interpreters and allocators of all processes have what they need."""
BETWEEN = 4
"""Requests that end between two reloads."""
MIB = 1 << 20
_TASKS = re.compile(r'^mirrorgate_event_loop_tasks\{process="(\w+)"\} (\d+)', re.MULTILINE)


@dataclass(frozen=True)
class Use:
    """Resources that a process uses."""

    role: str
    resident: int
    files: int


def used(instance: Instance) -> dict[int, Use]:
    return {
        child.pid: Use(child.role, resident_bytes(child.pid), open_files(child.pid))
        for child in instance.children()
    }


def tasks(instance: Instance) -> dict[str, int]:
    """Tasks of the event loops, by kind of process."""
    with urllib.request.urlopen(f"{instance.admin_url}/metrics", timeout=5) as answer:
        found = _TASKS.findall(answer.read().decode())
    return {process: int(count) for process, count in found}


def series(instance: Instance) -> set[str]:
    """Names and labels of all series."""
    with urllib.request.urlopen(f"{instance.admin_url}/metrics", timeout=5) as answer:
        lines = answer.read().decode().splitlines()
    return {line.rpartition(" ")[0] for line in lines if not line.startswith("#")}


def of_mirrors(all_series: set[str], mirrors: set[str]) -> set[str]:
    """Series of these mirrors."""
    return {each for each in all_series if any(f'mirror="{m}"' in each for m in mirrors)}


def variant(config: Config, number: int) -> Config:
    """The configuration with one of its mirrors left out, and every other time with all of them."""
    new = copy.deepcopy(config)
    if number % 2 == 0:
        del new["mirrors"][number // 2 % len(new["mirrors"])]
    return new


def reloads(farm: Farm, load: SteadyLoad, count: int) -> None:
    for number in range(count):
        farm.instance.reload_at_once(variant(farm.config(), number))
        load.more(BETWEEN)


def test_neither_memory_nor_descriptors_nor_tasks_grow_with_reloads(
    authority: Authority, tmp_path_factory: pytest.TempPathFactory, measured: Measure
):
    with Farm(tmp_path_factory.mktemp("reloads"), authority) as farm:
        instance = farm.instance
        with SteadyLoad(instance.base_url) as load:
            reloads(farm, load, WARM_UP)
            before, tasks_before = used(instance), tasks(instance)
            farm.instance.reload_at_once(farm.config())
            load.more(60)
            wait_until(lambda: _reported(instance, farm), 30, "series of all mirrors")
            series_before = series(instance)
            began, sent = time.monotonic(), len(load.results)
            reloads(farm, load, RELOADS)
            seconds, sent = time.monotonic() - began, len(load.results) - sent
        wait_until(lambda: _settled(instance, before, tasks_before), 60, "connections to be closed")
        after, tasks_after = used(instance), tasks(instance)
        series_after = series(instance)
        gone = {mirror["id"] for mirror in farm.config()["mirrors"]} - {"alpha"}
        left = [m for m in farm.config()["mirrors"] if m["id"] == "alpha"]
        instance.reload_at_once({**farm.config(), "mirrors": left})
        wait_until(lambda: not of_mirrors(series(instance), gone), 30, "their series to go")
    measured("series before and after", (len(series_before), len(series_after)))
    measured("reloads, each adding or removing a mirror", RELOADS)
    measured("seconds that they took", seconds)
    measured("requests during them", sent)
    measured("requests lost", len(load.failures))
    for process in ("worker", "control"):
        both = (tasks_before[process], tasks_after[process])
        measured(f"tasks of {process} processes before and after", both)
    assert load.failures == []
    assert len(series_after) <= len(series_before)
    assert before.keys() == after.keys()
    for pid, use in before.items():
        growth = (after[pid].resident - use.resident) / MIB
        measured(f"MiB of {use.role} before, and by how much it grew", _pair(use, growth))
        measured(f"descriptors of {use.role} before and after", (use.files, after[pid].files))
    assert all((after[pid].resident - use.resident) / MIB < 5 for pid, use in before.items())


def _reported(instance: Instance, farm: Farm) -> bool:
    names = [mirror["id"] for mirror in farm.config()["mirrors"]]
    name = "mirrorgate_request_duration_seconds_count"
    return all(any(name in s for s in of_mirrors(series(instance), {each})) for each in names)


def _pair(use: Use, growth: float) -> str:
    return f"{use.resident / MIB:.1f} {growth:+.1f}"


def _settled(instance: Instance, before: dict[int, Use], tasks_before: dict[str, int]) -> bool:
    now, tasks_now = used(instance), tasks(instance)
    files = all(now[pid].files <= use.files for pid, use in before.items())
    return files and all(tasks_now[process] <= n for process, n in tasks_before.items())
