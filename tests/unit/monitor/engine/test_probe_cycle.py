"""Greetings of other paths, in what is left of the time of one turn."""

from __future__ import annotations

import pytest

from monitor.common.config import MirrorConfig, MonitorConfig, MonitorTimeouts
from monitor.diagnosis.classify import judge
from monitor.diagnosis.timing import NORMAL
from monitor.engine.paths import MirrorPaths
from monitor.engine.probe_cycle import ProbeCycle, ProbeCycles
from monitor.engine.prober import Probe, Prober
from monitor.engine.scheduler import ProbeTiming
from monitor.engine.sni_budget import SniBudget
from monitor.health.quarantine import Quarantine
from monitor.probes.capacity import NoCapacity
from monitor.probes.opening import Budget
from monitor.probes.results import TIMED_OUT, Operation, PathResult, StepResult, Way

MIRROR = MirrorConfig(
    "hk", "https://own.test", hostnames=("alt.test",), addresses=("192.0.2.1", "192.0.2.2")
)
RHYTHM = ProbeTiming.of(MonitorConfig(), NORMAL)
TIMEOUTS = MonitorTimeouts()
LATER, NEVER = float("inf"), float("-inf")


class Greeter(Prober):
    """Greets as it is told; its time may be over then."""

    def __init__(self, failure: str | None, last: int = 99, room: bool = True) -> None:
        super().__init__()
        self.greeted: list[Way] = []
        self._failure = failure
        self._last = last
        self._room = room

    async def greet(
        self, mirror: MirrorConfig, way: Way, timeouts: MonitorTimeouts, budget: Budget
    ) -> PathResult:
        self.greeted.append(way)
        if not self._room:
            raise NoCapacity
        if len(self.greeted) >= self._last:
            budget.ends = NEVER
        step = StepResult(Operation.connect, self._failure, 0.1, way.address)
        return PathResult(way.address, (step,), way.hostname)


async def _greet(prober: Greeter, ends: float) -> tuple[PathResult, ...]:
    turns = ProbeCycles(
        prober, Quarantine(NORMAL), SniBudget(NORMAL), lambda _: False, lambda: 1000.0
    )
    ways = MirrorPaths(MIRROR, NORMAL, 0.0)
    resolution = StepResult(Operation.resolve, None, 0.0, addresses=MIRROR.addresses)
    turn = ProbeCycle(Probe(resolution, (), judge(resolution, ())), Budget(ends))
    return await turns.greet(ways, turn, TIMEOUTS, RHYTHM)


async def test_all_other_paths_are_greeted_while_there_is_time():
    prober = Greeter(None)
    greeted = await _greet(prober, LATER)
    assert len(greeted) == len(prober.greeted) == 3


async def test_nobody_is_greeted_when_the_probe_has_taken_all_of_the_time():
    prober = Greeter(TIMED_OUT)
    assert await _greet(prober, NEVER) == ()
    assert prober.greeted == []


@pytest.mark.parametrize(("failure", "kept"), [(TIMED_OUT, 0), ("connection_refused", 1)])
async def test_a_greeting_that_the_end_of_the_time_cut_short_is_no_evidence(
    failure: str, kept: int
):
    prober = Greeter(failure, last=1)
    assert len(await _greet(prober, LATER)) == kept
    assert len(prober.greeted) == 1


async def test_a_mirror_without_room_for_a_greeting_keeps_what_the_probe_found():
    prober = Greeter(None, room=False)
    assert await _greet(prober, LATER) == ()
