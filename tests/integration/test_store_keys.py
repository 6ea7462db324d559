"""Issued keys in the store: a real SQLite file, and a real PostgreSQL."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
from sqlmodel import Session

from monitor.common.audit import Actor
from monitor.common.keys import DayUse, KeyFault, KeyRecord, Spent, UnknownKey
from monitor.store import audit
from monitor.store.store import Store
from monitor.store.tables import UseRow

BY = Actor("alice", "a terminal")
NOW = 1_790_000_000.0


def key(number: int, **more: Any) -> KeyRecord:
    usual: dict[str, Any] = {
        "name": f"customer {number}",
        "expires_at": None,
        "revoked_at": None,
        "revoked_by": "",
        "rate": 0.0,
        "models": (),
        "quota": None,
        "quota_tokens": None,
    }
    own = {"id": f"k{number:012x}", "digest": f"{number:032x}", "created_at": NOW + number}
    return KeyRecord(**{**usual, **own, "created_by": BY.who, **more})


async def fill(store: Store, *rows: UseRow) -> None:
    def work(session: Session) -> None:
        session.add_all(rows)

    await store.decide(work)


async def test_keys_come_back_as_they_were_made_newest_first(store: Store):
    large = 9 * 10**18
    limited = key(
        2, expires_at=NOW + 9, rate=2.5, models=("gpt-4o*", "o3"), quota=large, quota_tokens=large
    )
    for record in (key(1), limited):
        await store.create_key(record, BY)
    book = await store.key_book()
    assert book.records == [limited, key(1)]
    assert book.spent == {}


async def test_each_store_has_one_pepper(store_url: str, tmp_path: Path):
    peppers = []
    for url in (store_url, store_url, f"sqlite:///{tmp_path / 'other.db'}"):
        store = await Store.open(url)
        pepper = (await store.key_book()).pepper
        assert len(bytes.fromhex(pepper)) == 32
        assert (await store.key_book()).pepper == pepper
        await store.close()
        peppers.append(pepper)
    assert peppers[0] == peppers[1] != peppers[2]


async def test_a_revoked_key_stays_and_is_revoked_once(store: Store):
    await store.create_key(key(1), BY)
    gone = await store.revoke_key(key(1).id, Actor("bob"), NOW + 5)
    assert (gone.revoked_at, gone.revoked_by) == (NOW + 5, "bob")
    assert (await store.key_book()).records == [gone]
    with pytest.raises(KeyFault, match="already"):
        await store.revoke_key(key(1).id, BY, NOW + 6)
    with pytest.raises(KeyFault, match="create a new key"):
        await store.top_up_key(key(1).id, 1, None, BY, NOW)
    assert (await store.key_book()).records == [gone]


async def test_quotas_grow_by_what_is_granted_however_many_grant_at_once(store: Store):
    await store.create_key(key(1, quota=10, quota_tokens=100), BY)
    grants = (store.top_up_key(key(1).id, 5, 7, BY, NOW) for _ in range(20))
    await asyncio.gather(*grants)
    (record,) = (await store.key_book()).records
    assert (record.quota, record.quota_tokens) == (110, 240)


@pytest.mark.parametrize(("quota", "tokens"), [(5, None), (None, 5), (5, 5)])
async def test_a_key_without_a_quota_cannot_be_topped_up(
    store: Store, quota: int | None, tokens: int | None
):
    await store.create_key(key(1, quota=None if quota else 1), BY)
    with pytest.raises(KeyFault, match="nothing to top up"):
        await store.top_up_key(key(1).id, quota, tokens, BY, NOW)
    assert (await store.key_book()).records == [key(1, quota=None if quota else 1)]


async def test_a_quota_stays_countable(store: Store):
    await store.create_key(key(1, quota=9 * 10**18), BY)
    with pytest.raises(KeyFault, match="counted"):
        await store.top_up_key(key(1).id, 9 * 10**18, None, BY, NOW)


async def test_a_key_that_is_not_there_is_said_to_be(store: Store):
    for act in (store.revoke_key("k1", BY, NOW), store.top_up_key("k1", 1, None, BY, NOW)):
        with pytest.raises(UnknownKey, match='no key "k1"'):
            await act


async def test_use_is_summed_by_key_and_listed_by_day(store: Store):
    use: dict[str, Any] = {"model": "m", "basis": "usage"}
    large = 2**61
    await fill(
        store,
        UseRow(key="k1", day="2026-11-20", **use, requests=1, input_tokens=3, cost=large),
        UseRow(key="k1", day="2026-11-21", **use, requests=2, output_tokens=4, cost=5),
        UseRow(key="k2", day="2026-11-21", **use, requests=1, cached_tokens=9, input_tokens=9),
    )
    assert (await store.key_book()).spent == {"k1": Spent(large + 5, 7), "k2": Spent(0, 9)}
    assert await store.key_days("2026-11-21") == [
        DayUse("k1", "2026-11-21", "m", "usage", 2, 0, 0, 4, 0, 0, 0, 5),
        DayUse("k2", "2026-11-21", "m", "usage", 1, 9, 9, 0, 0, 0, 0, 0),
    ]
    assert [day.day for day in await store.key_days("2026-11-01")][-1] == "2026-11-20"


async def test_changes_of_keys_are_in_the_audit_log_without_the_key(store: Store):
    record = key(1, quota=1_500_000_000, quota_tokens=9, expires_at=NOW)
    await store.create_key(record, BY)
    await store.top_up_key(record.id, 10**9, 5, BY, NOW)
    await store.revoke_key(record.id, BY, NOW)
    entries = await store.read(lambda session: audit.newest(session, 10))
    assert {(entry.who, entry.origin) for entry in entries} == {("alice", "a terminal")}
    assert [entry.what for entry in reversed(entries)] == [
        f"create key {record.id} (customer 1) until 2026-09-21 14:13:20 UTC, "
        "quota 1.50 and 9 tokens",
        f"top up key {record.id} (customer 1) by 1.00 and 5 tokens",
        f"revoke key {record.id} (customer 1)",
    ]
    assert not any(record.digest in entry.what for entry in entries)
