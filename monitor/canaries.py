"""Canaries: real completions, off unless the operator wants them, and within what he allows.

One per mirror and hour at most, the first one an hour after the start, so that no series of
restarts makes more of them; and no more tokens a day (UTC) than `canary_daily_tokens`.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass

from monitor.config import MirrorConfig, MonitorConfig
from monitor.diagnosis.pace import Pace
from monitor.probes.canary import ASSUMED, sing
from monitor.probes.prober import Prober
from monitor.probes.result import Canary, Way
from monitor.probes.way import Budget, Opened

_DAY = 86400


@dataclass(slots=True)
class Account:
    """The tokens of one mirror."""

    due: float
    """Not before this moment of the monotonic clock."""
    day: int = 0
    tokens: int = 0
    """Spent on `day`."""

    def left(self, cap: int, today: int) -> int:
        """How many may be spent today."""
        return cap - (self.tokens if self.day == today else 0)

    def spend(self, tokens: int, today: int) -> None:
        """Take them; a new day begins at none."""
        self.tokens = tokens + (self.tokens if self.day == today else 0)
        self.day = today

    def settle(self, tokens: int, day: int) -> None:
        """Correct what was taken on a day by so many, unless another day has begun meanwhile."""
        if self.day == day:
            self.tokens += tokens


class Canaries:
    """Sends canaries when they are due and allowed."""

    def __init__(
        self,
        prober: Prober,
        pace: Pace,
        rng: random.Random,
        monotonic: Callable[[], float],
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._prober = prober
        self._pace = pace
        self._rng = rng
        self._monotonic = monotonic
        self._clock = clock
        self._first = monotonic() + pace.canary_interval
        self._accounts: dict[str, Account] = {}

    def forget(self, mirror_id: str) -> None:
        """The mirror is gone; whoever comes under its name waits as after a start."""
        if mirror_id in self._accounts:
            self._accounts[mirror_id].due = self._next()

    async def sing(self, mirror: MirrorConfig, way: Way, config: MonitorConfig) -> Canary | None:
        """Ask for a completion over a path that works; None if none is due or allowed.

        The tokens are booked before, and what it did not take is given back, however it ends.
        """
        account = self._accounts.setdefault(mirror.id, Account(self._first))
        today = int(self._clock() // _DAY)
        wanted = config.canary and mirror.api_key and mirror.scheme == "https"
        if not wanted or self._monotonic() < account.due:
            return None
        if account.left(config.canary_daily_tokens, today) < ASSUMED:
            return None
        account.due = self._next()
        account.spend(ASSUMED, today)
        took = 0
        try:
            async with self._open(mirror, way, config) as opened:
                took = ASSUMED if opened.verified else 0  # from here on it may have been sent
                result = await self._send(opened, mirror, way, config)
                took = result.tokens
        finally:
            account.settle(took - ASSUMED, today)
        return result

    def _open(
        self, mirror: MirrorConfig, way: Way, config: MonitorConfig
    ) -> AbstractAsyncContextManager[Opened]:
        timeouts = config.timeouts
        budget = Budget.of(timeouts.connect + timeouts.handshake + timeouts.request)
        return self._prober.open(mirror, way, timeouts, budget)

    async def _send(
        self, opened: Opened, mirror: MirrorConfig, way: Way, config: MonitorConfig
    ) -> Canary:
        model, limit = model_for(mirror, config.canary_model), config.timeouts.request
        return await sing(opened, mirror, way, model, self._prober.agent, limit)

    def _next(self) -> float:
        pace = self._pace
        longer = self._rng.uniform(1.0, 1.0 + pace.interval_jitter)
        return self._monotonic() + pace.canary_interval * longer


def model_for(mirror: MirrorConfig, wanted: str) -> str:
    """The model to ask: the one that is wanted if the mirror serves it, under its name there."""
    model = wanted if not mirror.models or wanted in mirror.models else mirror.models[0]
    return mirror.model_map.get(model, model)
