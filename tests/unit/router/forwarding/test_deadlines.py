"""Deadlines of one exchange, on a clock that the test moves on."""

from __future__ import annotations

import pytest

from router.balancing.config import TimeoutConfig
from router.balancing.timeouts import LONGEST, STREAM_HEAD, Classes, Patience
from router.forwarding.deadlines import STALLED_FOR, Deadlines
from router.wire.timer_wheel import NEVER
from tests.testkit.clock import ManualClock

TOTAL, IDLE = 3600.0, 300.0


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


def patience(asked: float | None = None) -> Patience:
    return Classes(TimeoutConfig(), ()).patience("chat", "m", True).lowered_to(asked)


def begun(clock: ManualClock, limits: Patience, comment_after: float = NEVER) -> Deadlines:
    """Deadlines of a request that the mirror has."""
    deadlines = Deadlines(clock.wheel, clock, clock(), IDLE)
    deadlines.begin(TOTAL)
    deadlines.follow(limits, comment_after)
    deadlines.await_response(clock())
    return deadlines


def test_a_silent_mirror_has_its_time_and_a_living_one_gets_more(clock: ManualClock) -> None:
    deadlines = begun(clock, patience())
    clock.advance(STREAM_HEAD)
    over = [deadlines.over]
    assert not deadlines.extend(0.0, 0.0, 1.0, has_head=False)
    assert deadlines.extend(clock() - 10.0, 0.0, 1.0, has_head=False)
    over.append(deadlines.over)
    clock.advance(STREAM_HEAD - 10.0)
    over.append(deadlines.over)
    assert over == [True, False, True]


def test_nothing_extends_beyond_the_longest_limit(clock: ManualClock) -> None:
    deadlines = begun(clock, patience())
    clock.advance(LONGEST)
    assert not deadlines.extend(clock(), clock(), 1000.0, has_head=True)


def test_a_step_that_was_given_its_own_time_is_not_extended(clock: ManualClock) -> None:
    deadlines = begun(clock, patience())
    deadlines.wait(2.0)
    clock.advance(2.0)
    assert not deadlines.extend(clock(), clock(), 1.0, has_head=True)


def test_a_client_that_stalls_before_content_does_not_change_the_mirrors_limit(
    clock: ManualClock,
) -> None:
    deadlines = begun(clock, patience())
    before = deadlines.deadline
    clock.advance(1.0)
    deadlines.client_full(60.0)
    assert deadlines.client_stalls
    clock.advance(STALLED_FOR)
    deadlines.client_drained(relays=False)
    assert (deadlines.deadline, deadlines.client_has_stalled) == (before, True)
    clock.advance(STREAM_HEAD)
    assert deadlines.extend(clock(), 0.0, 1.0, has_head=False)


def test_a_client_that_stalls_within_a_response_is_followed_by_the_limit_on_silence(
    clock: ManualClock,
) -> None:
    limits = Patience(30.0, 60.0, 7.0, TOTAL)
    deadlines = begun(clock, limits)
    deadlines.client_full(60.0)
    deadlines.client_drained(relays=True)
    assert deadlines.deadline == clock() + limits.idle


def test_only_the_callers_own_limit_is_the_callers(clock: ManualClock) -> None:
    deadlines = begun(clock, patience(asked=20.0))
    clock.advance(20.0)
    assert deadlines.caller_gave_up
    assert not deadlines.blames_mirror
    drained = begun(clock, patience(asked=20.0))
    drained.end_within(5.0)
    clock.advance(5.0)
    assert drained.over
    assert not drained.caller_gave_up, "the mirror was removed"
