"""Use of keys in the store: a real SQLite file, and a real PostgreSQL."""

from __future__ import annotations

import sqlite3
from pathlib import Path

from monitor.common.keys import DayUse, Spent
from monitor.store import ledger
from monitor.store.ledger import Batch
from monitor.store.store import Store

DAY = "2026-11-21"
NOW = 1_795_300_000.0


def use(key: str = "k1", model: str = "gpt-4o", cost: int = 10, requests: int = 1) -> DayUse:
    return DayUse(key, DAY, model, "usage", requests, 5, 2, 3, 1, 1000, 7, cost)


async def test_uses_add_up_by_key_day_model_and_basis(store: Store):
    batches = [Batch("w1", 1, (use(), use("k2"))), Batch("w2", 1, (use(cost=5),))]
    spent = await store.write_uses(batches, NOW)
    assert spent == {"k1": Spent(15, 16), "k2": Spent(10, 8)}
    one, two = sorted(await store.key_days(DAY))
    assert one == DayUse("k1", DAY, "gpt-4o", "usage", 2, 10, 4, 6, 2, 2000, 14, 15)
    assert two.key == "k2"
    assert (await store.key_book()).spent == spent


async def test_a_batch_that_comes_twice_counts_once(store: Store):
    batch = Batch("w1", 1, (use(),))
    assert await store.write_uses([batch, batch], NOW) == {"k1": Spent(10, 8)}
    assert await store.write_uses([batch], NOW) == {}
    assert await store.write_uses([Batch("w1", 3, (use(),))], NOW) == {"k1": Spent(10, 8)}
    assert await store.write_uses([Batch("w1", 2, (use(),))], NOW) == {}
    assert (await store.key_book()).spent == {"k1": Spent(20, 16)}


async def test_names_that_no_database_takes_become_some_that_it_does(store: Store):
    rows = (use(model="a\0b"), use(model="ab"), use(model="\ud800"), use(model="模型"))
    await store.write_uses([Batch("w1", 1, rows)], NOW)
    days = await store.key_days(DAY)
    assert {day.model: day.requests for day in days} == {"ab": 2, "?": 1, "模型": 1}


async def test_large_sums_are_exact(store: Store):
    large = 9 * 10**17 + 1
    for seq in range(1, 6):
        await store.write_uses([Batch("w1", seq, (use(cost=large),))], NOW)
    assert (await store.key_book()).spent["k1"].cost == 5 * large


async def test_numbers_of_processes_long_gone_are_forgotten(store: Store):
    await store.write_uses([Batch("old", 7, (use(),)), Batch("new", 1, (use(),))], NOW)
    await store.write_uses([Batch("new", 2, (use(),))], NOW + 100)
    await store.decide(lambda session: ledger.forget(session, NOW + 50))
    assert await store.write_uses([Batch("new", 2, (use(),))], NOW + 100) == {}
    assert await store.write_uses([Batch("old", 7, (use(),))], NOW + 100) != {}


async def test_written_uses_are_on_disk(tmp_path: Path):
    """Read by somebody else while the writer has the file open."""
    store = await Store.open(f"sqlite:///{tmp_path / 'a.db'}")
    await store.write_uses([Batch("w1", 1, (use(),))], NOW)
    with sqlite3.connect(tmp_path / "a.db") as other:
        assert other.execute('SELECT sum(cost) FROM "use"').fetchone() == (10,)
    other.close()
    await store.close()
