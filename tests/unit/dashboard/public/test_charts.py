"""Charts as SVG."""

import re

from dashboard.i18n.texts import Words
from dashboard.public.charts import curve_chart
from monitor.health.latency import Curve
from tests.testkit.dashboard import NOW

STEP = 900
POINT = (1, 2, 3, 4)


def labels(now: float) -> list[str]:
    """Times below the chart of a day whose last step begins at NOW."""
    times = ((STEP * 1000, 0, 0, 0),) * 96
    curve = Curve(int(NOW) - 95 * STEP, STEP, (POINT,) * 96, times)
    return re.findall(r"<span>(\d\d:\d\d)</span>", curve_chart(curve, Words("en"), "UTC", "", now))


def test_no_label_is_ahead_of_now():
    assert labels(NOW + 120) == ["09:15", "15:15", "21:15", "03:15", "09:02"]


def test_an_old_chart_ends_where_its_last_step_does():
    assert labels(NOW + 86400)[-1] == "09:15"
