"""A hundred mirrors, two years of hours: how long a look at the uptime of all takes."""

import time
from collections.abc import Callable
from pathlib import Path

import pytest
from sqlmodel import Session

from monitor.store.queries import read_days, read_windows
from monitor.store.sqlite import SqliteFile
from tests.prove.conftest import Measure
from tests.testkit.large_stores import HISTORY_END, fill_history

pytestmark = pytest.mark.prove

MIRRORS = 100
LIMIT = 0.2


def test_ninety_days_of_a_hundred_mirrors_take_a_moment(tmp_path: Path, measured: Measure):
    path = tmp_path / "years.db"
    fill_history(path, MIRRORS, 730, 30)
    engine = SqliteFile(path).reading()
    looks: dict[str, Callable[[Session], object]] = {
        "windows": lambda session: read_windows(session, HISTORY_END),
        "days": lambda session: read_days(session, HISTORY_END, "Asia/Shanghai"),
    }
    with Session(engine) as session:
        took = {name: [_seconds(look, session) for _ in range(7)] for name, look in looks.items()}
        windows = read_windows(session, HISTORY_END)
    engine.dispose()
    assert len(windows) == MIRRORS
    assert windows["m7"]["90d"].uptime == "99.86"
    assert windows["m7"]["90d"].coverage == "100"
    for what, each in took.items():
        wall, cpu = zip(*each, strict=True)
        measured(f"seconds for the {what} of 100 mirrors up to 90 days", min(wall))
        measured(f"seconds of CPU for the {what} of 100 mirrors up to 90 days", min(cpu))
    assert min(cpu for _, cpu in took["windows"]) < LIMIT


def _seconds(look: Callable[[Session], object], session: Session) -> tuple[float, float]:
    """By the clock, and of this thread's work, which others on the machine do not lengthen."""
    began, worked = time.perf_counter(), time.thread_time()
    look(session)
    return time.perf_counter() - began, time.thread_time() - worked
