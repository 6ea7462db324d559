"""The arithmetic of uptime, by example."""

from datetime import UTC, datetime
from itertools import pairwise

import pytest

from monitor.health.uptime import (
    DAY,
    FIVE_MINUTES,
    HOUR,
    WINDOWS,
    Known,
    begin_of_window,
    day_starts,
    of_bucket,
    percent,
)

NOON = datetime(2026, 11, 21, 12, 34, 56, tzinfo=UTC).timestamp()


@pytest.mark.parametrize(
    ("part", "whole", "told"),
    [
        (0, 0, None),
        (0, 5, "0"),
        (5, 5, "100"),
        (99_999, 100_000, "99.99"),
        (99_306, 100_000, "99.30"),
        (1, 100_000, "<0.01"),
        (1, 10_000, "0.01"),
        (7, 5, "100"),
    ],
)
def test_percentages_are_rounded_down(part, whole, told):
    assert percent(part, whole) == told


def test_maintenance_and_unknown_time_count_neither_for_nor_against():
    known = of_bucket([600, 100, 300, 1000], 5000)
    assert known.uptime == "70.00"
    assert known.coverage == "40.00"
    assert known.unknown == 3000
    assert Known(maintenance=1000, covered=1000, total=1000).uptime is None


def test_a_window_begins_at_a_whole_bucket_within_it():
    for name, seconds in WINDOWS.items():
        size = FIVE_MINUTES if name == "24h" else HOUR
        begin = begin_of_window(name, NOON)
        assert begin % size == 0
        assert 0 <= begin - (NOON - seconds) < size


def test_days_are_those_of_the_zone_where_its_midnights_are_on_the_hour():
    zone, starts = day_starts(NOON, "Asia/Shanghai", 2)
    assert zone == "Asia/Shanghai"
    today = datetime(2026, 11, 20, 16, tzinfo=UTC).timestamp()
    assert starts == [today - DAY, today, today + DAY]


def test_days_are_those_of_utc_where_a_zone_is_off_by_half_an_hour():
    zone, starts = day_starts(NOON, "Asia/Kolkata", 90)
    assert zone == "UTC"
    assert len(starts) == 91
    assert all(start % DAY == 0 for start in starts)


def test_a_day_can_have_25_hours():
    after = datetime(2026, 10, 26, 12, tzinfo=UTC).timestamp()
    _, starts = day_starts(after, "Europe/Berlin", 3)
    assert [(b - a) // HOUR for a, b in pairwise(starts)] == [24, 25, 24]
