"""Control's side of bans: alerts become decisions, which are kept, told, lifted and forgotten."""

from __future__ import annotations

import asyncio
import json
import random
import time
from collections.abc import AsyncIterator, Iterable
from pathlib import Path
from typing import Any

import pytest

from dashboard.common.metrics import BANS
from dashboard.common.metrics import FAMILIES as DASHBOARD_FAMILIES
from monitor.common.audit import Actor
from monitor.common.ipc import Message
from monitor.common.metric_registry import MetricRegistry
from monitor.common.settings import read
from monitor.common.tasks import CRASHES, Tasks
from monitor.common.tasks import FAMILIES as TASK_FAMILIES
from monitor.store import write_queue
from monitor.store.store import Store, StoreError
from router.admission.ban_list import BanList
from router.admission.client_address import parse
from router.admission.config import LimitsConfig
from router.admission.rejection_reports import RULES
from router.control.ban_service import BanService, BansInForce
from router.control.notices import Notices
from router.forwarding.config import RouterConfig
from tests.testkit.clock import ManualClock
from tests.testkit.wait import wait_until_async as wait_until

NOW = 1_790_000_000.0
BAN = {"violations": 3, "within": 60, "for": 100, "max": 1000}
ME = Actor("operator", "here")
OFFENDER = "203.0.113.7/32"


