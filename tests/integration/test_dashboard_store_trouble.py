"""The public pages over a real store that another process holds locked, or that is gone."""

from __future__ import annotations

import asyncio
import json
import shutil
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from aiohttp import ClientSession

from dashboard.public.app import build_public_app
from dashboard.public.page import PAST_IS_OLD
from monitor.common.metric_registry import MetricRegistry
from monitor.engine.recorder import History
from monitor.health.past import Past
from monitor.health.snapshot import HealthSnapshot, State
from monitor.store.store import Store
from router.control.instance_metrics import FAMILIES
from tests.testkit.dashboard import BROWSER, HEALTH, NOW, FakeSources, serving
from tests.testkit.wait import wait_until_async

LIMIT = 20.0
"""Seconds for what must happen; the event ends the wait."""
OLD = "the store cannot be read at the moment"
PAGES = (
    *("/", "/nodes/hk", "/history", "/banned", "/api/v1/nodes", "/api/v1/nodes/hk/days"),
    *("/api/v1/incidents", "/api/v1/health", "/api/v2/summary.json", "/feed.atom"),
)
LOCK = {
    "a transaction": """
import sqlite3
other = sqlite3.connect(PATH, isolation_level=None)
other.execute("BEGIN EXCLUSIVE")
""",
    "the files": """
import fcntl
held = open(PATH + "-shm", "r+b")
fcntl.lockf(held, fcntl.LOCK_EX, 8, 120)  # the locks of SQLite's write-ahead log (wal.c)
""",
}
"""How another process holds the database: against writers, and against readers too."""


@dataclass
class Sources(FakeSources):
    """The past is read from a store."""

    history: History | None = None
    moment: list[float] = field(default_factory=lambda: [NOW])

    def past(self) -> Past:
        assert self.history is not None
        return self.history.past


@pytest.fixture
async def sources(tmp_path: Path, monkeypatch) -> AsyncIterator[Sources]:
    monkeypatch.setattr("monitor.engine.recorder.READ_EVERY", 0.02)
    (tmp_path / "past").mkdir()
    store = await Store.open(f"sqlite:///{tmp_path / 'past' / 'm.db'}")
    made = Sources()
    clock = lambda: made.moment[0]  # noqa: E731
    made.history = History(store, "sh-1", MetricRegistry(FAMILIES), clock, clock)
    await made.history.start()
    health = {each.id: each for each in HEALTH}
    made.history.see(HealthSnapshot(1, NOW, "sh-1", health))
    made.moment[0] += 30
    made.history.keep()
    assert await store.flush()
    made.moment[0] += 1  # so that the reading waited for has begun after all was written
    await wait_until_async(lambda: made.past().read_at == made.moment[0], LIMIT)
    assert "hk" in made.past().windows
    yield made
    await made.history.stop()
    await store.close()


@pytest.fixture
async def client(sources: Sources) -> AsyncIterator[ClientSession]:
    app = build_public_app(sources, lambda: sources.moment[0], stale_after=lambda: 1e6)
    async with serving(app) as session:
        yield session


@asynccontextmanager
async def locked(path: Path, how: str) -> AsyncIterator[None]:
    """Another process holds the database."""
    code = f"PATH = {str(path)!r}\n{LOCK[how]}\nprint('held', flush=True)\ninput()"
    pipe = asyncio.subprocess.PIPE
    other = await asyncio.create_subprocess_exec(
        sys.executable, "-c", code, stdin=pipe, stdout=pipe
    )
    assert other.stdout is not None
    assert await asyncio.wait_for(other.stdout.readline(), LIMIT) == b"held\n"
    try:
        yield
    finally:
        other.kill()
        await other.wait()


async def every_page(client: ClientSession) -> dict[str, str]:
    told = {}
    for path in PAGES:
        headers = BROWSER if "/api/" not in path else {}
        async with asyncio.timeout(LIMIT), client.get(path + "?lang=en", headers=headers) as answer:
            assert answer.status == 200, path
            told[path] = await answer.text()
    return told


async def front(client: ClientSession, **headers: str) -> str:
    async with client.get("/?lang=en", headers=headers or BROWSER) as answer:
        return await answer.text()


async def reads_again(sources: Sources) -> bool:
    """True if the past is read as often as ever."""
    return sources.past().read_at == sources.moment[0]


async def test_pages_say_how_old_the_past_is_while_the_store_cannot_be_read(
    sources: Sources, client: ClientSession, tmp_path: Path
):
    before = await every_page(client)
    async with locked(tmp_path / "past" / "m.db", "the files"):
        read_at = sources.past().read_at
        sources.moment[0] += PAST_IS_OLD + 60
        told = await every_page(client)
        assert sources.past().read_at == read_at
        assert OLD in told["/"]
        assert OLD in told["/nodes/hk"]
        assert "History is of 21 Nov 17:00" in told["/"]
        assert OLD in await front(client, **{"User-Agent": "curl/8", "Accept": "*/*"})
        known = told["/api/v1/nodes"].partition('"uptime"')[2]
        assert known == before["/api/v1/nodes"].partition('"uptime"')[2]
        sources.health = tuple(
            type(each)(each.id, State.down, NOW, "dns_down", last_probe=sources.moment[0])
            for each in HEALTH
        )
        sources.moment[0] += 1
        assert 'data-state="down"' in await front(client)  # the present is not affected
    await wait_until_async(lambda: reads_again(sources), LIMIT)
    sources.moment[0] += 1
    assert OLD not in await front(client)


@pytest.mark.parametrize("trouble", ["a transaction", "gone"])
async def test_pages_go_on_where_the_store_cannot_be_written_or_is_gone(
    sources: Sources, client: ClientSession, tmp_path: Path, trouble: str
):
    before = await every_page(client)
    async with locked(tmp_path / "past" / "m.db", "a transaction"):
        if trouble == "gone":
            shutil.rmtree(tmp_path / "past")
        sources.moment[0] += 60
        assert sources.history is not None
        sources.history.keep()
        told = await every_page(client)
    for pages in (before, told):
        assert json.loads(pages["/api/v1/nodes/hk/days"])["days"][-1]["up_s"] == 30
        assert OLD not in pages["/"]  # it can be read
