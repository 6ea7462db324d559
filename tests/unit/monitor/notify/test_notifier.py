"""Levels that are kept as told: those that a receiver has got, or that were given up."""

import asyncio
from typing import Any

import pytest

from monitor.common.config import MirrorConfig
from monitor.common.metric_registry import MetricRegistry
from monitor.common.settings import read
from monitor.common.tasks import Tasks
from monitor.health.snapshot import HealthSnapshot, MirrorHealth, State
from monitor.notify import metrics, notifier
from monitor.notify.config import NotifyConfig, names_of
from monitor.notify.formats import Outcome
from monitor.notify.message import Message, Style
from monitor.notify.notifier import Notifier
from tests.testkit.wait import wait_until_async

MIRRORS = (MirrorConfig(id="hk", url="https://hk.example"),)
ONE, OTHER = (
    read(NotifyConfig, {"url": f"https://{name}.example/x", "group": 0, "on": ["down", "up"]})
    for name in ("one", "other")
)


ALL = read(NotifyConfig, {"url": "https://all.example/x", "group": 0})
NEW_TOKEN = read(NotifyConfig, {"url": "https://one.example/y", "group": 0, "on": ["down", "up"]})
MOVED = read(NotifyConfig, {"url": "https://new.example/x", "group": 0, "on": ["down"]})


class Scene:
    """A notifier whose receivers answer once they are let."""

    def __init__(self, told: dict[Any, str], *receivers: NotifyConfig) -> None:
        self.kept: list[str] = []
        """Levels of the mirror's outage as they were kept; "" where it is none."""
        self.lets = {each: asyncio.Event() for each in receivers}
        self.outcome = Outcome()
        self.leads = True
        self.sent: list[tuple[NotifyConfig, str]] = []
        self.tried, self.down_is_kept = asyncio.Event(), asyncio.Event()

        async def keep(levels: Any) -> None:
            self.kept.append(levels.get(("down", "hk"), ""))
            if self.kept[-1]:
                self.down_is_kept.set()

        async def send(message: Message, to: NotifyConfig) -> Outcome:
            self.sent.append((to, message.text))
            self.tried.set()
            await self.lets[to].wait()
            return self.outcome

        self.totals = MetricRegistry(metrics.FAMILIES)
        self.notifier = Notifier(
            told, keep, self.totals, Tasks(), leads=lambda: self.leads, send=send
        )
        self.notifier.configure(receivers, MIRRORS, Style("en"))

    def see(self, state: State) -> None:
        health = MirrorHealth(id="hk", state=state)
        self.notifier.see(HealthSnapshot(1, 0.0, "here", {"hk": health}))


@pytest.fixture(autouse=True)
def often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(notifier, "KEEP_EVERY", 0.01)


async def run(scene: Scene, until: asyncio.Event) -> None:
    task = asyncio.create_task(scene.notifier.run())
    try:
        async with asyncio.timeout(20):
            await until.wait()
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def test_a_change_that_no_receiver_has_got_is_not_kept():
    scene = Scene({}, ONE, OTHER)
    scene.see(State.down)
    await run(scene, scene.tried)
    assert "down" not in scene.kept


async def test_nor_is_an_end_that_no_receiver_has_got():
    scene = Scene({("down", "hk"): "down"}, ONE)
    scene.see(State.up)
    await run(scene, scene.tried)
    assert "" not in scene.kept


@pytest.mark.parametrize("outcome", [Outcome(), Outcome("HTTP 404", permanent=True)])
async def test_progress_is_kept_after_a_delivery_or_a_permanent_refusal(outcome: Outcome):
    scene = Scene({}, ONE, OTHER)
    scene.outcome = outcome
    scene.lets[ONE].set()
    scene.see(State.down)
    await run(scene, scene.down_is_kept)


async def test_without_a_receiver_that_wants_it_a_change_is_kept():
    scene = Scene({})
    scene.see(State.down)
    await run(scene, scene.down_is_kept)


def dropped(scene: Scene) -> float:
    return scene.totals.get(metrics.NOTIFICATIONS.name, ("json", "dropped"))


@pytest.mark.parametrize("changed", [NEW_TOKEN, MOVED], ids=["token", "host"])
async def test_waiting_messages_go_by_the_new_settings_of_a_receiver(changed: NotifyConfig):
    scene = Scene({}, ONE)
    scene.outcome = Outcome("HTTP 404: no such hook", pause=3000.0)
    scene.see(State.down)
    scene.lets |= {ONE: asyncio.Event(), changed: asyncio.Event()}
    scene.lets[ONE].set()
    failing = (metrics.FAILING.name, ("json one.example",))

    task = asyncio.create_task(scene.notifier.run())
    await wait_until_async(lambda: scene.totals.get(*failing) == 1, 20, "the failure to show")
    scene.outcome = Outcome()
    scene.notifier.configure([changed], MIRRORS, Style("en"))
    scene.lets[changed].set()
    await wait_until_async(lambda: len(scene.sent) == 2, 20, "the message to be sent again")
    (_, before), (to, after) = scene.sent
    assert (to, after) == (changed, before)
    await wait_until_async(scene.down_is_kept.is_set, 20, "that to be kept")
    assert dropped(scene) == 0
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def test_messages_waiting_for_a_removed_receiver_are_logged_as_dropped(caplog):
    scene = Scene({}, ONE, OTHER)
    scene.see(State.down)
    scene.notifier.configure([OTHER], MIRRORS, Style("en"))
    assert dropped(scene) == 1
    assert "json one.example: removed; notifications not delivered: 1" in caplog.text


async def test_a_kind_that_is_wanted_no_more_is_not_told_by_new_settings():
    scene = Scene({}, ONE)
    scene.see(State.down)
    other = read(NotifyConfig, {"url": ONE.url, "group": 0, "on": ["up"]})
    scene.notifier.configure([other], MIRRORS, Style("en"))
    assert [each["waiting"] for each in scene.notifier.state()] == [0]


async def test_an_instance_that_leads_no_more_sends_only_what_is_its_own():
    scene = Scene({}, ALL)
    scene.lets[ALL].set()
    scene.see(State.down)
    scene.leads = False  # it was stopped, and goes on after another has taken the lead
    scene.notifier.reloaded("line 1: no such setting")
    task = asyncio.create_task(scene.notifier.run())
    await wait_until_async(scene.tried.is_set, 20, "its own to be told")
    scene.notifier.take_over({("down", "hk"): "down", ("nothing_serves", ""): "down"})
    scene.leads = True
    scene.see(State.up)
    await wait_until_async(lambda: len(scene.sent) == 2, 20, "the end of the outage to be told")
    (_, own), (_, end) = scene.sent
    assert ("no such setting" in own, "is down" in own + end) == (True, False)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def test_a_new_leader_sends_the_waiting_messages():
    scene = Scene({}, ONE)
    scene.see(State.down)
    scene.leads = False
    task = asyncio.create_task(scene.notifier.run())
    waiting = (metrics.WAITING.name, ("json one.example",))
    await wait_until_async(lambda: scene.totals.get(*waiting) > 0, 20, "it to wait")
    assert scene.sent == []
    scene.leads = True
    await wait_until_async(scene.tried.is_set, 20, "it to be told")
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


def test_receivers_that_look_alike_have_numbers_unless_they_have_names():
    tables = [{"name": name} for name in ("", "", "night shift", "")]
    receivers = [
        read(NotifyConfig, {"url": f"https://one.example/{number}", **table})
        for number, table in enumerate(tables)
    ]
    host = "json one.example"
    assert names_of(receivers) == [host, f"{host} (2)", "night shift", f"{host} (3)"]
