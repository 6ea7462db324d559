"""The store on a real SQLite file, in good and bad times."""

import asyncio
import logging
import os
import signal
import sqlite3
import stat
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from monitor.bans import Ban
from monitor.health.board import Latency, State, Wish
from monitor.history.store import Sample, Store, StoreError, Transition
from monitor.history.tables import SCHEMA_VERSION, AuditRow
from monitor.history.writer import HistoryWriter
from tests.support.wait import wait_until_async


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "history.db"


@pytest.fixture
async def store(path: Path) -> AsyncIterator[Store]:
    opened = await Store.open(f"sqlite:///{path}")
    yield opened
    await opened.close()


def sample(at: float, mirror: str = "hk") -> Sample:
    return Sample(mirror, at, True, State.up, "ok", Latency(None, 1.5, 2, 3), "here")


def ban(name: str, network: str, since: float = 0.0, until: float | None = None) -> Ban:
    return Ban(name, network, since, until, "too_many_connections", "limits", "curl/8", 2)


def ask(path: Path, query: str) -> list[tuple[Any, ...]]:
    with closing(sqlite3.connect(path)) as connection:
        return connection.execute(query).fetchall()


async def test_samples_are_written_by_and_by(store, path):
    store.record_sample(sample(1.0015))
    store.record_sample(sample(1.0015))
    store.record_sample(sample(2.0))
    await wait_until_async(lambda: ask(path, "SELECT count(*) FROM sample") == [(2,)])
    row = ask(path, "SELECT at_ms, vantage, ok, state, connect_us, resolve_us FROM sample")[0]
    assert row == (1002, "here", 1, "up", 1500, None)
    assert "WITHOUT ROWID" in ask(path, "SELECT sql FROM sqlite_master WHERE name='sample'")[0][0]


async def test_closing_writes_what_is_queued(path):
    store = await Store.open(f"sqlite:///{path}")
    for number in range(2500):
        store.record_sample(sample(number))
    await store.close()
    assert ask(path, "SELECT count(*) FROM sample") == [(2500,)]
    assert store.dropped == 0


async def test_transitions_come_back_newest_first(store):
    changes = [
        Transition("hk", 1.0, State.up, "ok", "", "here"),
        Transition("us", 2.0, State.up, "ok", "", "here"),
        Transition("hk", 3.0, State.down, "tls_reset", "reset", "here"),
    ]
    for change in changes:
        store.record_transition(change)
    assert await store.flush()
    assert await store.transitions(None, 2) == [changes[2], changes[1]]
    assert await store.transitions("hk", 10) == [changes[2], changes[0]]
    assert await store.last_states() == {"hk": changes[2], "us": changes[1]}


async def test_last_samples_are_known_per_mirror(store):
    for at, mirror in ((1.0, "hk"), (5.0, "hk"), (3.0, "us")):
        store.record_sample(sample(at, mirror))
    await store.flush()
    assert await store.last_samples() == {"hk": 5.0, "us": 3.0}


async def test_bans_end_by_time_or_by_hand(store):
    bans = [
        ban("a", "192.0.2.1/32", since=1, until=10),
        ban("b", "198.51.100.0/24", since=2),
        ban("c", "2001:db8::/64", since=3, until=20),
    ]
    for each in bans:
        await store.add_ban(each)
    assert await store.active_bans(5) == bans[::-1]
    assert await store.active_bans(10) == [bans[2], bans[1]]
    assert await store.lift_bans("198.51.100.7", "operator", 11) == [bans[1]]
    assert await store.lift_bans("198.51.100.7", "operator", 11) == []
    assert await store.lift_bans("192.0.2.1", "operator", 11) == []
    assert await store.active_bans(11) == [bans[2]]
    assert await store.ban_count("192.0.2.1/32") == 1
    with pytest.raises(ValueError):
        await store.lift_bans("nonsense", "operator", 11)


async def test_allowances_end_and_can_be_renewed(store):
    await store.allow("192.0.2.1", 10.0, "operator", 0.0)
    await store.allow("10.0.0.0/8", None, "operator", 0.0)
    assert await store.allowed(9.0) == ["10.0.0.0/8", "192.0.2.1/32"]
    assert await store.allowed(10.0) == ["10.0.0.0/8"]
    await store.allow("192.0.2.1", 30.0, "operator", 20.0)
    assert await store.allowed(20.0) == ["10.0.0.0/8", "192.0.2.1/32"]


async def test_the_last_wish_counts_and_survives(path):
    store = await Store.open(f"sqlite:///{path}")
    await store.set_wish("hk", Wish.drain, None, "operator", 1.0)
    await store.set_wish("hk", Wish.maintenance, 50.0, "operator", 2.0)
    await store.close()
    store = await Store.open(f"sqlite:///{path}")
    assert await store.wishes() == {"hk": (Wish.maintenance, 50.0)}
    await store.close()


