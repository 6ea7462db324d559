"""One instance of several leads, is replaced when it is gone, and nothing is told twice."""

from __future__ import annotations

from typing import Any

from monitor.common.config import MirrorConfig
from monitor.common.metric_registry import MetricRegistry
from monitor.common.tasks import Tasks
from monitor.health.snapshot import HealthSnapshot, MirrorHealth, State
from monitor.notify.config import NotifyConfig
from monitor.notify.metrics import FAMILIES as NOTIFY_FAMILIES
from monitor.notify.notifier import Notifier
from monitor.store import announcements
from monitor.store.lease import EXPIRES_AFTER, Holder
from monitor.store.store import Store
from router.cluster.leadership import LEADS_FOR, Leadership
from router.cluster.metrics import FAMILIES
from tests.testkit.clock import ManualClock

CLAIMS = 5.0
"""Seconds between two claims."""


class Instance:
    """A claim of one instance, and what it tells operators."""

    def __init__(self, name: str, store: Store, clock: ManualClock) -> None:
        self.store = store
        self.told: list[str] = []
        holder = Holder(f"boot-of-{name}", 1, "1", f"{name}.example")
        totals = MetricRegistry((*FAMILIES, *NOTIFY_FAMILIES))
        self.leadership = Leadership(store, holder, self._take_over, totals, clock=clock)
        self.notifier = Notifier({}, self._keep, totals, Tasks(), leads=self.leadership.leads)
        self.notifier._receivers = {  # nothing is sent: what would be is noted
            NotifyConfig(url="http://x"): (self, None)  # type: ignore[dict-item]
        }
        self.notifier._mirrors = (MirrorConfig(id="hk", url="https://hk.example"),)

    def tell(self, notice: Any) -> None:
        self.told.append(notice.kind.value)

    def owes(self, topic: Any) -> bool:
        return False

    def keep(self, which: Any) -> None:
        """Nothing waits."""

    def see(self, state: State) -> None:
        health = MirrorHealth(id="hk", state=state)
        self.notifier.see(HealthSnapshot(1, 0.0, "here", {"hk": health}))

    async def _keep(self, levels: Any) -> None:
        await self.store.decide(lambda s: announcements.keep_told(s, "all", levels, 1.0))

    async def _take_over(self) -> None:
        self.notifier.take_over(await self.store.read(lambda s: announcements.told(s, "all")))


async def test_the_second_leads_when_the_first_has_been_silent_and_repeats_nothing(store: Store):
    clock = ManualClock()
    first, second = Instance("a", store, clock), Instance("b", store, clock)
    for each in (first, second):
        await each.leadership.turn()
    assert (first.leadership.leads(), second.leadership.leads()) == (True, False)
    for each in (first, second):
        each.see(State.up)
        each.see(State.down)
    await first.notifier._keep_told()
    assert (first.told.count("down"), second.told) == (1, [])
    silent_since = clock()
    while not second.leadership.leads():
        clock.advance(CLAIMS)
        await second.leadership.turn()
        assert not (first.leadership.leads() and second.leadership.leads())
    assert clock() - silent_since <= EXPIRES_AFTER + 2 * CLAIMS
    second.see(State.down)
    assert second.told == []
    second.see(State.up)
    assert second.told.count("up") == 1
    await first.leadership.turn()
    assert not first.leadership.leads()


async def test_a_leader_that_cannot_renew_stops_leading_before_another_may_begin(store: Store):
    clock = ManualClock()
    only = Instance("a", store, clock)
    await only.leadership.turn()
    clock.advance(LEADS_FOR - 1)
    assert only.leadership.leads()
    clock.advance(1)
    assert not only.leadership.leads()
    assert LEADS_FOR < EXPIRES_AFTER
    await only.leadership.turn()
    assert only.leadership.leads()


async def test_a_store_that_was_gone_leaves_the_lead_to_who_told_and_nothing_is_told_twice(
    store: Store,
):
    clock = ManualClock()
    first, second = Instance("a", store, clock), Instance("b", store, clock)
    for each in (first, second):
        await each.leadership.turn()
        each.see(State.up)
    clock.advance(CLAIMS)
    for each in (first, second):
        await each.leadership.turn()
    first.see(State.down)  # told, but the store is gone before it is kept
    clock.advance(60)
    assert not first.leadership.leads()
    await second.leadership.turn()
    clock.advance(CLAIMS)
    await second.leadership.turn()
    assert not second.leadership.leads()
    await first.leadership.turn()
    assert first.leadership.leads()
    first.see(State.down)
    assert first.told.count("down") == 1
    first.see(State.up)
    assert first.told.count("up") == 1
