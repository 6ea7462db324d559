"""A clock that is set, and lines of logs that are lost."""

import pytest

from monitor.common import machine
from monitor.common.machine import CLOCK_STEPS, FAMILIES, ClockSteps, MachineWatch
from monitor.common.metric_registry import MetricRegistry

DAY = 86400.0
NOW = 1_790_000_000.0


class Clocks:
    """The wall clock, and the one that nobody sets."""

    def __init__(self) -> None:
        self.elapsed, self.ahead = 500.0, NOW
        self.steps = ClockSteps(lambda: self.elapsed + self.ahead, lambda: self.elapsed)


@pytest.mark.parametrize(
    ("step", "words"),
    [(10 * 365 * DAY, "forward by 3650d"), (-DAY, "back by 1d"), (90.0, "forward by 1m 30s")],
)
def test_a_clock_that_was_set_is_doubted_for_a_day(step: float, words: str) -> None:
    clocks = Clocks()
    assert clocks.steps.look() == 0.0
    assert clocks.steps.steady
    clocks.ahead += step
    assert clocks.steps.look() == step
    assert clocks.steps.look() == 0.0, "it is told once"
    assert f"was set {words}" in clocks.steps.doubt
    clocks.elapsed += machine.STEADY_AFTER - 1
    assert clocks.steps.doubt
    clocks.elapsed += 1
    assert clocks.steps.doubt == ""


def test_a_time_daemon_and_a_machine_that_sleeps_are_no_step() -> None:
    clocks = Clocks()
    clocks.ahead += machine.SMALLEST_STEP / 2
    clocks.elapsed += 8 * 3600.0
    assert clocks.steps.look() == 0.0
    assert clocks.steps.steady


@pytest.mark.parametrize(
    ("last", "steady"),
    [
        (NOW, True),
        (NOW - 20 * DAY, True),
        (NOW - 3650 * DAY, False),
        (NOW + 3600, False),
    ],
)
def test_a_start_far_from_the_last_entry_of_the_store_is_doubted(last: float, steady: bool) -> None:
    clocks = Clocks()
    clocks.steps.recall(last)
    assert clocks.steps.steady is steady
    assert bool(clocks.steps.doubt) is not steady


async def test_each_step_is_counted_and_followed_up_until_that_succeeds() -> None:
    clocks, totals = Clocks(), MetricRegistry(FAMILIES)
    answers = [False, True, True]
    called: list[bool] = []

    async def recall() -> bool:
        called.append(answers[len(called)])
        return called[-1]

    watch = MachineWatch(clocks.steps, lambda: 0.0, recall, totals)
    await watch.look()
    assert (totals.get(CLOCK_STEPS.name), called) == (0.0, [])
    clocks.ahead += DAY
    for _ in range(3):
        await watch.look()
    assert (totals.get(CLOCK_STEPS.name), called) == (1.0, [False, True])
    (sentence,) = watch.sentences()
    assert sentence == clocks.steps.doubt


async def test_lines_that_are_lost_are_told_until_none_was_lost_for_a_minute() -> None:
    now, lost = 0.0, 7.0

    async def nothing() -> bool:
        return True

    totals = MetricRegistry(FAMILIES)
    watch = MachineWatch(Clocks().steps, lambda: lost, nothing, totals, lambda: now)
    await watch.look()
    assert watch.sentences() == [], "those of a former control are old news"
    lost = 9.0
    await watch.look()
    assert "lines of the log are lost (9 so far)" in watch.sentences()[0]
    now += machine.LATELY
    await watch.look()
    assert watch.sentences() == []