async def test_every_decision_is_in_the_audit_log(store, path):
    await store.add_ban(ban("a", "192.0.2.1/32"))
    await store.lift_bans("192.0.2.1", "alice", 1.0)
    await store.allow("192.0.2.1", None, "bob", 2.0)
    await store.set_wish("hk", Wish.drain, None, "carol", 3.0)
    await store.audit("dave", "reload", 4.0)
    who = [row[0] for row in ask(path, "SELECT who FROM audit ORDER BY id")]
    assert who == ["limits", "alice", "bob", "carol", "dave"]


async def test_old_samples_are_deleted_and_their_room_is_given_back(store, path):
    for number in range(12_000):
        store.record_sample(sample(number))
        if number % 1000 == 999:
            await store.flush()
    before = ask(path, "PRAGMA page_count")[0][0]
    assert await store.prune_samples(11_000) == 11_000
    assert ask(path, "SELECT min(at_ms) FROM sample") == [(11_000_000,)]
    assert ask(path, "PRAGMA page_count")[0][0] < before / 2


async def test_history_waits_while_the_database_is_locked(store, path, caplog):
    caplog.set_level(logging.WARNING, "monitor.history")
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")
        store.record_sample(sample(1.0))
        assert not await store.flush()
        store.record_sample(sample(2.0))
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
        store.record_sample(sample(number))
    assert not await store.flush()
    with history.connect() as connection:
        connection.exec_driver_sql("PRAGMA max_page_count = 100000")
    assert await store.flush()
    assert ask(path, "SELECT count(*) FROM sample") == [(1000,)]


async def test_a_decision_that_cannot_be_kept_is_refused(store, path):
    await store.add_ban(ban("a", "192.0.2.1/32"))
    with pytest.raises(StoreError, match="the store failed"):
        await store.add_ban(ban("a", "192.0.2.2/32"))  # the id is taken
    assert [each.network for each in await store.active_bans(1.0)] == ["192.0.2.1/32"]


async def test_a_full_queue_drops_the_newest_and_counts():
    written: list[Any] = []

    async def write(rows: Sequence[object]) -> None:
        written.extend(rows)

    writer = HistoryWriter(write, size=3)
    for number in range(5):
        writer.put(AuditRow(at=number, who="", what=""))
    assert writer.dropped == 2
    await writer.stop()
    assert [row.at for row in written] == [0, 1, 2]


async def test_only_the_owner_may_read_the_file(store, path):
    await store.audit("me", "something", 1.0)
    for name in os.listdir(path.parent):
        assert stat.S_IMODE((path.parent / name).stat().st_mode) == 0o600, name


def newer(path: Path) -> None:
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE x (y)")
        connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION + 1}")


def foreign(path: Path) -> None:
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE x (y)")


def no_database(path: Path) -> None:
    path.write_text("this is not a database at all\n" * 100)


def damaged(path: Path) -> None:
    async def fill() -> None:
        store = await Store.open(f"sqlite:///{path}")
        for number in range(3000):
            store.record_sample(sample(number))
        await store.close()

    asyncio.run(fill())
    with path.open("r+b") as file:
        file.seek(path.stat().st_size // 2)
        file.write(os.urandom(20_000))


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (newer, "newer mirrorgate"),
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
        ("postgresql://localhost/x", "not supported by this version"),
        ("postgresql+psycopg://localhost/x", "not supported by this version"),
        ("sqlite:////nonexistent/directory/x.db", "cannot be opened"),
        ("sqlite:///:memory:", "sqlite:///FILE"),
        ("mysql://x", "sqlite:///FILE"),
    ],
)
async def test_a_store_that_cannot_be_had_is_refused_in_one_sentence(url, words):
    with pytest.raises(StoreError, match=words):
        await Store.open(url)


WRITE_BANS = """
import asyncio, sys
from monitor.bans import Ban
from monitor.history.store import Store

async def main():
    store = await Store.open(sys.argv[1])
    number = 0
    while True:
        network = f"198.18.{number // 256}.{number % 256}/32"
        await store.add_ban(Ban(f"b{number}", network, number, None, "test", "test"))
        print(number, flush=True)
        number += 1

asyncio.run(main())
"""


async def test_acknowledged_bans_survive_kill_9(path):
    url = f"sqlite:///{path}"
    command = (sys.executable, "-c", WRITE_BANS, url)
    process = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE)
    assert process.stdout is not None
    acknowledged = 0
    async with asyncio.timeout(30):
        while acknowledged < 25:
            acknowledged = int(await process.stdout.readline())
        process.send_signal(signal.SIGKILL)
        rest = (await process.stdout.read()).split(b"\n")
        await process.wait()
    whole = [int(line) for line in rest[:-1] if line]
    acknowledged = max([acknowledged, *whole])
    store = await Store.open(url)
    kept = {each.id for each in await store.active_bans(1e9)}
    assert {f"b{number}" for number in range(acknowledged + 1)} <= kept
    await store.close()


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
        store.record_sample(sample(1.0))
        assert not await store.flush()
        other.execute("ROLLBACK")
    ticking.cancel()
    assert ticks > 10
