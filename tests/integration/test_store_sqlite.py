"""The store on an SQLite file: what is special to a file, and what happens in bad times."""

import asyncio
import logging
import os
import sqlite3
import stat
from collections.abc import AsyncIterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from monitor.common.audit import Actor
from monitor.health.snapshot import State
from monitor.store.lease import Holder
from monitor.store.pruning import Limits
from monitor.store.records import Sample
from monitor.store.store import Store, StoreError


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "history.db"


@pytest.fixture
async def store(path: Path) -> AsyncIterator[Store]:
    opened = await Store.open(f"sqlite:///{path}")
    yield opened
    await opened.close()


def sample(at: float) -> Sample:
    return Sample("hk", at, True, State.up, "ok", vantage="here")


def ask(path: Path, query: str) -> list[tuple[Any, ...]]:
    with closing(sqlite3.connect(path)) as connection:
        return connection.execute(query).fetchall()


def test_the_many_rows_are_stored_in_their_keys(path):
    asyncio.run(_opened_and_closed(path))
    for table in ("sample", "rollup_5m", "rollup_hour"):
        made = ask(path, f"SELECT sql FROM sqlite_master WHERE name='{table}'")[0][0]
        assert "WITHOUT ROWID" in made, table


async def _opened_and_closed(path: Path) -> None:
    await (await Store.open(f"sqlite:///{path}")).close()


async def test_history_does_not_wait_for_the_disk_and_decisions_do(store, path):
    database = store._database
    for engine, expected in ((database.history, 1), (database.decisions, 2)):
        with engine.connect() as connection:
            assert connection.exec_driver_sql("PRAGMA synchronous").scalar() == expected
            assert connection.exec_driver_sql("PRAGMA journal_mode").scalar() == "wal"
    with database.reading.connect() as connection:
        assert connection.exec_driver_sql("PRAGMA query_only").scalar() == 1


async def test_the_room_of_old_samples_is_given_back(store, path):
    for number in range(12_000):
        store.record(sample(number))
        if number % 1000 == 999:
            await store.flush()
    before = ask(path, "PRAGMA page_count")[0][0]
    assert await store.prune(Limits(11_000, 0, 0, 0)) == 11_000
    assert ask(path, "SELECT min(at_ms) FROM sample") == [(11_000_000,)]
    assert ask(path, "PRAGMA page_count")[0][0] < before / 2


async def test_nothing_is_deleted_for_its_age_while_the_clock_is_doubted(store, path):
    store.record(sample(0))
    assert await store.flush()
    store.clock.recall(0.0)
    assert await store.prune(Limits(11_000, 0, 0, 0)) == 0
    assert await store.forget_bans(11_000, 11_000) == 0
    assert ask(path, "SELECT count(*) FROM sample") == [(1,)]


async def test_a_start_long_after_the_last_entry_doubts_the_clock(store, path):
    me = Holder.of_process(os.getpid())
    await store.hold("here", me)
    assert store.clock.steady
    await store.renew(1.0)  # seconds since the epoch
    again = await Store.open(f"sqlite:///{path}")
    await again.hold("here", me)
    assert not again.clock.steady
    await again.close()


async def test_history_waits_while_the_database_is_locked(store, path, caplog):
    caplog.set_level(logging.WARNING, "monitor.store")
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")
        store.record(sample(1.0))
        assert not await store.flush()
        store.record(sample(2.0))
        assert not await store.flush()
        other.execute("ROLLBACK")
    assert await store.flush()
    assert ask(path, "SELECT count(*) FROM sample") == [(2,)]
    assert store.dropped == 0
    assert caplog.text.count("cannot be written") == 1
    assert caplog.text.count("written again") == 1


async def test_a_full_disk_stops_nothing_and_history_catches_up(store, path):
    history = store._database.history
    pages = ask(path, "PRAGMA page_count")[0][0]
    with history.connect() as connection:
        connection.exec_driver_sql(f"PRAGMA max_page_count = {pages}")
    for number in range(1000):
        store.record(sample(number))
    assert not await store.flush()
    with history.connect() as connection:
        connection.exec_driver_sql("PRAGMA max_page_count = 100000")
    assert await store.flush()
    assert ask(path, "SELECT count(*) FROM sample") == [(1000,)]


async def test_only_the_owner_may_read_the_file(store, path):
    await store.audit(Actor("me"), "something", 1.0)
    for name in os.listdir(path.parent):
        assert stat.S_IMODE((path.parent / name).stat().st_mode) == 0o600, name


def foreign(path: Path) -> None:
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE x (y)")


def no_database(path: Path) -> None:
    path.write_text("this is not a database at all\n" * 100)


def damaged(path: Path) -> None:
    async def fill() -> None:
        store = await Store.open(f"sqlite:///{path}")
        for number in range(3000):
            store.record(sample(number))
        await store.close()

    asyncio.run(fill())
    with path.open("r+b") as file:
        file.seek(path.stat().st_size // 2)
        file.write(os.urandom(20_000))


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (foreign, "something else"),
        (no_database, "not a database"),
        (damaged, "damaged|malformed"),
        (Path.mkdir, "cannot be opened"),
    ],
)
def test_a_file_that_is_not_ours_is_refused_and_left_alone(path, spoil, words):
    spoil(path)
    before = path.read_bytes() if path.is_file() else b""
    with pytest.raises(StoreError, match=words) as caught:
        asyncio.run(Store.open(f"sqlite:///{path}"))
    assert "\n" not in str(caught.value)
    assert before == (path.read_bytes() if path.is_file() else b"")


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("sqlite:////nonexistent/directory/x.db", "cannot be opened"),
        ("sqlite:///:memory:", "sqlite:///FILE"),
        ("mysql://x", "sqlite:///FILE"),
    ],
)
async def test_a_store_that_cannot_be_had_is_refused_in_one_sentence(url, words):
    with pytest.raises(StoreError, match=words):
        await Store.open(url)


async def test_a_locked_database_does_not_hold_up_the_loop(store, path):
    ticks = 0

    async def tick() -> None:
        nonlocal ticks
        while True:
            ticks += 1
            await asyncio.sleep(0)

    ticking = asyncio.create_task(tick())
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")
        store.record(sample(1.0))
        assert not await store.flush()
        other.execute("ROLLBACK")
    ticking.cancel()
    assert ticks > 10
