"""When a mirror is ejected, for how long, and when nobody is."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.balancing.config import EjectionConfig
from router.balancing.ejection import (
    Cause,
    FailureWatch,
    UplinkWatch,
    cause_of,
    ejection_seconds,
    forgiven,
    may_eject,
)
from router.balancing.failure import TRAITS, Blame, Failure, failure_of_status, weight_of

RULES = EjectionConfig()


def _fail(watch: FailureWatch, failure: Failure, times: int, now: float = 1.0) -> list[object]:
    weight = weight_of(failure, retry_after=False)
    return [watch.failed(failure, weight, now) for _ in range(times)]


@pytest.mark.parametrize(
    ("failure", "cause"),
    [
        (Failure.resolve, Cause.unreachable),
        (Failure.connect, Cause.unreachable),
        (Failure.tls, Cause.unreachable),
        (Failure.broken, Cause.failing),
        (Failure.timeout, Cause.unanswered),
    ],
)
def test_three_failures_to_get_any_response_eject(failure: Failure, cause: Cause) -> None:
    assert _fail(FailureWatch(RULES), failure, 3) == [None, None, cause]


@pytest.mark.parametrize(
    "failure", sorted(f for f, traits in TRAITS.items() if traits.blame is Blame.upstream)
)
def test_five_failed_responses_eject(failure: Failure) -> None:
    assert _fail(FailureWatch(RULES), failure, 5) == [None] * 4 + [cause_of(failure)]


@pytest.mark.parametrize(
    "failure", sorted(f for f, traits in TRAITS.items() if traits.blame is Blame.nobody)
)
def test_failures_that_are_not_the_mirrors_never_eject_it(failure: Failure) -> None:
    assert _fail(FailureWatch(RULES), failure, 1000) == [None] * 1000


def test_a_success_begins_the_count_anew() -> None:
    watch = FailureWatch(EjectionConfig(min_requests=1000))
    for _ in range(50):
        assert _fail(watch, Failure.connect, 2) == [None] * 2
        assert _fail(watch, Failure.server_error, 4) == [None] * 4
        watch.succeeded(1.0)


def test_a_response_shows_that_the_way_is_open() -> None:
    watch = FailureWatch(RULES)
    _fail(watch, Failure.connect, 2)
    _fail(watch, Failure.server_error, 1)
    assert _fail(watch, Failure.connect, 3) == [None, None, Cause.unreachable]


def test_a_mirror_that_names_a_time_to_come_back_is_busy_and_counts_half() -> None:
    watch = FailureWatch(RULES)
    weight = weight_of(Failure.overloaded, retry_after=True)
    assert weight == 0.5
    causes = [watch.failed(Failure.overloaded, weight, 1.0) for _ in range(10)]
    assert causes == [None] * 9 + [Cause.failing]


def test_half_of_ten_requests_within_a_minute_eject() -> None:
    watch = FailureWatch(RULES)
    for _ in range(5):
        watch.succeeded(1.0)
        _fail(watch, Failure.cut, 1)
    assert watch.failing(1.0) == 0.5
    watch.succeeded(2.0)
    watch.succeeded(2.0)
    assert _fail(watch, Failure.cut, 1) == [None], "6 of 13"
    assert _fail(watch, Failure.cut, 1) == [Cause.failing], "7 of 14"


def test_the_window_slides() -> None:
    watch = FailureWatch(EjectionConfig(consecutive_5xx=1000))
    for second in range(0, 600, 5):
        watch.succeeded(float(second))
        assert _fail(watch, Failure.cut, 1, float(second)) in ([None], [Cause.failing])
    assert watch.failing(600.0) == 0.5
    assert watch.failing(700.0) == 0.0


def test_ejections_double_up_to_the_longest() -> None:
    rng = random.Random(1)
    for count, seconds in ((1, 10), (2, 20), (3, 40), (6, 300), (7, 300), (5000, 300)):
        drawn = [ejection_seconds(count, Cause.unanswered, RULES, rng) for _ in range(100)]
        assert 0.8 * seconds <= min(drawn) < max(drawn) <= 1.2 * seconds


@pytest.mark.parametrize("cause", [Cause.failing, Cause.unreachable])
def test_a_mirror_that_fails_at_once_is_tried_again_within_half_a_minute(cause: Cause) -> None:
    rng = random.Random(1)
    assert max(ejection_seconds(n, cause, RULES, rng) for n in range(1, 99)) <= 24.0
    short = EjectionConfig(max=5.0)
    assert max(ejection_seconds(n, cause, short, rng) for n in range(1, 99)) <= 6.0


def test_every_healthy_minute_forgives_one_ejection() -> None:
    assert [forgiven(3, t) for t in (0, 59, 60, 125, 1000)] == [3, 3, 2, 1, 0]


@pytest.mark.parametrize(
    ("ejected", "usable", "allowed"),
    [
        ([], ["a"], False),
        ([], ["a", "b"], True),
        (["b"], ["a", "b"], False),
        (["b"], ["a", "b", "c"], False),
        (["b"], ["a", "b", "c", "d"], True),
        (["b", "c"], ["a", "b", "c", "d"], False),
        (["b", "c"], ["a", "d"], True),
        (["a"], ["a", "b"], True),
    ],
)
def test_half_may_be_out_and_never_the_last(
    ejected: list[str], usable: list[str], allowed: bool
) -> None:
    assert may_eject("a", ejected, usable, 50) is allowed
    assert not may_eject("a", ejected, usable, 0)


@given(st.lists(st.integers(0, 30)), st.integers(1, 30), st.integers(0, 100))
def test_ejections_stay_within_the_percentage_and_leave_one_mirror(
    order: list[int], total: int, percent: int
) -> None:
    names = [str(number) for number in range(total)]
    out: set[str] = set()
    for number in order:
        if may_eject(str(number), out, names, percent) and number < total:
            out.add(str(number))
    assert len(out) <= max(1, percent * total // 100)
    assert len(out) < total


def test_when_nearly_all_fail_at_once_our_own_network_is_suspected() -> None:
    uplink = UplinkWatch()
    for name in "abcd":
        assert not uplink.suspect(5, 1.0)
        uplink.failed(name, 1.0)
    assert uplink.suspect(5, 2.0)
    assert not uplink.suspect(5, 7.0), "too long ago"
    uplink.failed("e", 2.0)
    uplink.succeeded("a")
    uplink.succeeded("b")
    assert not uplink.suspect(5, 2.0)


def test_a_single_mirror_says_nothing_of_our_network() -> None:
    uplink = UplinkWatch()
    uplink.failed("a", 1.0)
    assert not uplink.suspect(1, 1.0)


@pytest.mark.parametrize(
    ("status", "html", "own_key", "failure"),
    [
        (200, False, True, None),
        (400, False, True, None),
        (404, True, True, None),
        (408, False, False, None),
        (422, False, False, None),
        (401, False, True, None),
        (401, False, False, Failure.key_refused),
        (402, False, False, Failure.out_of_quota),
        (403, False, True, None),
        (403, True, True, Failure.challenge),
        (503, True, False, Failure.challenge),
        (429, False, True, Failure.limited),
        (429, True, False, Failure.limited),
        (500, False, True, Failure.server_error),
        (501, False, True, Failure.no_endpoint),
        (502, True, True, Failure.gateway),
        (503, False, True, Failure.overloaded),
        (504, False, True, Failure.gateway),
        (520, True, True, Failure.gateway),
        (524, True, True, Failure.gateway),
        (529, False, True, Failure.overloaded),
    ],
)
def test_statuses_map_to_failures_of_the_mirror(
    status: int, html: bool, own_key: bool, failure: Failure | None
) -> None:
    assert failure_of_status(status, html=html, own_key=own_key) is failure


def test_every_failure_has_a_meaning() -> None:
    assert set(TRAITS) == set(Failure)
