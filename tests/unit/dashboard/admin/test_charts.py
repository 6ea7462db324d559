"""Charts of the desk: heights, scales and colours."""

import pytest

from dashboard.admin.charts import HEIGHT, nice_top, sparkline, traffic_chart, use_chart
from dashboard.admin.traffic import Point
from monitor.common.keys import DayUse
from tests.testkit.dashboard import NOW


@pytest.mark.parametrize(
    ("value", "top"),
    [(0, 1), (0.03, 0.03), (1, 1), (1.2, 1.5), (2.1, 3), (9, 10), (10, 10), (75_000, 80_000)],
)
def test_a_scale_ends_with_a_round_number(value, top):
    assert nice_top(value) == pytest.approx(top)


def test_failed_requests_stand_on_top_of_the_good_ones():
    chart = traffic_chart([Point(60.0, 8.0, 2.0, 0.0), Point(0.0, 4.0, 0.0, 0.0)])
    before, now = chart.columns
    assert (chart.top, before.place, now.place) == (10.0, 58, 59)
    good, failed = before.pieces
    assert (good.kind, good.y + good.height, good.height) == ("good", HEIGHT, 80.0)
    assert (failed.kind, failed.y, failed.height) == ("failed", 0.0, 20.0)
    assert [piece.kind for piece in now.pieces] == ["good"]


def day(date: str, model: str, tokens: int) -> DayUse:
    return DayUse("k1", date, model, "usage", 1, tokens, 0, 0, 0, 0, 0, 0)


def test_use_is_shown_by_day_and_model_and_the_rest_in_one():
    days = [day("2026-11-21", f"m{n}", 100 - n) for n in range(8)]
    days.append(day("2026-11-20", "m0", 7))
    days.append(day("2025-01-01", "m0", 5))
    chart = use_chart(days, 3, NOW)
    assert chart.kinds == ("m0", "m1", "m2", "m3", "m4", "")
    assert [column.label for column in chart.columns] == ["2026-11-19", "2026-11-20", "2026-11-21"]
    assert [sum(column.values) for column in chart.columns] == [0, 7, 772]
    assert chart.columns[0].pieces == ()
    assert min(piece.y for piece in chart.columns[2].pieces) >= 0


def test_a_line_stays_within_its_box():
    assert sparkline([1.0]) == ""
    assert sparkline([0.0, 0.0]) == ""
    assert sparkline([0.0, 5.0, 10.0]) == "0.0,19.0 50.0,10.0 100.0,1.0"
