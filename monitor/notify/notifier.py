"""Notifier: takes what an instance sees, and tells the receivers what has changed."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import Any

from monitor.common.bans import Ban
from monitor.common.config import MirrorConfig
from monitor.common.keys import KeyAccount
from monitor.common.metric_registry import MetricRegistry
from monitor.common.tasks import Tasks, cancelled
from monitor.health.snapshot import HealthSnapshot
from monitor.notify import metrics
from monitor.notify.conditions import Conditions, Topic
from monitor.notify.config import Kind, NotifyConfig, names_of, successors
from monitor.notify.message import Style, style_of
from monitor.notify.notice import Notice
from monitor.notify.receiver import Receiver, Send, Transport

log = logging.getLogger(__name__)

KEEP_EVERY = 1.0
"""Seconds between two looks at whether what was told has to be kept."""

_OWN = frozenset((Kind.reload_failed,))
"""Kinds that nobody else can tell, whoever leads."""
Keep = Callable[[Mapping[Topic, str]], Awaitable[None]]
"""Durably keeps the levels of all conditions that were told. May raise; it is tried again."""


class Notifier:
    """The notifications of one instance."""

    def __init__(
        self,
        told: Mapping[Topic, str],
        keep: Keep,
        totals: MetricRegistry,
        tasks: Tasks,
        *,
        leads: Callable[[], bool] = lambda: True,
        clock: Callable[[], float] = time.time,
        send: Send | None = None,
    ) -> None:
        """`told`: what was told before this start; `keep` is given what is told now. Of several
        instances only the one that `leads` tells."""
        self._conditions = Conditions(told)
        self._kept = dict(told)
        self._keep = keep
        self._totals = totals
        self._tasks = tasks
        self._leads = leads
        self._clock = clock
        self._send = send or Transport().send
        self._led = False
        self._receivers: dict[NotifyConfig, tuple[Receiver, asyncio.Task[None]]] = {}
        self._mirrors: Sequence[MirrorConfig] = ()
        self._waiting: dict[Topic, list[Receiver]] = {}
        """Conditions whose last change no receiver has got yet, and the receivers that owe it."""

    def __repr__(self) -> str:
        return f"<Notifier, {len(self._receivers)} receivers>"

    def configure(
        self, receivers: Sequence[NotifyConfig], mirrors: Sequence[MirrorConfig], style: Style
    ) -> None:
        """Take new settings. Receivers that stay, or are changed, keep what they have not sent yet;
        what waits for one that is gone is counted as dropped."""
        self._mirrors = mirrors
        before, self._receivers = self._receivers, {}
        names = {receiver.name for receiver, _ in before.values()}
        different = tuple(dict.fromkeys(receivers))
        known = successors(tuple(before), different)
        for config, name in zip(different, names_of(different), strict=True):
            own = style_of(config, style)
            if config in known:
                self._receivers[config] = before.pop(known[config])
                self._receivers[config][0].configure(config, name, own)
            else:
                self._receivers[config] = self._started(config, name, own)
        for receiver, task in before.values():
            task.cancel()
            receiver.removed()
        for gone in names - {receiver.name for receiver, _ in self._receivers.values()}:
            self._totals.remove("receiver", gone, metrics.OF_RECEIVERS)

    def _started(
        self, config: NotifyConfig, name: str, style: Style
    ) -> tuple[Receiver, asyncio.Task[None]]:
        for result in metrics.RESULTS:
            self._totals.cells(metrics.NOTIFICATIONS.name, (config.format, result))
        receiver = Receiver(
            config,
            style,
            self._send,
            self._totals,
            name=name,
            may_tell=self._may_tell,
            clock=self._clock,
        )
        return receiver, self._tasks.service("notifications", receiver.run, about=name)

    def _may_tell(self, notice: Notice) -> bool:
        """Asked before each attempt: an instance that was paused may lead no more."""
        return notice.kind in _OWN or self._leads()

    async def run(self) -> None:
        """Keep what was told, until cancelled; then the receivers end too."""
        try:
            while True:
                await asyncio.sleep(KEEP_EVERY)
                self._look()
                await self._keep_told()
        finally:
            await cancelled([task for _, task in self._receivers.values()])
            await self._keep_told()

    def take_over(self, told: Mapping[Topic, str]) -> None:
        """Lead from now on, after whoever has told this: neither repeat it nor forget its end."""
        self._conditions = Conditions(told)
        self._kept = dict(told)
        self._waiting.clear()
        for receiver, _ in self._receivers.values():
            receiver.keep(lambda notice: notice.kind in _OWN)

    def see(self, snapshot: HealthSnapshot) -> None:
        """A snapshot was published."""
        self._tell(partial(self._conditions.see, snapshot, self._mirrors))

    def reloaded(self, problem: str) -> None:
        """The configuration was read; `problem`: why it is not in use, or ""."""
        self._tell(partial(self._conditions.reloaded, problem), own=True)

    def banned(self, bans: Iterable[Ban]) -> None:
        """Clients were banned automatically."""
        self._tell(partial(self._conditions.banned, bans))

    def charged(self, accounts: Iterable[KeyAccount]) -> None:
        """Issued keys were used, or topped up."""
        self._tell(partial(self._conditions.charged, accounts))

    def state(self) -> list[dict[str, Any]]:
        """The receivers, for operators; without URLs, which hold tokens."""
        return [
            {
                "receiver": each.name,
                "sent_at": each.sent_at,
                "problem": each.problem,
                "waiting": each.waiting,
            }
            for each, _ in self._receivers.values()
        ]

    def _tell(self, look: Callable[[float], list[Notice]], own: bool = False) -> None:
        """`own`: nobody else can tell it."""
        if not (own or self._leads()):
            return
        with self._tasks.guarded("notifications"):
            receivers = [receiver for receiver, _ in self._receivers.values()]
            for notice in look(self._clock()):
                for receiver in receivers:
                    receiver.tell(notice)
                self._waiting[notice.topic] = [r for r in receivers if r.owes(notice.topic)]

    def _look(self) -> None:
        """Wake what waits for the lead, and say how the receivers stand."""
        led, self._led = self._led, self._leads()
        for receiver, _ in self._receivers.values():
            if self._led and not led:
                receiver.look_again()
            self._totals.set(metrics.FAILING.name, float(bool(receiver.problem)), (receiver.name,))
            self._totals.set(metrics.WAITING.name, float(receiver.waiting), (receiver.name,))

    def _delivered(self) -> dict[Topic, str]:
        """The levels that were told, without changes that no receiver has got yet: a restarted
        process, or the next that leads, tells these."""
        told = dict(self._conditions.told)
        present = {receiver for receiver, _ in self._receivers.values()}
        for topic, receivers in list(self._waiting.items()):
            owing = present.intersection(receivers)
            if not owing or not all(receiver.owes(topic) for receiver in owing):
                del self._waiting[topic]
            elif topic in self._kept:
                told[topic] = self._kept[topic]
            else:
                told.pop(topic, None)
        return told

    async def _keep_told(self) -> None:
        told = self._delivered()
        if told == self._kept or not self._leads():
            return
        try:
            await self._keep(told)
        except Exception as error:  # the store logs its own troubles; this one is tried again
            log.debug("sent notifications are not recorded yet: %s", error)
        else:
            self._kept = told
