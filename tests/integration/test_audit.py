"""The audit log in the store, on a real SQLite file and in a real PostgreSQL."""

import asyncio
import contextlib
from collections.abc import AsyncIterator

import pytest

from monitor.common.audit import AUTOMATIC, Actor
from monitor.common.bans import Ban
from monitor.common.config import MonitorRetention
from monitor.common.tasks import Tasks
from monitor.health.snapshot import Override
from monitor.store import audit
from monitor.store.audit import Entry
from monitor.store.pruning import Limits
from monitor.store.store import Store, StoreError
from router.control import audit_trail
from router.control.audit_trail import AuditTrail
from tests.testkit.wait import wait_until_async

ALICE = Actor("alice", "the socket (pid 7)")
NOW = 1_790_000_000.0


async def log_of(store: Store, limit: int = 100, before: int | None = None) -> list[Entry]:
    return await store.read(lambda session: audit.newest(session, limit, before))


async def ban(store: Store, network: str, by: Actor, at: float = NOW) -> None:
    def make(network: str, times: int) -> Ban:
        return Ban(f"b{network}", network, at, at + 60, "noise", by.who, count=times)

    await store.sentence([network], make, by.origin)


async def test_every_change_is_noted_with_who_and_from_where_newest_first(store: Store):
    await ban(store, "192.0.2.1/32", ALICE)
    await store.lift_bans("192.0.2.1", ALICE, NOW + 1)
    await store.allow("192.0.2.0/24", None, ALICE, NOW + 2)
    await store.set_wish("hk", Override.maintenance, NOW + 60, ALICE, NOW + 3)
    await store.audit(Actor("SIGHUP"), "reload: no differences", NOW + 4)
    await ban(store, "192.0.2.2/32", AUTOMATIC, NOW + 5)
    entries = await log_of(store)
    assert [(entry.at - NOW, entry.who, entry.origin, entry.what) for entry in entries] == [
        (5, "automatic", "", "ban 192.0.2.2/32 until 2026-09-21 14:14:25 UTC: noise"),
        (4, "SIGHUP", "", "reload: no differences"),
        (3, *ALICE, "maintenance hk until 2026-09-21 14:14:20 UTC"),
        (2, *ALICE, "allow 192.0.2.0/24"),
        (1, *ALICE, "lift bans of 192.0.2.1/32: 1"),
        (0, *ALICE, "ban 192.0.2.1/32 until 2026-09-21 14:14:20 UTC: noise"),
    ]
    assert await log_of(store, 2) == entries[:2]
    assert await log_of(store, 2, before=entries[1].id) == entries[2:4]
    assert await log_of(store, 2, before=10**18 - 1) == entries[:2]


async def test_a_decision_that_changes_nothing_is_not_audited(store: Store):
    assert await store.lift_bans(None, ALICE, NOW) == []
    assert await log_of(store) == []


async def test_a_change_that_fails_leaves_no_note(store: Store):
    await ban(store, "192.0.2.1/32", ALICE)
    with pytest.raises(StoreError):  # the id is taken
        await ban(store, "192.0.2.1/32", ALICE)
    assert len(await log_of(store)) == 1


async def test_texts_of_operators_are_one_bounded_line_that_no_database_refuses(store: Store):
    evil = "a\0b\x1b[31m\u202ec\ud800\n" + "x" * 5_000
    await store.audit(Actor(evil, evil), evil, NOW)
    (entry,) = await log_of(store)
    assert entry.what.startswith("ab[31mcxxx")
    assert entry.what.endswith("x…")
    assert [len(entry.who), len(entry.origin), len(entry.what)] == [200, 200, 1000]


async def test_the_log_is_kept_for_a_year_and_longer_than_bans(store: Store):
    day = 86400.0
    for age in (400, 366, 364):
        await store.audit(ALICE, f"{age} days old", NOW - age * day)
    await store.prune(Limits.of(NOW, MonitorRetention()))
    assert [entry.what for entry in await log_of(store)] == ["364 days old"]
    await store.forget_bans(NOW, NOW)
    assert len(await log_of(store)) == 1


async def test_automatic_bans_leave_the_log_with_the_bans(
    store: Store, monkeypatch: pytest.MonkeyPatch
):
    """They name clients, who are not to be remembered longer here, and may be very many."""
    monkeypatch.setattr(audit, "_CHUNK", 1)
    await ban(store, "192.0.2.9/32", AUTOMATIC, NOW - 5)
    for number, by in enumerate((AUTOMATIC, ALICE, AUTOMATIC)):
        await ban(store, f"192.0.2.{number}/32", by, NOW + 100 * number)
    await store.forget_bans(NOW + 170, NOW + 170)
    assert [entry.who for entry in await log_of(store)] == ["automatic", "alice"]


@contextlib.asynccontextmanager
async def running(trail: AuditTrail) -> AsyncIterator[None]:
    task = asyncio.create_task(trail.run())
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def test_changes_outside_the_store_are_audited_in_order(store: Store):
    trail = AuditTrail(store, lambda: NOW)
    for number in range(5):
        trail.note(ALICE, f"reload {number}")
    async with running(trail):
        await trail.written()
        assert [entry.what[-1] for entry in await log_of(store)] == list("43210")
        trail.note(ALICE, "reload 5")
        await trail.written()
    assert (await log_of(store, 1))[0].what == "reload 5"


async def test_notes_wait_for_a_store_that_fails_and_lose_nothing(
    store: Store, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    monkeypatch.setattr(audit_trail, "TRY_AGAIN_AFTER", 0.01)
    failures = iter([True, True, True])
    write = store.audit

    async def failing(by: Actor, what: str, now: float) -> None:
        if next(failures, False):
            raise StoreError("the disk is full")
        await write(by, what, now)

    monkeypatch.setattr(store, "audit", failing)
    trail = AuditTrail(store, lambda: NOW)
    trail.note(ALICE, "first")
    trail.note(ALICE, "second")
    async with running(trail):
        await trail.written()
    assert [entry.what for entry in await log_of(store)] == ["second", "first"]
    assert caplog.text.count("the disk is full") == 1


async def test_nobody_waits_long_for_a_note_and_those_waiting_are_bounded(
    store: Store, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    monkeypatch.setattr(audit_trail, "PATIENCE", 0.01)
    monkeypatch.setattr(audit_trail, "MOST_WAITING", 2)
    trail = AuditTrail(store, lambda: NOW)  # nobody writes
    for number in range(3):
        trail.note(ALICE, f"reload {number}")
    await trail.written()
    assert "not recorded in the audit log (alice): reload 2" in caplog.text
    await trail.close()
    assert caplog.text.count("not recorded in the audit log (alice): reload") == 3
    async with running(trail):
        await wait_until_async(lambda: "0 waiting" in repr(trail))
    assert [entry.what for entry in await log_of(store)] == ["reload 1", "reload 0"]


async def test_an_entry_that_cannot_be_written_at_all_holds_up_no_other(
    store: Store, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    write = store.audit

    async def fails(by: Actor, what: str, now: float) -> None:
        if what == "first":
            raise RuntimeError("a fault")
        await write(by, what, now)

    monkeypatch.setattr(store, "audit", fails)
    trail, tasks = AuditTrail(store, lambda: NOW), Tasks()
    trail.note(ALICE, "first")
    trail.note(ALICE, "second")
    tasks.service("audit", trail.run)
    await wait_until_async(lambda: "0 waiting" in repr(trail))
    await trail.written()
    assert [entry.what for entry in await log_of(store)] == ["second"]
    assert "not recorded in the audit log (alice): first" in caplog.text
    await tasks.stop()
