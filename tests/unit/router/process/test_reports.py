"""Reports of a worker to control."""

from __future__ import annotations

import asyncio
from functools import partial
from types import SimpleNamespace
from typing import Any

import pytest

from monitor.common.config import MirrorConfig
from monitor.common.metric_registry import MergedMetrics, MetricRegistry
from monitor.common.process_metrics import FAMILIES as PROCESS_FAMILIES
from monitor.common.tasks import CRASHES, Tasks
from monitor.common.tasks import FAMILIES as TASK_FAMILIES
from monitor.health.snapshot import HealthSnapshot
from router.control.page_sources import PageSources
from router.forwarding.config import WorkerConfig
from router.forwarding.context import WorkerContext
from router.forwarding.metrics import FAMILIES
from router.metering.batches import UsageBatches
from router.metering.usage import Basis, Usage
from router.process.reports import Reports
from tests.testkit.wait import wait_until_async


def _context(totals: MetricRegistry, *names: str) -> WorkerContext:
    mirrors = tuple(MirrorConfig(id=name, url=f"http://{name}.test") for name in names)

    def nobody() -> Any:
        raise AssertionError("nothing is handed over")

    return WorkerContext(WorkerConfig(mirrors=mirrors), totals, hand_over=nobody)


def _mirrors_told(told: list[dict[str, Any]]) -> set[str]:
    return {
        labels[0] for name, labels, _ in told[-1]["rows"] if name.endswith("requests_in_flight")
    }


def test_the_series_of_a_removed_mirror_end_and_come_back_with_it() -> None:
    told: list[dict[str, Any]] = []
    totals = MetricRegistry(FAMILIES)
    reports = Reports("0-1-2", totals, UsageBatches(), told.append)
    context = _context(totals, "a", "b")
    reports.send_totals(context)
    assert _mirrors_told(told) == {"a", "b"}
    reports.removed({"b"}, 60.0, {"a"})
    context.configure(_context(totals, "a").config, HealthSnapshot())
    totals.add("mirrorgate_attempts", ("b", "answered"))  # a request that was still running
    reports.send_totals(context)
    assert _mirrors_told(told) == {"a"}
    assert totals.get("mirrorgate_attempts", ("b", "answered")) == 0
    reports.removed((), 60.0, {"a", "b"})
    context.configure(_context(totals, "a", "b").config, HealthSnapshot())
    reports.send_totals(context)
    assert _mirrors_told(told) == {"a", "b"}


def test_the_age_of_the_snapshot_is_told_once_there_is_one() -> None:
    told: list[dict[str, Any]] = []
    totals = MetricRegistry(FAMILIES)
    context = _context(totals, "a")
    reports = Reports("0-1-2", totals, UsageBatches(), told.append)
    reports.send_totals(context)
    assert "mirrorgate_snapshot_age_seconds" not in {name for name, _, _ in told[-1]["rows"]}
    context.wall = lambda: 107.0
    context.learn(HealthSnapshot(1, 100.0))
    reports.send_totals(context)
    assert ["mirrorgate_snapshot_age_seconds", [], 7.0] in told[-1]["rows"]


async def test_control_hears_once_of_a_mirror_that_refuses_its_own_key() -> None:
    told: list[dict[str, Any]] = []
    totals = MetricRegistry((*FAMILIES, *PROCESS_FAMILIES, *TASK_FAMILIES))
    reports, context = (
        Reports("0-1-2", totals, UsageBatches(), told.append),
        _context(totals, "a", "b"),
    )
    for mirror in ("b", "a", "b"):
        reports.refusal(mirror)
    tasks = Tasks(totals, "worker")
    tasks.service("reports", partial(reports.run, context))
    await wait_until_async(lambda: any(message["type"] == "totals" for message in told))
    await tasks.stop()
    failures = [message for message in told if message["type"] == "failures"]
    assert failures == [{"type": "failures", "mirrors": [], "keys": ["a", "b"], "paths": []}]


def _used(uses: UsageBatches) -> None:
    uses.add("k1", "2026-11-21", "gpt-4o", Basis.usage, Usage(input=3), 5)


async def test_the_last_uses_are_said_before_a_worker_ends_and_that_it_ends() -> None:
    told: list[dict[str, Any]] = []
    uses = UsageBatches()

    def tell(message: dict[str, Any]) -> None:
        told.append(message)
        if "seq" in message:  # control writes it at once
            uses.acknowledged(message["seq"])

    _used(uses)
    await Reports("0-1-2", MetricRegistry(FAMILIES), uses, tell).settle_uses()
    assert [message["process"] for message in told] == ["0-1-2"] * 2
    assert [message.get("seq") for message in told] == [1, None]
    assert told[-1]["ends"]


async def test_a_worker_whose_last_uses_nobody_writes_does_not_say_that_all_is_well(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    told: list[dict[str, Any]] = []
    uses = UsageBatches()
    _used(uses)
    assert uses.due(0.0) is not None  # under way
    _used(uses)
    monkeypatch.setattr("router.process.reports._SETTLE_WITHIN", 0.05)
    await Reports("0-1-2", MetricRegistry(FAMILIES), uses, told.append).settle_uses()
    assert [message["type"] for message in told] == ["use"]
    assert "ends" not in told[0]
    assert uses
    assert "2 usage records of issued keys may be missing" in caplog.text


async def test_a_worker_whose_report_crashes_once_reports_on() -> None:
    told: list[dict[str, Any]] = []
    totals = MetricRegistry((*FAMILIES, *PROCESS_FAMILIES, *TASK_FAMILIES))
    reports, context = Reports("0-1-2", totals, UsageBatches(), told.append), _context(totals, "a")
    faults = [RuntimeError("a fault")]

    def wall() -> float:
        if faults:
            raise faults.pop()
        return 0.0

    context.wall = wall
    tasks = Tasks(totals, "worker")
    task = tasks.service("reports", partial(reports.run, context))
    crash = [CRASHES.name, ["reports"], 1.0]
    await wait_until_async(lambda: told and crash in told[-1].get("rows", ()))
    assert not task.done()
    await tasks.stop()


async def test_the_queue_and_how_long_it_takes_reach_the_status_page() -> None:
    told: list[dict[str, Any]] = []
    merged = MergedMetrics(FAMILIES)
    clock = asyncio.get_running_loop().time
    for worker, waited in (("0-1-2", 20.0), ("1-1-2", 5.0), ("2-1-2", 0.0)):
        totals = MetricRegistry(FAMILIES)
        context = _context(totals, "a")
        if waited:
            context.queue._waiting.join(Waiter(), clock() - waited)
        Reports(worker, totals, UsageBatches(), told.append).send_totals(context)
        merged.update(worker, told[-1]["rows"])
    any_: Any = None
    views: list[Any] = [SimpleNamespace(merged=each) for each in (merged, MergedMetrics(FAMILIES))]
    waiting, none = (
        PageSources(any_, any_, any_, any_, any_, any_, numbers, any_).waiting()
        for numbers in views
    )
    assert (waiting.requests, none) == (2, (0, 0.0))
    assert waiting.seconds >= 20.0


class Waiter:
    """A request in the queue."""

    def go_on(self) -> bool:
        return False

    def waited_too_long(self) -> None:
        """Nobody ends it here."""

    def abort(self) -> None:
        """Nobody ends it here."""
