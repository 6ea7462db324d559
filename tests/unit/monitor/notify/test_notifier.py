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
from monitor.notify.config import NotifyConfig
from monitor.notify.formats import Outcome
from monitor.notify.message import Message, Style
from monitor.notify.notifier import Notifier

MIRRORS = (MirrorConfig(id="hk", url="https://hk.example"),)
ONE, OTHER = (
    read(NotifyConfig, {"url": f"https://{name}.example/x", "group": 0, "on": ["down", "up"]})
    for name in ("one", "other")
)


class Scene:
    """A notifier whose receivers answer once they are let."""

    def __init__(self, told: dict[Any, str], *receivers: NotifyConfig) -> None:
        self.kept: list[str] = []
        """Levels of the mirror's outage as they were kept; "" where it is none."""
        self.lets = {each: asyncio.Event() for each in receivers}
        self.outcome = Outcome()
        self.tried, self.down_is_kept = asyncio.Event(), asyncio.Event()

        async def keep(levels: Any) -> None:
            self.kept.append(levels.get(("down", "hk"), ""))
            if self.kept[-1]:
                self.down_is_kept.set()

        async def send(message: Message, to: NotifyConfig) -> Outcome:
            self.tried.set()
            await self.lets[to].wait()
            return self.outcome

        totals = MetricRegistry(metrics.FAMILIES)
        self.notifier = Notifier(told, keep, totals, Tasks(), send=send)
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
async def test_what_one_receiver_has_got_or_would_never_take_is_kept(outcome: Outcome):
    scene = Scene({}, ONE, OTHER)
    scene.outcome = outcome
    scene.lets[ONE].set()
    scene.see(State.down)
    await run(scene, scene.down_is_kept)


async def test_without_a_receiver_that_wants_it_a_change_is_kept():
    scene = Scene({})
    scene.see(State.down)
    await run(scene, scene.down_is_kept)
