"""Ten thousand random courses of faults."""

import pytest
from hypothesis import HealthCheck, given, settings

from tests.prove.conftest import Measure
from tests.scenarios.fault_schedules import SCHEDULES, Schedule, check

pytestmark = pytest.mark.prove

SCHEDULES_PLAYED = 10_000


def test_ten_thousand_courses_of_faults_break_no_promise(measured: Measure):
    played = [0, 0]

    @settings(
        max_examples=SCHEDULES_PLAYED,
        database=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(SCHEDULES)
    def play(schedule: Schedule) -> None:
        check(schedule)
        played[0] += 1
        played[1] += len(schedule.jobs)

    play()
    measured("random fault schedules", played[0])
    measured("requests in them", played[1])
