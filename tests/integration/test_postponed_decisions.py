"""Bans and wishes while the store cannot be written: in effect at once, written when it can be."""

from __future__ import annotations

import random
import sqlite3
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from sqlmodel import Session

from dashboard.common.metrics import FAMILIES
from monitor.common.audit import Actor
from monitor.common.ipc import Message
from monitor.common.metric_registry import MetricRegistry
from monitor.health.snapshot import Override
from monitor.store import audit, sqlite, write_queue
from monitor.store.store import Store, StoreError
from router.control.ban_service import BanService, BansInForce
from tests.testkit.wait import wait_until_async

ME = Actor("operator", "here")
NOW = 1_790_000_000.0


class Place:
    """A store whose file somebody else may lock, and the bans kept in it."""

    def __init__(self, store: Store, path: Path) -> None:
        self.store = store
        self.told: list[Message] = []
        self._closed = False
        self.banned = BansInForce((), lambda: NOW)
        self.guard = BanService(
            store,
            self.banned,
            (),
            self.told.append,
            MetricRegistry(FAMILIES),
            clock=lambda: NOW,
            rng=random.Random(1),
        )
        self._other = sqlite3.connect(path, timeout=60, isolation_level=None)

    def lock(self) -> None:
        self._other.execute("BEGIN IMMEDIATE")

    def unlock(self) -> None:
        self._other.execute("ROLLBACK")

    def in_force(self) -> set[str]:
        return {ban.network for ban in self.banned.in_force()}

    async def written(self) -> None:
        await wait_until_async(lambda: not self.store.postponed, 30, "decisions to be written")

    async def log(self) -> list[str]:
        entries = await self.store.read(lambda session: audit.newest(session, 100))
        return [entry.what for entry in reversed(entries)]

    async def close(self) -> None:
        if not self._closed:
            self._closed = True
            await self.store.close()
            self._other.close()


@pytest.fixture
async def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Place]:
    monkeypatch.setattr(sqlite, "DECISION_PATIENCE", 0.05)
    monkeypatch.setattr(write_queue, "RETRY_AFTER", 0.05)
    path = tmp_path / "x.db"
    place = Place(await Store.open(f"sqlite:///{path}"), path)
    yield place
    await place.close()


async def test_bans_and_wishes_hold_at_once_and_are_written_in_order_when_that_is_possible(
    place: Place, caplog: pytest.LogCaptureFixture
):
    await place.guard.add("192.0.2.1/32", None, "before", ME)
    assert len(place.store.postponed) == 0
    place.lock()
    await place.guard.add("192.0.2.2/32", None, "by hand", ME)
    assert place.in_force() == {"192.0.2.1/32", "192.0.2.2/32"}
    lifted = await place.guard.remove("192.0.2.0/24", ME)
    assert {ban.network for ban in lifted} == {"192.0.2.1/32", "192.0.2.2/32"}
    assert place.in_force() == set()
    await place.guard.add("192.0.2.2/32", None, "again", ME)
    await place.guard.allow("198.51.100.0/24", None, ME)
    await place.store.set_wish("hk", Override.drain, None, ME, NOW)
    assert place.in_force() == {"192.0.2.2/32"}
    assert [message["type"] for message in place.told][-2:] == ["ban", "allowed"]
    assert len(place.store.postponed) == 6  # `allow` lifts bans of the network too
    assert "locked" in place.store.problem
    place.unlock()
    await place.written()
    assert place.store.problem == ""
    assert [ban.network for ban in await place.store.active_bans(NOW)] == ["192.0.2.2/32"]
    assert await place.store.wishes() == {"hk": (Override.drain, None)}
    assert await place.store.allowances(NOW) == [("198.51.100.0/24", None)]
    expected = [
        *("ban 192.0.2.1/32: before", "ban 192.0.2.2/32: by hand"),
        *("lift bans of 192.0.2.0/24: 2", "ban 192.0.2.2/32: again"),
        *("allow 198.51.100.0/24", "drain hk"),
    ]
    assert await place.log() == expected
    assert caplog.text.count("cannot be written yet") == 1


async def test_the_store_says_what_it_could_not_take_also_where_nothing_was_postponed(
    place: Place,
):
    def nothing(session: Session) -> None:
        audit.note(session, ME, "x", NOW)

    place.lock()
    with pytest.raises(StoreError, match="locked"):
        await place.store.decide(nothing)
    assert "locked" in place.store.problem
    assert len(place.store.postponed) == 0
    place.unlock()
    await place.store.decide(nothing)
    assert place.store.problem == ""


async def test_postponed_decisions_are_written_at_the_stop_or_named_in_the_log(
    place: Place, caplog: pytest.LogCaptureFixture
):
    place.lock()
    await place.store.set_wish("hk", Override.drain, None, ME, NOW)
    await place.close()
    assert "a decision is lost with this process (drain hk)" in caplog.text


async def test_a_decision_that_no_table_takes_holds_up_no_other(
    place: Place, caplog: pytest.LogCaptureFixture
):
    def refused(session: Session) -> None:
        session.connection().exec_driver_sql("INSERT INTO wish (mirror) VALUES (NULL)")

    with pytest.raises(StoreError) as failed:
        await place.store.decide(refused)
    with pytest.raises(StoreError, match="NOT NULL"):
        place.store.postponed.put(refused, "nonsense", failed.value)
    place.store.postponed.put(refused, "nonsense", StoreError("for now"))
    await place.store.set_wish("hk", Override.drain, None, ME, NOW)
    await place.written()
    assert await place.log() == ["drain hk"]
    assert "a restart forgets it (nonsense)" in caplog.text
