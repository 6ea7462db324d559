"""Supervised tasks: a crash is loud and counted, and what has to go on goes on."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Iterator

import pytest

from monitor.common import tasks as module
from monitor.common.metric_registry import MetricRegistry
from monitor.common.tasks import (
    CRASHES,
    FAMILIES,
    UNHANDLED,
    Tasks,
    acting_meanwhile,
    cancelled,
    pause_after,
)
from tests.testkit.event_loops import loop_test
from tests.testkit.wait import wait_until_async


class Scene:
    """Tasks whose pauses pass at once, and a service that crashes as often as it is told."""

    def __init__(self, crashes: int = 0) -> None:
        self.totals = MetricRegistry(FAMILIES)
        self.pauses: list[float] = []
        self.now = 0.0
        self.tasks = Tasks(self.totals, "control", monotonic=lambda: self.now, sleep=self._pass_by)
        self.crashes = crashes
        self.starts = 0
        self.lives = 0.0
        self.running = asyncio.Event()

    async def _pass_by(self, seconds: float) -> None:
        self.pauses.append(seconds)
        await asyncio.sleep(0)

    async def serve(self) -> None:
        self.starts += 1
        self.now += self.lives
        if self.starts <= self.crashes:
            raise RuntimeError("a fault")
        self.running.set()
        await asyncio.Event().wait()

    def counted(self, task: str) -> float:
        return self.totals.get(CRASHES.name, (task,))


@loop_test
async def test_a_service_that_crashes_runs_again_and_the_crash_is_counted_and_logged() -> None:
    scene, records = Scene(crashes=3), list[logging.LogRecord]()
    with _heard(records):
        task = scene.tasks.service("guard", scene.serve)
        await asyncio.wait_for(scene.running.wait(), 10)
    assert not task.done()
    assert scene.counted("guard") == 3
    assert scene.pauses == [0.1, 0.4, 1.6]
    assert [r.exc_info is not None for r in records] == [True] * 3
    assert records[0].getMessage() == "guard: unexpected error; it starts again in 0.1 s"
    await scene.tasks.stop()
    assert task.cancelled()


@loop_test
async def test_crashes_far_apart_are_not_in_a_row() -> None:
    scene = Scene(crashes=3)
    scene.lives = module.STEADY
    scene.tasks.service("guard", scene.serve)
    await asyncio.wait_for(scene.running.wait(), 10)
    assert scene.pauses == [0.1, 0.1, 0.1]
    await scene.tasks.stop()


def test_the_pause_grows_up_to_a_bound() -> None:
    assert [round(pause_after(n), 1) for n in range(1, 7)] == [0.1, 0.4, 1.6, 6.4, 25.6, 30.0]
    assert pause_after(10_000) == 30.0
    assert pause_after(9, longest=1.0) == 1.0


@loop_test
async def test_a_service_whose_future_was_cancelled_by_others_runs_again() -> None:
    """As when an executor is shut down under it: CancelledError without a cancellation."""
    scene, starts = Scene(), list[asyncio.Future[None]]()

    async def serve() -> None:
        starts.append(asyncio.get_running_loop().create_future())
        await starts[-1]

    task = scene.tasks.service("guard", serve)
    await wait_until_async(lambda: starts)
    starts[0].cancel()
    await wait_until_async(lambda: len(starts) == 2)
    assert scene.counted("guard") == 1
    task.cancel()
    await wait_until_async(task.done)
    assert task.cancelled()


@loop_test
async def test_a_service_that_returns_has_ended() -> None:
    scene = Scene()
    task = scene.tasks.service("writer", lambda: asyncio.sleep(0))
    await asyncio.wait_for(task, 10)
    assert scene.counted("writer") == 0


@loop_test
async def test_a_job_that_crashes_is_counted_once_and_hurts_nobody() -> None:
    scene = Scene(crashes=1)
    task = scene.tasks.job("examine", scene.serve, about="192.0.2.1:443")
    assert task.get_name() == "examine 192.0.2.1:443"
    await asyncio.wait_for(task, 10)
    assert (scene.starts, scene.counted("examine")) == (1, 1)
    assert repr(scene.tasks) == "<Tasks >"


@loop_test
async def test_a_task_that_is_stopped_before_it_began_leaves_nothing_behind() -> None:
    scene = Scene()
    scene.tasks.job("examine", scene.serve)
    scene.tasks.service("guard", scene.serve)
    await scene.tasks.stop()
    assert (scene.starts, repr(scene.tasks)) == (0, "<Tasks >")


@loop_test
async def test_a_task_that_does_not_end_holds_nobody_up() -> None:
    release, records = asyncio.Event(), list[logging.LogRecord]()

    async def stubborn() -> None:
        while not release.is_set():
            try:
                await release.wait()
            except asyncio.CancelledError:
                continue

    task = asyncio.create_task(stubborn(), name="stubborn")
    await asyncio.sleep(0)
    with _heard(records):
        await cancelled([task], within=0.01)
    assert [r.getMessage() for r in records] == ["stubborn did not stop"]
    release.set()
    await task


def test_a_guarded_block_fails_alone() -> None:
    totals = MetricRegistry(FAMILIES)
    with Tasks(totals).guarded("history"):
        _raises(b"")
    assert totals.get(CRASHES.name, ("history",)) == 1


@loop_test
async def test_exceptions_of_callbacks_are_counted_and_their_arguments_not_logged() -> None:
    scene, records = Scene(), list[logging.LogRecord]()
    loop = asyncio.get_running_loop()
    before = loop.get_exception_handler()
    scene.tasks.watch(loop)
    with _heard(records):
        loop.call_soon(_raises, b"Authorization: Bearer sk-secret")
        await wait_until_async(lambda: scene.totals.get(UNHANDLED.name, ("control",)) == 1)
    loop.set_exception_handler(before)
    (record,) = records
    assert "Exception in callback" in record.getMessage()
    assert "sk-secret" not in record.getMessage()
    assert record.exc_info is not None
    assert record.exc_info[0] is ZeroDivisionError


def _raises(data: bytes) -> None:
    raise ZeroDivisionError(data)


async def test_errors_that_somebody_provokes_again_and_again_fill_no_disk(
    caplog: pytest.LogCaptureFixture,
) -> None:
    scene, loop = Scene(), asyncio.get_running_loop()
    scene.tasks.watch(loop)
    for _ in range(1000):
        loop.call_exception_handler({"message": "a fault"})
    assert len(caplog.records) == module.LOGGED_AT_ONCE + 1
    assert scene.totals.get(UNHANDLED.name, ("control",)) == 1000
    scene.now += module.LOG_WINDOW
    loop.call_exception_handler({"message": ""})
    assert caplog.records[-1].getMessage() == "event loop: error"


class _Keeper(logging.Handler):
    """Keeps what is logged."""

    def __init__(self, records: list[logging.LogRecord]) -> None:
        super().__init__()
        self._records = records

    def emit(self, record: logging.LogRecord) -> None:
        self._records.append(record)


@contextlib.contextmanager
def _heard(records: list[logging.LogRecord]) -> Iterator[None]:
    handler = _Keeper(records)
    module.log.addHandler(handler)
    try:
        yield
    finally:
        module.log.removeHandler(handler)


async def test_acting_goes_on_until_the_step_has_ended_and_its_own_fault_is_not_the_step_s():
    acted: list[int] = []
    step = asyncio.Event()

    def act() -> None:
        acted.append(1)
        if len(acted) == 3:
            step.set()

    assert await acting_meanwhile(act, 0.0, step.wait()) is True
    assert len(acted) == 3

    def fails() -> None:
        raise OSError("the other end is gone")

    assert await acting_meanwhile(fails, 0.0, asyncio.sleep(0.0, "done")) == "done"
