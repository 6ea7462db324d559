"""A writer of history killed again and again."""

import random
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from tests.prove.conftest import Measure
from tests.scenarios.history_kills import assert_nothing_is_lost, found, killed
from tests.testkit.postgresql import PostgresqlServer

pytestmark = pytest.mark.prove

KILLS = 100


async def test_a_hundred_kills_lose_nothing_and_corrupt_nothing(tmp_path: Path, measured: Measure):
    path, rng = tmp_path / "history.db", random.Random()
    said: set[int] = set()
    for _ in range(KILLS):
        said |= await killed(f"sqlite:///{path}", rng.randint(1, 8), rng)
        with closing(sqlite3.connect(path)) as connection:
            assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        left = await found(f"sqlite:///{path}", said)
        assert_nothing_is_lost(left)
    measured("kills of a writer of history (SQLite)", KILLS)
    measured("committed changes of state, of which none was lost", left.transitions[0])


async def test_kills_lose_nothing_in_postgresql(postgresql: PostgresqlServer, measured: Measure):
    url, rng = postgresql.upgraded(), random.Random()
    said: set[int] = set()
    for _ in range(KILLS // 5):
        said |= await killed(url, rng.randint(1, 8), rng)
        left = await found(url, said)
        assert_nothing_is_lost(left)
    measured("kills of a writer of history (PostgreSQL)", KILLS // 5)
