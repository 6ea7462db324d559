"""Control's side of the ledger: a real store, and what workers are told, in which order."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from monitor.common.audit import Actor
from monitor.common.ipc import Message
from monitor.common.keys import KeyOrder, Left, Spent
from monitor.common.metric_registry import MetricRegistry
from monitor.store.store import Store, StoreError
from router.control.key_service import KeyService
from router.control.ledger import Ledger
from router.forwarding.metrics import LEDGER_GAPS
from tests.testkit.wait import wait_until_async

DAY = "2026-11-21"
BY = Actor("alice", "a terminal")


class Scene:
    """A store, a keyring, accounts, and what was told in the order in which it was."""

    def __init__(self, store: Store, keyring: KeyService, told: list[tuple[str, Message]]) -> None:
        self.store = store
        self.key_service = keyring
        self.told = told
        self.now = 1_795_300_000.0
        self.totals = MetricRegistry((LEDGER_GAPS,))
        self.accounts = Ledger(
            store, keyring, self._acknowledge, self.totals, clock=lambda: self.now, every=0.0
        )

    def _acknowledge(self, process: str, message: Message) -> None:
        self.told.append((process, message))

    async def key(self, **order: Any) -> str:
        account, _ = await self.key_service.create(KeyOrder("somebody", **order), BY)
        self.told.clear()
        return account.record.id

    def use(self, key: str, cost: int, seq: int = 1, process: str = "0-1-1") -> None:
        row = [key, DAY, "gpt-4o", "usage", 1, 5, 0, 5, 0, 0, 0, cost]
        self.accounts.hear(process, {"type": "use", "seq": seq, "rows": [row]})

    def left(self, key: str) -> Left:
        """As control has it."""
        account = self.key_service.find(key)
        assert account is not None
        return account.record.left(account.spent)

    def acknowledged(self) -> list[tuple[str, int]]:
        return [(process, each["seq"]) for process, each in self.told if process]

    def left_told(self) -> list[int]:
        return [row[5] for process, each in self.told if not process for row in each["rows"]]

    @property
    def gaps(self) -> float:
        return self.totals.get(LEDGER_GAPS.name)


@asynccontextmanager
async def open_scene(path: Path) -> AsyncIterator[Scene]:
    store = await Store.open(f"sqlite:///{path / 'a.db'}")
    told: list[tuple[str, Message]] = []
    book = await store.key_book()
    keyring = KeyService(store, book, lambda message: told.append(("", message)), "mg-")
    try:
        yield Scene(store, keyring, told)
    finally:
        await store.close()


@pytest.fixture
async def scene(tmp_path: Path) -> AsyncIterator[Scene]:
    async with open_scene(tmp_path) as made:
        yield made


async def test_balances_are_published_before_the_batch_is_acknowledged(scene: Scene):
    key = await scene.key(quota=1000)
    scene.use(key, 100)
    await scene.accounts.write()
    assert [process for process, _ in scene.told] == ["", "0-1-1"]
    assert scene.left_told() == [900]
    assert scene.acknowledged() == [("0-1-1", 1)]
    assert (await scene.store.key_book()).spent == {key: Spent(100, 10)}


async def test_a_batch_that_comes_again_is_acknowledged_again_and_counts_once(scene: Scene):
    key = await scene.key(quota=1000)
    for _ in range(2):
        scene.use(key, 100)
        await scene.accounts.write()
    assert scene.acknowledged() == [("0-1-1", 1)] * 2
    assert scene.left(key).money == 900


async def test_balances_are_the_same_after_a_restart(tmp_path: Path):
    async with open_scene(tmp_path) as scene:
        key = await scene.key(quota=1000, tokens=50)
        scene.use(key, 100)
        scene.use(key, 7, process="1-1-1")
        await scene.accounts.write()
    async with open_scene(tmp_path) as again:
        assert again.left(key) == (893, 30)
        again.use(key, 100)  # its acknowledgement had been lost
        again.use(key, 3, seq=2, process="1-1-1")
        await again.accounts.write()
        assert again.left(key) == (890, 20)


async def test_a_store_that_fails_acknowledges_nothing(scene: Scene, caplog, monkeypatch):
    key = await scene.key(quota=1000)

    async def fail(*_: object) -> None:
        raise StoreError("the disk is full")

    with monkeypatch.context() as broken:
        broken.setattr(scene.store, "write_uses", fail)
        for _ in range(2):
            scene.use(key, 100)
            await scene.accounts.write()
    assert scene.told == []
    assert scene.left(key).money == 1000
    assert len(caplog.records) == 1
    scene.use(key, 100)
    await scene.accounts.write()
    assert scene.acknowledged() == [("0-1-1", 1)]
    assert scene.left(key).money == 900


async def test_workers_hear_of_a_balance_when_it_has_changed_noticeably(scene: Scene):
    key = await scene.key(quota=10_000)
    for seq in range(1, 100):
        scene.use(key, 50, seq)  # half a hundredth
        await scene.accounts.write()
    assert scene.left_told() == list(range(9900, 5000, -100))
    scene.told.clear()
    for seq in range(100, 201):
        scene.use(key, 50, seq)
        await scene.accounts.write()
    told = scene.left_told()
    assert told[-1] == 0
    assert told[-20:] == list(range(950, -50, -50))


async def test_keys_without_quota_are_told_to_nobody(scene: Scene):
    key = await scene.key()
    scene.use(key, 100)
    scene.use("k_unknown", 1, process="1-1-1")
    await scene.accounts.write()
    assert scene.left_told() == []
    assert len(scene.acknowledged()) == 2


@pytest.mark.parametrize(
    ("seconds", "ends", "gaps"),
    [(1.0, False, 1), (59.0, False, 1), (61.0, False, 0), (1.0, True, 0)],
)
async def test_a_worker_that_dies_after_use_leaves_a_gap(scene: Scene, seconds, ends, gaps, caplog):
    scene.use(await scene.key(), 1)
    if ends:
        scene.accounts.hear("0-1-1", {"type": "use", "ends": True})
    scene.now += seconds
    scene.accounts.left("0-1-1")
    scene.accounts.left("another")
    assert scene.gaps == gaps
    assert [r.message for r in caplog.records if "may be missing" in r.message] == [
        "a worker died: up to one second of usage of issued keys may be missing"
    ] * gaps


async def test_it_writes_by_itself_until_it_is_cancelled(scene: Scene):
    key = await scene.key(quota=1000)
    running = asyncio.create_task(scene.accounts.run())
    for seq in (1, 2):
        scene.use(key, 100, seq)
        await wait_until_async(lambda: scene.acknowledged()[-1:] == [("0-1-1", seq)])  # noqa: B023
    running.cancel()
    scene.use(key, 100, 3)
    await scene.accounts.write()
    assert scene.left(key).money == 700
