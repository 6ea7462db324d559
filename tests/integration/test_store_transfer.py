"""A store copied to another database, and restored from a backup: the same answers and pages."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import create_engine, func, select
from sqlmodel import SQLModel

from dashboard.public.app import build_public_app
from monitor.common.audit import Actor
from monitor.common.bans import Ban
from monitor.common.config import MirrorConfig
from monitor.common.keys import KeyOrder
from monitor.common.metric_registry import MetricRegistry
from monitor.engine.metrics import FAMILIES
from monitor.engine.recorder import History
from monitor.health.past import Past
from monitor.health.snapshot import Override, State
from monitor.store import announcements, queries
from monitor.store.audit import newest
from monitor.store.database import backend_of
from monitor.store.errors import StoreError
from monitor.store.records import Transition
from monitor.store.store import Store
from monitor.store.transfer import transfer
from router.cli import main
from router.control.key_service import KeyService
from tests.testkit.dashboard import BROWSER, NOW, FakeSources, serving
from tests.testkit.postgresql import PostgresqlServer
from tests.testkit.pretended_past import Life, Outage, fill
from tests.testkit.wait import wait_until_async

ME = Actor("operator", "here")
VANTAGE = "sh-1"
LIVES = (
    Life("hk", (5, 20, 40, 180), [Outage(3, 30, "sni_block_rst", 2)], maintenance=[(1, 2)]),
    Life("jp", (5, 60, 90, 300), [Outage(0.5, 12, "tls_timeout")], slow=[(2, 4)]),
)
PAGES = [
    *("/", "/?lang=zh", "/history", "/history?lang=zh", "/nodes/hk", "/nodes/jp", "/banned"),
    *("/feed.atom", "/api/v1/incidents", "/api/v1/nodes/hk/days", "/api/v1/nodes/jp/days?n=7"),
    *("/api/v1/bans", "/api/v1/nodes", "/badge/hk.svg"),
]


async def filled(url: str) -> None:
    """Write a past, bans, wishes, keys and their use, and an announcement."""
    await asyncio.to_thread(fill, url, LIVES, VANTAGE, NOW)
    store = await Store.open(url)
    try:
        await store.add_ban(Ban("b1", "192.0.2.1/32", NOW - 60, NOW + 600, "by hand", "me", ""))
        await store.allow("198.51.100.0/24", None, ME, NOW)
        await store.set_wish("jp", Override.drain, None, ME, NOW)
        keys = KeyService(store, await store.key_book(), lambda message: None, "mg-")
        await keys.create(KeyOrder("alice"), ME)
    finally:
        await store.close()


async def answers(url: str) -> tuple[Past, dict[str, Any]]:
    """Everything that pages are made from, and other answers of the store."""
    store = await Store.open(url)
    try:
        history = History(store, VANTAGE, MetricRegistry(FAMILIES), lambda: NOW, time.monotonic)
        await history.start()
        await history._read()
        await history.stop()
        told = {
            "bans": await store.active_bans(NOW),
            "allowances": await store.allowances(NOW),
            "wishes": await store.wishes(),
            "keys": (await store.key_book()),
            "days": await store.key_days("2000-01-01"),
            "audit": await store.read(lambda session: newest(session, 1000)),
            "announced": await store.read(announcements.announced),
        }
        return history.past, told
    finally:
        await store.close()


async def pages(past: Past, told: Mapping[str, Any]) -> dict[str, str]:
    mirrors = tuple(MirrorConfig(life.mirror, f"https://{life.mirror}.example") for life in LIVES)
    sources = FakeSources(
        mirrors_=mirrors, past_=past, bans_=told["bans"], announced_=told["announced"]
    )
    shown = {}
    async with serving(build_public_app(sources, lambda: NOW)) as client:
        for page in PAGES:
            async with client.get(page, headers=BROWSER) as answer:
                assert answer.status == 200, page
                shown[page] = await answer.text()
    return shown


async def test_a_copy_in_postgresql_gives_the_same_answers_and_pages(
    tmp_path: Path, postgresql: PostgresqlServer
):
    source, target = f"sqlite:///{tmp_path / 'x.db'}", postgresql.fresh()
    await filled(source)
    copied = await asyncio.to_thread(transfer, source, target)
    assert {"sample", "ban", "wish", "audit", "incident"} <= {
        n for n, rows in copied.items() if rows
    }
    (past, told), (their_past, theirs) = await answers(source), await answers(target)
    assert told == theirs
    assert past == their_past
    assert past.incidents
    assert past.days["hk"]
    assert await pages(past, told) == await pages(their_past, theirs)
    # What is written next has numbers of its own.
    store = await Store.open(target)
    await store.audit(ME, "afterwards", NOW)
    assert (await store.read(lambda session: newest(session, 1)))[0].what == "afterwards"
    await store.close()
    with pytest.raises(StoreError, match="holds rows already"):
        await asyncio.to_thread(transfer, source, target)
    back = f"sqlite:///{tmp_path / 'back.db'}"
    assert await asyncio.to_thread(transfer, target, back)
    assert (await answers(back))[1]["keys"] == told["keys"]


def rows_of(url: str) -> dict[str, int]:
    engine = create_engine(url)
    with engine.connect() as connection:
        counted = {
            table.name: connection.execute(select(func.count()).select_from(table)).scalar_one()
            for table in SQLModel.metadata.sorted_tables
        }
    engine.dispose()
    return counted


async def transitions_of(url: str) -> list[float]:
    store = await Store.open(url)
    try:
        found = await store.read(lambda session: queries.transitions(session, "us", 10_000))
        return [each.at - NOW for each in found]
    finally:
        await store.close()


async def test_a_backup_taken_under_load_restores_to_the_same_answers(tmp_path: Path):
    url, copy = f"sqlite:///{tmp_path / 'x.db'}", tmp_path / "copy.db"
    await filled(url)
    before = await answers(url)
    store = await Store.open(url)
    begun, done = asyncio.Event(), asyncio.Event()

    async def write() -> int:
        number = 0
        while not done.is_set():
            number += 1
            store.record(Transition("us", NOW + number, State.up, vantage=VANTAGE))
            await store.audit(ME, f"entry {number}", NOW + number)
            await store.flush()
            if number == 3:
                begun.set()
        return number

    writing = asyncio.create_task(write())
    await wait_until_async(begun.is_set, 60, "writing to be under way")
    await asyncio.to_thread(backend_of(url).backup, str(copy))
    done.set()
    written = await writing
    await store.close()
    past, told = await answers(f"sqlite:///{copy}")
    entries = [entry.what for entry in told.pop("audit") if entry.what.startswith("entry")]
    assert entries == [f"entry {n}" for n in range(len(entries), 0, -1)], "a gap"
    assert 3 <= len(entries) <= written
    restored = await transitions_of(f"sqlite:///{copy}")
    assert restored == list(range(len(restored), 0, -1)), "a gap"
    before[1].pop("audit")
    assert told == before[1]
    assert past.incidents == before[0].incidents
    assert past.days == before[0].days


def test_the_command_copies_and_says_how_to_go_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.chdir(tmp_path)
    Path("config.toml").write_text('[[mirrors]]\nid = "a"\nurl = "https://a.example"\n')
    assert main.main(["db", "copy", "sqlite:///other.db"]) == 1
    assert "there is nothing to copy" in capsys.readouterr().err
    asyncio.run(filled(f"sqlite:///{tmp_path / 'mirrorgate.db'}"))
    monkeypatch.setenv("TARGET", "sqlite:///other.db")
    assert main.main(["db", "copy", "env:TARGET", "--json"]) == 0
    copied = json.loads(capsys.readouterr().out)["rows"]
    theirs = rows_of(f"sqlite:///{tmp_path / 'other.db'}")
    assert copied == {name: theirs[name] for name in copied}
    assert theirs["lease"] == 0
    assert main.main(["db", "copy", "env:NOT_THERE"]) == 2
