"""What is asked of mirrors now and then, beside the probes: their keys, their speed, a completion.

Such an errand may take half a minute, and probes must not wait for it. So each runs in a task of
its own, one for a mirror and few at once: transfers that compete for our line measure each other.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
from functools import partial

from monitor.canaries import Canaries
from monitor.config import MirrorConfig, MonitorConfig
from monitor.diagnosis.trial import Finding
from monitor.metrics import count_canary
from monitor.probes.result import Canary, Way
from monitor.probes.room import NoRoom
from monitor.slowly import Slowly
from monitor.tasks import Tasks, cancelled
from monitor.totals import Totals
from monitor.watch import MirrorWatch

log = logging.getLogger(__name__)

AT_ONCE = 4


class Errands:
    """Runs what is due, and takes what came of it into what is known; owns the tasks."""

    def __init__(
        self,
        slowly: Slowly,
        canaries: Canaries,
        watches: Mapping[str, MirrorWatch],
        burdened: Callable[[MirrorWatch, Finding], None],
        touched: Callable[[str], None],
        totals: Totals,
        tasks: Tasks | None = None,
    ) -> None:
        """`burdened` is told when what is known of a mirror's speed changes; `touched` is called
        with the id of every mirror that should be shown anew."""
        self._slowly = slowly
        self._canaries = canaries
        self._watches = watches
        self._burdened = burdened
        self._touched = touched
        self._totals = totals
        self._supervisor = tasks or Tasks(totals)
        self._slots = asyncio.Semaphore(AT_ONCE)
        self._running: dict[str, asyncio.Task[None]] = {}

    def __repr__(self) -> str:
        return f"<Errands to {', '.join(self._running) or 'nobody'}>"

    def run(self, mirror: MirrorConfig, way: Way, config: MonitorConfig) -> None:
        """Begin what is due of a mirror, over a path that works; no more if that is under way."""
        if mirror.id in self._running or not (mirror.api_key or mirror.bulk_path):
            return
        run = partial(self._run, mirror, way, config)
        task = self._supervisor.job("errands", run, about=mirror.id)
        self._running[mirror.id] = task
        task.add_done_callback(partial(self._ended, mirror.id))

    def forget(self, mirror_id: str) -> None:
        """The mirror is gone: break off what concerns it."""
        if (task := self._running.pop(mirror_id, None)) is not None:
            task.cancel()
        self._slowly.forget(mirror_id)
        self._canaries.forget(mirror_id)

    def traffic(self, mirror_id: str, received: int, stopped: bool) -> None:
        """A longer answer to a client has ended, or has broken off, after so many bytes."""
        if mirror_id in self._watches:
            self._slowly.traffic(mirror_id, received, stopped)
            self.weigh(mirror_id)

    def doubt_key(self, mirror_id: str) -> None:
        """Traffic has found that a mirror refuses its own key."""
        if mirror_id in self._watches:
            self._slowly.doubt_key(mirror_id)

    def calls_for_key(self, mirror_id: str) -> bool:
        """Whether its key is to be checked before the next regular probe; told once."""
        return self._slowly.calls_for_key(mirror_id)

    def weigh(self, mirror_id: str) -> None:
        """Take what is known of a mirror's speed and models."""
        watch = self._watches.get(mirror_id)
        if watch is None:
            return
        before, watch.models = watch.models, self._slowly.models(mirror_id)
        finding, reaction = self._slowly.reaction(mirror_id)
        if watch.weigh(finding, reaction):
            self._burdened(watch, finding)
            self._touched(mirror_id)
        elif watch.models != before:
            self._touched(mirror_id)

    async def stop(self) -> None:
        """Break off everything and wait for its end."""
        await cancelled(self._running.values())

    def _ended(self, mirror_id: str, task: asyncio.Task[None]) -> None:
        if self._running.get(mirror_id) is task:
            del self._running[mirror_id]

    async def _run(self, mirror: MirrorConfig, way: Way, config: MonitorConfig) -> None:
        try:
            async with self._slots:
                await self._errands(mirror, way, config)
        except NoRoom:
            pass  # callers need all of it; there will be another time

    async def _errands(self, mirror: MirrorConfig, way: Way, config: MonitorConfig) -> None:
        check = await self._slowly.check_key(mirror, way, config.timeouts)
        if check is not None:
            self._key_checked(mirror.id, check.verdict)
        if await self._slowly.measure(mirror, way, config.timeouts):
            self.weigh(mirror.id)
        canary = await self._canaries.sing(mirror, way, config)
        if canary is not None:
            self._canary_sung(mirror.id, canary)

    def _key_checked(self, mirror_id: str, verdict: str) -> None:
        if (watch := self._watches.get(mirror_id)) is not None:
            watch.key_verdict = verdict
            self.weigh(mirror_id)
            self._touched(mirror_id)

    def _canary_sung(self, mirror_id: str, canary: Canary) -> None:
        count_canary(self._totals, mirror_id, canary)
        if canary.failure:
            log.warning("a completion over %s failed: %s", mirror_id, canary.failure)
