"""Trials of a mirror all names of which were cut off."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from router.upstream.trials import FAILURES, FIRST, MOST, Trials


def test_each_trial_comes_later_than_the_one_before() -> None:
    trials, tried = Trials(), list[int]()
    for second in range(2000):
        if trials.may(second):
            tried.append(second)
            trials.began(second)
            trials.failed()
    assert [b - a for a, b in pairwise(tried)] == [10, 20, 40, 80, 160, 320, 600, 600]


def test_after_one_that_came_through_requests_go_there_until_some_in_a_row_fail() -> None:
    trials = Trials()
    trials.began(0.0)
    trials.succeeded()
    for _ in range(FAILURES - 1):
        trials.failed()
        assert trials.may(0.0)
    trials.succeeded()
    for _ in range(FAILURES):
        trials.began(1.0)
        trials.failed()
    trials.began(1.0)
    assert not trials.may(1.0)
    assert trials.may(1.0 + FIRST)


STEPS = st.lists(st.tuples(st.floats(0.0, 700.0), st.sampled_from(["works", "fails", "hangs"])))


@given(STEPS)
def test_it_is_never_left_for_longer_than_the_most_nor_tried_more_often_than_the_first(
    steps: list[tuple[float, str]],
) -> None:
    trials, now, last, open_ = Trials(), 0.0, -MOST, False
    for later, end in steps:
        now += later
        may = trials.may(now)
        assert may or now - last < MOST
        if not may:
            continue
        assert open_ or now - last >= FIRST
        trials.began(now)
        last = now
        if end == "works":
            trials.succeeded()
            open_ = True
        elif end == "fails":
            for _ in range(FAILURES):
                trials.failed()
            open_ = False
            trials.began(now)
