"""Curves of latency, and the quantiles of the first byte."""

import random

import pytest

from monitor.health.latency import STEPS, FirstBytes, Sums, curve

NOW = 1_795_251_600.0


def test_a_point_is_the_mean_of_all_good_probes_in_its_stretch():
    start = int(NOW) // 900 * 900
    known = {
        start: Sums(2, (2_000, 20_000, 60_000, 200_000)),
        start + 300: Sums(1, (4_000, 40_000, 120_000, 700_000)),
        start - 900: Sums(1, (1_000, 2_000, 3_000, 4_000)),
        start - 86400: Sums(1, (9, 9, 9, 9)),
    }
    drawn = curve("24h", NOW, known)
    assert drawn.points[-1] == (2, 20, 60, 300)
    assert drawn.points[-2] == (1, 2, 3, 4)
    assert set(drawn.points[:-2]) == {None}
    assert drawn.start + len(drawn.points) * drawn.step == start + 900


@pytest.mark.parametrize("name", STEPS)
def test_a_window_has_about_a_hundred_points_of_its_own(name):
    length, step = STEPS[name]
    drawn = curve(name, NOW, {})
    assert 90 <= len(drawn.points) <= 170
    assert len(drawn.points) * step == length
    assert drawn.start % step == 0


def test_quantiles_are_right_within_their_classes():
    chance = random.Random(3)
    times = [chance.lognormvariate(5.2, 0.6) for _ in range(5000)]
    known = FirstBytes()
    for place, ms in enumerate(times):
        known.add(NOW - 80_000 + place * 16, ms)
    told = known.quantiles(NOW, (0.5, 0.95))
    assert told is not None
    times.sort()
    for share, each in zip((0.5, 0.95), told, strict=True):
        assert each == pytest.approx(times[int(share * 5000)], rel=0.03)


def test_samples_older_than_a_day_are_dropped():
    known = FirstBytes()
    assert known.quantiles(NOW, (0.5,)) is None
    for hour in range(100):
        known.add(NOW - 3600 * (99 - hour), 10.0 if hour < 70 else 1000.0)
    assert known.quantiles(NOW, (0.01,)) == known.quantiles(NOW, (0.99,))
    assert known.quantiles(NOW + 86400, (0.5,)) is None
    assert len(known._slots) <= 96


def test_samples_from_before_a_start_join_those_since():
    before, since = FirstBytes(), FirstBytes()
    before.add(NOW, 100.0)
    since.add(NOW + 1, 300.0)
    since.add(NOW + 1000, 300.0)
    before.join(since)
    before.join(None)
    median, most = before.quantiles(NOW + 1000, (0.3, 0.9)) or (0, 0)
    assert median == pytest.approx(100, rel=0.03)
    assert most == pytest.approx(300, rel=0.03)
