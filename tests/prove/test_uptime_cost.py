"""A hundred mirrors, two years of hours: how long a look at the uptime of all takes."""

import time
from pathlib import Path

import pytest
from sqlmodel import Session

from monitor.history.sqlite import SqliteFile
from monitor.history.windows import read_days, read_windows
from tests.support.measure import Measure
from tests.support.years import NOW, fill

pytestmark = pytest.mark.prove

MIRRORS = 100
LIMIT = 0.2


def test_ninety_days_of_a_hundred_mirrors_take_a_moment(tmp_path: Path, measured: Measure):
    path = tmp_path / "years.db"
    fill(path, MIRRORS, 730, 30)
    engine = SqliteFile(path).reading()
    took = {"windows": [0.0] * 7, "days": [0.0] * 7}
    with Session(engine) as session:
        for turn in range(7):
            began = time.perf_counter()
            windows = read_windows(session, NOW)
            between = time.perf_counter()
            _, days = read_days(session, NOW, "Asia/Shanghai")
            took["windows"][turn] = between - began
            took["days"][turn] = time.perf_counter() - between
    engine.dispose()
    assert len(windows) == len(days) == MIRRORS
    assert windows["m7"]["90d"].uptime == "99.86"
    assert windows["m7"]["90d"].coverage == "100"
    for what, seconds in took.items():
        measured(f"seconds for the {what} of 100 mirrors up to 90 days, best", min(seconds))
        measured(f"seconds for the {what} of 100 mirrors up to 90 days, worst", max(seconds))
    assert min(took["windows"]) < LIMIT