class Scene:
    """A service with a store of its own, and what it told workers."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.clock = ManualClock(NOW)
        self.told: list[Message] = []
        self.totals = MetricRegistry(DASHBOARD_FAMILIES)
        self.banned = BansInForce((), self.clock)
        self.service = self._service([])
        self.configure()

    def _service(self, allowances: Iterable[tuple[str, float | None]]) -> BanService:
        return BanService(
            self.store,
            self.banned,
            allowances,
            self.told.append,
            self.totals,
            clock=self.clock,
            monotonic=self.clock,
            rng=random.Random(1),
        )

    async def restart(self) -> None:
        """Another control process in place of this one."""
        self.banned = BansInForce(await self.store.active_bans(self.clock()), self.clock)
        self.service = self._service(await self.store.allowances(self.clock()))
        self.configure()

    def configure(self, router: dict[str, Any] | None = None, **limits: Any) -> None:
        table = {"ban": BAN, **limits}
        self.service.configure(read(LimitsConfig, table), read(RouterConfig, router or {}))

    def offend(self, network: str = OFFENDER, seconds: int = 3, rule: str = RULES[0]) -> None:
        for _ in range(seconds):
            self.clock.advance(1)
            self.service.hear([[network, rule, int(self.clock()), "greedy/1", 5]])

    async def settle(self) -> None:
        """Let the service decide on what it has heard."""
        running = asyncio.create_task(self.service.run())
        await wait_until(lambda: self.service.settled)
        for _ in range(3):
            await self.store.audit(ME, "wait for the store", NOW)
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)

    def bans(self) -> dict[str, float]:
        """The seconds of the bans in force, by network."""
        return {b.network: (b.until or 0) - b.since for b in self.banned.in_force()}


@pytest.fixture
async def scene(tmp_path: Path) -> AsyncIterator[Scene]:
    store = await Store.open(f"sqlite:///{tmp_path / 'x.db'}")
    yield Scene(store)
    await store.close()


async def test_an_offender_is_banned_longer_each_time_also_after_a_restart(scene: Scene):
    for times, least in ((1, 100), (2, 200), (3, 400), (4, 800), (5, 1000), (6, 1000)):
        scene.offend()
        await scene.settle()
        (seconds,) = scene.bans().values()
        assert least <= seconds <= min(least * 1.1, 1000)
        (ban,) = scene.banned.in_force()
        assert (ban.count, ban.by, ban.user_agent) == (times, "automatic", "greedy/1")
        scene.clock.advance(1100)
        assert scene.bans() == {}
        await scene.restart()
    assert scene.totals.get(BANS.name, (RULES[0],)) == 6


async def test_workers_are_told_and_a_new_one_gets_the_same_list(scene: Scene):
    scene.offend()
    scene.offend("2001:db8::/64")
    await scene.settle()
    by_news, whole = BanList(), BanList()
    for message in scene.told:
        by_news.add(message["rows"])
    pieces = [json.loads(piece) for piece in scene.service.bans()]
    assert [piece["piece"] for piece in pieces] == list(range(len(pieces)))
    assert pieces[-1]["version"] == scene.told[-1]["version"] == scene.service.version > 0
    for piece in pieces:
        whole.extend(piece["rows"])
    for address in ("203.0.113.7", "2001:db8::99", "192.0.2.1"):
        client = parse(address)
        assert client is not None
        found = whole.find(client, scene.clock())
        assert found == by_news.find(client, scene.clock())
        assert (found is None) == (address == "192.0.2.1")
    await scene.service.remove(None, ME)
    assert json.loads(scene.service.bans()[0])["rows"] == []
    assert sorted(scene.told[-1]["networks"]) == ["2001:db8::/64", OFFENDER]


@pytest.mark.parametrize(
    "network",
    [
        *("127.0.0.9/32", "::/64", "104.16.1.1/32", "2606:4700::/64", "10.1.2.3/32"),
        *("192.168.7.9/32", "2001:db8:7::/64"),
    ],
)
async def test_behind_some_addresses_are_others(scene: Scene, network: str):
    trusted = ["10.0.0.0/8", "::ffff:192.168.7.0/120", "2001:db8:7::5"]
    scene.configure({"trusted_proxies": trusted})
    scene.offend(network, 20)
    await scene.settle()
    assert scene.bans() == {}


async def test_an_allowed_client_is_not_banned_until_that_ends(scene: Scene):
    scene.configure(allow=["198.51.100.0/24"])
    await scene.service.allow(OFFENDER, 50.0, ME)
    assert scene.told[0] == {"type": "allowed", "rows": [[OFFENDER, NOW + 50]]}
    scene.offend("198.51.100.9/32", 9)
    scene.offend(seconds=9)
    await scene.settle()
    assert scene.bans() == {}
    await scene.restart()
    scene.offend(seconds=9)
    assert scene.bans() == {}
    scene.clock.advance(60)
    scene.offend()
    await scene.settle()
    assert list(scene.bans()) == [OFFENDER]


async def test_a_client_whose_ban_was_lifted_begins_anew(scene: Scene):
    scene.offend(seconds=2)
    await scene.service.remove("203.0.113.0/24", ME)
    await scene.service.add(OFFENDER, None, "by hand", ME)
    scene.offend(seconds=9)  # what is banned already is not judged
    await scene.settle()
    assert [ban.reason for ban in scene.banned.in_force()] == ["by hand"]
    (lifted,) = await scene.service.remove(OFFENDER, ME)
    assert lifted.until is None
    scene.offend(seconds=2)
    await scene.settle()
    assert scene.bans() == {}
    assert scene.totals.get(BANS.name, ("operator",)) == 1


async def test_a_ban_that_cannot_be_kept_holds_all_the_same(
    scene: Scene, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    monkeypatch.setattr(write_queue, "MOST_POSTPONED", 0)

    async def fail(*_: object) -> None:
        raise StoreError("the disk is full")

    monkeypatch.setattr(scene.store, "sentence", fail)
    scene.offend()
    await scene.settle()
    assert list(scene.bans()) == [OFFENDER]
    assert "will not survive a restart: the disk is full" in caplog.text
    with pytest.raises(StoreError):
        await scene.service.add("192.0.2.1/32", None, "by hand", ME)
    assert list(scene.bans()) == [OFFENDER]


async def test_bans_ended_by_a_wrong_clock_are_in_force_again(scene: Scene):
    await scene.service.add(OFFENDER, 3600, "abuse", ME)
    await scene.service.allow("198.51.100.0/24", 3600, ME)
    scene.store.clock.recall(time.time() - 3650 * 86400)  # as a clock that is set leaves it
    scene.clock.now += 3650 * 86400
    assert scene.bans() == {}
    assert scene.service.allowances() == []
    await scene.settle()  # what is long over is deleted then
    scene.clock.now -= 3650 * 86400
    scene.told.clear()
    assert await scene.service.recall()
    assert scene.bans().keys() == {OFFENDER}
    assert [network for network, _ in scene.service.allowances()] == ["198.51.100.0/24"]
    assert [message["type"] for message in scene.told] == ["ban", "allowed"]


async def test_bans_past_their_retention_do_not_count(scene: Scene):
    scene.offend()
    await scene.settle()
    scene.clock.advance(8_000_000)
    await scene.settle()
    scene.offend()
    await scene.settle()
    assert [ban.count for ban in scene.banned.in_force()] == [1]


def test_a_missing_setting_is_told_once_and_until_the_settings_change(
    caplog: pytest.LogCaptureFixture,
):
    notices = Notices()
    proxy = {"setting": "trusted_proxies", "address": "172.18.0.2", "field": "x-forwarded-for"}
    for looks in ("private", "private", "cloudflare", "fastly"):
        notices.hear({**proxy, "looks": looks})
    notices.hear({**proxy, "setting": "client_ip_header", "looks": "", "field": "cf-ip"})
    first, second, third, fourth = notices.sentences()
    assert '"172.18.0.2" or "private" into router.trusted_proxies' in first
    assert '"cloudflare" into router.trusted_proxies' in second
    assert "the ranges that fastly publishes" in third
    assert "does not send cf-ip" in fourth
    assert len(caplog.records) == 4
    notices.clear()
    assert notices.sentences() == []


async def test_a_ban_service_that_crashes_goes_on_with_the_next_offender_and_is_counted(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
):
    """Whatever crashes: deciding on one offender, or forgetting what is long over."""
    totals = MetricRegistry(TASK_FAMILIES)
    tasks = Tasks(totals, "control")
    faults, sentence = [RuntimeError("a fault")], scene.store.sentence

    async def fails(*given: Any) -> Any:
        if faults:
            raise faults.pop()
        return await sentence(*given)

    async def never(*given: Any) -> int:
        raise RuntimeError("a fault")

    monkeypatch.setattr(scene.store, "sentence", fails)
    monkeypatch.setattr(scene.store, "forget_bans", never)
    scene.offend()
    task = tasks.service("bans", scene.service.run)
    await wait_until(lambda: totals.get(CRASHES.name, ("bans",)) == 2)
    scene.offend("203.0.113.8/32")
    await wait_until(lambda: scene.bans())
    assert list(scene.bans()) == ["203.0.113.8/32"]
    assert not task.done()
    assert totals.get(CRASHES.name, ("bans",)) == 2
    await tasks.stop()
