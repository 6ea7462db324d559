"""Random courses of faults on a virtual clock: what no fault may bring about."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.simulation.way import Job
from router.forwarding.config import RouterConfig
from tests.scenarios.fault_schedules import SCHEDULES, SCRIPTS, Schedule, check


@settings(max_examples=150)
@given(SCHEDULES)
def test_no_course_of_faults_breaks_a_promise(schedule: Schedule) -> None:
    check(schedule)


@settings(max_examples=12)
@given(st.lists(SCRIPTS, min_size=2, max_size=4), st.integers(1, 3), st.integers(0, 99))
def test_when_the_faults_are_over_every_mirror_comes_back(
    scripts: list[tuple[tuple[float, str], ...]], workers: int, seed: int
) -> None:
    schedule = Schedule(tuple(scripts), (), workers, RouterConfig(), seed)
    gateway = schedule.gateway()
    for second in range(1000):
        gateway.submit(Job(float(second), 1.0))
    gateway.run(1000.0)
    assert gateway.leases.ejected == []
    assert all(seat.breaker.closed for seat in gateway.seats)
    for mirror in gateway.mirrors:
        used = [at for job in gateway.jobs for at, name in job.attempts if name == mirror.name]
        assert max(used) > 900.0
    assert {job.outcome for job in gateway.jobs[500:]} == {"done"}
