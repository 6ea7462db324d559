"""Cost of a look at the past, counted in steps of SQLite's machine, not in time."""

import sqlite3
from pathlib import Path
from typing import Any

import pytest
from sqlmodel import Session

from monitor.store.queries import Settled, read_days, read_windows
from monitor.store.sqlite import SqliteFile
from tests.testkit.large_stores import HISTORY_END, fill_history

MIRRORS = 5
STEPS_A_ROW = 60
"""Steps that one row of the time asked for may cost; a second look at it would double them."""


def steps(path: Path, question: Any) -> int:
    """The steps that a question takes."""
    engine = SqliteFile(path).reading()
    taken = 0

    def count() -> int:
        nonlocal taken
        taken += 100
        return 0

    with Session(engine) as session:
        connection = session.connection().connection.driver_connection
        assert isinstance(connection, sqlite3.Connection)
        connection.set_progress_handler(count, 100)
        question(session)
        connection.set_progress_handler(None, 0)
    engine.dispose()
    return taken


@pytest.mark.parametrize(
    ("question", "rows"),
    [
        (lambda session: read_windows(session, HISTORY_END), MIRRORS * (90 * 24 + 288)),
        (lambda session: read_days(session, HISTORY_END, "Asia/Shanghai"), MIRRORS * 90 * 24),
    ],
    ids=["windows", "days"],
)
def test_a_look_at_the_past_reads_every_row_of_it_once_and_no_other(tmp_path, question, rows):
    short, long = tmp_path / "short.db", tmp_path / "long.db"
    fill_history(short, MIRRORS, 91, 2)
    fill_history(long, MIRRORS, 365, 30)
    few, many = steps(short, question), steps(long, question)
    assert few <= rows * STEPS_A_ROW
    assert many <= few * 1.02


@pytest.mark.parametrize("look", [read_windows, lambda *a: read_days(a[0], a[1], "UTC", a[2])])
def test_settled_history_is_not_read_again_a_minute_later(tmp_path, look):
    path, settled = tmp_path / "store.db", Settled()
    fill_history(path, MIRRORS, 91, 2)
    first = steps(path, lambda session: look(session, HISTORY_END + 600, settled))
    settled.turn()
    again = steps(path, lambda session: look(session, HISTORY_END + 660, settled))
    assert again < first / 3
    engine = SqliteFile(path).reading()
    with Session(engine) as session:
        assert look(session, HISTORY_END + 660, settled) == look(
            session, HISTORY_END + 660, Settled()
        )
    engine.dispose()
