"""Rates, shares and latencies of the desk are worked out from counters."""

import pytest

from dashboard.admin.traffic import KEPT, TrafficLog, quantile
from monitor.common.metric_registry import Series
from router.forwarding import metrics
from tests.testkit.clock import ManualClock
from tests.testkit.dashboard import FakeSources


def series(
    good: float, failed: float = 0.0, *, rescued: float = 0.0, flying: float = 0.0
) -> list[Series]:
    """The counters of one mirror."""
    buckets = [0.0] * (len(metrics.FIRST_BYTE.buckets) + 2)
    buckets[2] = good
    return [
        Series(metrics.REQUESTS, ("hk", "chat", "200", "success"), [good]),
        Series(metrics.REQUESTS, ("hk", "chat", "502", "upstream_error"), [failed]),
        Series(metrics.REQUESTS, ("", "chat", "400", "client_error"), [1.0]),
        Series(metrics.FIRST_BYTE, ("hk", "chat"), buckets),
        Series(metrics.RESCUED, (), [rescued]),
        Series(metrics.IN_FLIGHT, ("hk",), [flying]),
    ]


def test_rates_are_of_the_last_minute_and_shares_of_all_requests():
    clock = ManualClock()
    log = TrafficLog(FakeSources(), clock)
    log.take(series(1000))
    clock.advance(300)
    log.take(series(1000))
    clock.advance(60)
    log.take(series(1090, 30, rescued=4, flying=3))
    now = log.now()
    assert now.per_second == pytest.approx(2.0)
    assert now.failed_share == pytest.approx(0.25)
    assert (now.in_flight, log.rescued()) == (3, 4)
    (mirror,) = now.mirrors
    assert (mirror.mirror, mirror.share, mirror.failed_share) == ("hk", 1.0, 0.25)
    low, high = metrics.FIRST_BYTE.buckets[1:3]
    assert mirror.median == pytest.approx((low + high) / 2)


def test_counters_that_begin_anew_make_no_negative_rate():
    clock = ManualClock()
    log = TrafficLog(FakeSources(), clock)
    log.take(series(1000, rescued=9))
    clock.advance(60)
    log.take(series(5))
    assert log.now().per_second == 0.0
    assert log.rescued() == 0


def test_the_course_has_a_point_for_each_minute_that_was_seen():
    clock = ManualClock()
    log = TrafficLog(FakeSources(), clock)
    assert log.course() == []
    for minute in range(4):
        log.take(series(60.0 * minute, 30.0 * max(0, minute - 2)))
        clock.advance(60)
    course = log.course()
    assert [point.ago for point in course] == [120, 60, 0]
    assert [point.good for point in course] == pytest.approx([1.0, 1.0, 1.0])
    assert [point.failed for point in course] == pytest.approx([0.0, 0.0, 0.5])


def test_a_young_course_begins_with_a_part_of_a_minute():
    clock = ManualClock()
    log = TrafficLog(FakeSources(), clock)
    for good in (0, 20):
        log.take(series(good))
        clock.advance(10)
    (point,) = log.course()
    assert (point.ago, round(point.good, 6)) == (0, 2.0)


def test_an_hour_is_remembered_and_no_more():
    clock = ManualClock()
    log = TrafficLog(FakeSources(), clock)
    for _ in range(KEPT + 50):
        log.take([])
        clock.advance(5)
    assert log.seconds == pytest.approx(3600)


@pytest.mark.parametrize(
    ("counts", "part", "value"),
    [
        ([], 0.5, None),
        ([0, 0, 0], 0.5, None),
        ([10, 0, 0], 0.5, 0.5),
        ([0, 10, 0], 0.95, 2.9),
        ([5, 5, 0], 0.75, 2.0),
        ([0, 0, 4], 0.5, 3.0),
    ],
)
def test_a_quantile_is_estimated_within_its_bucket(counts, part, value):
    assert quantile(counts, (1.0, 3.0), part) == (None if value is None else pytest.approx(value))
