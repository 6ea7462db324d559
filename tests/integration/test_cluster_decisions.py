"""Bans, keys and use of two instances on one store: told at once, or read if unheard."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable

import pytest

from monitor.common.audit import Actor
from monitor.common.ipc import Message
from monitor.common.keys import DayUse, KeyOrder, Spent
from monitor.common.metric_registry import MetricRegistry
from monitor.store.ledger import Batch
from monitor.store.store import Store
from router.control.ban_service import BanService, BansInForce
from router.control.instance_metrics import FAMILIES
from router.control.key_service import KeyService
from tests.testkit.clock import ManualClock
from tests.testkit.wait import wait_until_async

BY = Actor("anna")
NETWORK = "192.0.2.7/32"


class Instance:
    """The services of one instance; what it tells reaches the other one, if it is heard."""

    def __init__(self, store: Store, clock: ManualClock) -> None:
        self.store, self.clock, self.heard = store, clock, True
        self.banned = BansInForce([], clock)
        self.told: list[Message] = []
        self.bans = BanService(
            store,
            self.banned,
            (),
            self.told.append,
            MetricRegistry(FAMILIES),
            clock=clock,
            tell_others=self._tell,
        )
        self.other: Instance | None = None

    async def begin(self) -> None:
        book = await self.store.key_book()
        self.keys = KeyService(
            self.store, book, self.told.append, "mg-", self.clock, tell_others=self._tell
        )

    def _tell(self, message: Message) -> None:
        if self.heard and self.other is not None:
            message = json.loads(json.dumps(message))
            self.other.bans.hear_other(message)
            self.other.keys.hear_other(message)

    def spent(self, key_id: str) -> Spent:
        return self.keys.account(key_id).spent


@pytest.fixture
async def two(store: Store) -> tuple[Instance, Instance]:
    clock = ManualClock(1_790_000_000.0)
    one, other = Instance(store, clock), Instance(store, clock)
    one.other, other.other = other, one
    for each in (one, other):
        await each.begin()
    return one, other


async def use(instance: Instance, key_id: str, seq: int, cost: int) -> None:
    """Write and charge a report of a worker, as the ledger does."""
    row = DayUse(key_id, "2026-11-21", "gpt-4o", "usage", 1, 10, 0, 5, 0, 0, 0, cost)
    batch = Batch(f"worker of {id(instance)}", seq, (row,))
    instance.keys.charge(await instance.store.write_uses([batch], instance.clock()))


@pytest.mark.parametrize("heard", [True, False])
async def test_a_ban_and_its_end_reach_the_other_instance(
    two: tuple[Instance, Instance], heard: bool
):
    one, other = two
    one.heard = other.heard = heard
    await one.bans.add(NETWORK, None, "too much", BY)
    await _unless(heard, other.bans.catch_up)
    assert NETWORK in other.banned
    assert other.told[-1]["type"] == "ban"
    await other.bans.remove(NETWORK, BY)
    one.clock.advance(1.0)
    await _unless(heard, one.bans.catch_up)
    assert NETWORK not in one.banned
    assert one.told[-1]["type"] == "unban"
    told = len(one.told)
    await one.bans.catch_up()
    assert len(one.told) == told
    await other.bans.allow("198.51.100.0/24", None, BY)
    await _unless(heard, one.bans.catch_up)
    assert one.bans.allowances() == [("198.51.100.0/24", None)]


async def test_a_quota_is_what_all_have_used_whether_it_was_heard_of_or_not(
    two: tuple[Instance, Instance],
):
    one, other = two
    account, _ = await one.keys.create(KeyOrder("shared", quota=1000), BY)
    key_id = account.record.id
    following = asyncio.create_task(other.keys.follow())
    await wait_until_async(lambda: other.keys.find(key_id) is not None)
    await use(one, key_id, 1, 300)
    await use(other, key_id, 1, 200)
    assert one.spent(key_id).cost == other.spent(key_id).cost == 500
    one.heard = False
    await use(one, key_id, 2, 100)
    assert (one.spent(key_id).cost, other.spent(key_id).cost) == (600, 500)
    await other.keys.catch_up()
    assert other.spent(key_id).cost == 600
    assert other.told[-1]["type"] == "key"
    one.heard = True
    await one.keys.revoke(key_id, BY)
    await wait_until_async(lambda: other.keys.account(key_id).record.revoked_at is not None)
    following.cancel()


async def _unless(heard: bool, catch_up: Callable[[], Awaitable[None]]) -> None:
    if not heard:
        await catch_up()
