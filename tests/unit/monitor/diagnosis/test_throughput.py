"""Slow, held back, or frozen."""

import pytest

from monitor.diagnosis.evidence import Code
from monitor.diagnosis.throughput import Sample, constant_rate, judge_throughput


def at(*speeds: float) -> list[Sample]:
    return [Sample(100_000, speed) for speed in speeds]


NORMAL = at(*[1e6] * 5)
SLOW = at(16_000, 15_900, 16_100, 16_000, 900_000)


@pytest.mark.parametrize(
    ("samples", "baseline", "others", "verdict"),
    [
        (NORMAL, 1e6, True, "ok"),
        (NORMAL, None, True, "ok"),
        (SLOW, 1e6, True, "throttled"),
        (SLOW, 1e6, False, "unknown"),
        (SLOW, None, True, "throttled"),
        (SLOW[:4], 1e6, True, "unknown"),
        (at(*[99_000.0] * 5), 1e6, True, "throttled"),
        (at(*[101_000.0] * 5), 1e6, True, "ok"),
        (at(*[19_000.0] * 5), 30_000.0, True, "throttled"),
        (at(*[21_000.0] * 5), 30_000.0, True, "ok"),
        ([*SLOW, *NORMAL], 1e6, True, "ok"),
        ([], None, True, "unknown"),
    ],
)
def test_throttled_is_slow_for_long_while_others_are_not(samples, baseline, others, verdict):
    assert judge_throughput(samples, baseline, others).verdict == verdict


def test_a_speed_that_is_held_is_told_from_one_that_varies():
    assert constant_rate(at(15_000, 16_000, 17_000))
    assert not constant_rate(at(5_000, 16_000, 27_000))
    assert not constant_rate(at(15_000))
    finding = judge_throughput(at(*[16_000.0] * 5), 1e6, True)
    assert Code.speed_constant() in finding.evidence


def stopped(*received: int) -> list[Sample]:
    return [Sample(count, 50_000, stopped=True) for count in received]


@pytest.mark.parametrize(
    ("samples", "frozen"),
    [
        (stopped(16_000, 16_384, 14_000, 20_000), True),
        ([*stopped(16_000, 16_384, 14_000), *at(1e6)], True),
        ([*stopped(16_000, 16_384), *at(1e6, 1e6)], False),
        (stopped(16_000, 16_384, 14_000), False),
        (stopped(16_000, 90_000, 200_000, 20_000), False),
        (stopped(9_999, 9_999, 9_999, 30_001), False),
        ([*stopped(16_000, 16_384, 14_000, 20_000), *at(1e6, 1e6)], False),
        ([*stopped(16_000, 16_384, 14_000, 20_000), Sample(900, 1e5)], True),
    ],
)
def test_transfers_that_stop_in_the_same_range_again_and_again_are_frozen(samples, frozen):
    verdict = judge_throughput(samples, 50_000, True).verdict
    assert (verdict == "byte_cap_freeze") is frozen
