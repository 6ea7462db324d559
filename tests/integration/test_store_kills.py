"""Commits survive `kill -9`, in a file and in PostgreSQL."""

import random
import sqlite3
from contextlib import closing

from tests.scenarios.history_kills import assert_nothing_is_lost, found, killed


async def test_nothing_committed_is_lost_by_kill_9(store_url):
    rng = random.Random(7)
    said = await killed(store_url, 5, rng)
    said |= await killed(store_url, 5, rng)  # who comes next writes on at once
    assert_nothing_is_lost(await found(store_url, said))
    if store_url.startswith("sqlite"):
        with closing(sqlite3.connect(store_url.removeprefix("sqlite:///"))) as connection:
            assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
