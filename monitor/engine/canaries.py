"""Canaries: real completions, off unless configured, and within a budget of tokens."""

from __future__ import annotations

import json
import random
import time
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Any

from monitor.common.config import MirrorConfig, MonitorConfig
from monitor.diagnosis.timing import DiagnosisTiming
from monitor.engine.key_checks import NOT_VERIFIED, authorization
from monitor.engine.prober import Prober
from monitor.probes.http import ResponseReader, exchange, head_of
from monitor.probes.opening import Budget, Opened
from monitor.probes.results import Canary, HttpAnswer, Way

ASSUMED = 50
"""Tokens that are charged to the account where the mirror does not say what it took."""
MOST = 100_000
"""What a mirror may say at most: more would be a mistake, or a lie that stops later canaries."""


async def ask_completion(
    opened: Opened, mirror: MirrorConfig, way: Way, model: str, agent: str, timeout: float
) -> Canary:
    """Ask `model` for one token with the mirror's key, over a verified way only."""
    if opened.stream is None or not opened.verified:
        return Canary(opened.failure or NOT_VERIFIED)
    body = json.dumps(
        {"model": model, "messages": [{"role": "user", "content": "ping"}], "max_tokens": 1}
    ).encode()
    head = head_of(
        mirror,
        f"{mirror.base_path}/v1/chat/completions",
        way.hostname,
        agent,
        authorization(mirror),
        "Content-Type: application/json",
        f"Content-Length: {len(body)}",
        method="POST",
    )
    step = await exchange(opened.stream, head + body, ResponseReader(), way, timeout)
    if step.http is None:
        return Canary(step.failure, seconds=step.seconds, tokens=ASSUMED)
    failure, tokens = judged(step.http)
    return Canary(failure, step.http.status, step.seconds, step.first_byte, tokens)


def judged(answer: HttpAnswer) -> tuple[str | None, int]:
    """Return the fault of a completion, or None if it is one, and the tokens that it took."""
    if answer.status != 200:
        return "http_unexpected_status_code", 0
    try:
        parsed: Any = json.loads(answer.body)
    except (ValueError, RecursionError):
        return "json_parse_error", ASSUMED
    if not isinstance(parsed, dict) or not isinstance(parsed.get("choices"), list):
        return "json_parse_error", ASSUMED
    return None, _total(parsed.get("usage"))


def _total(usage: Any) -> int:
    total = usage.get("total_tokens") if isinstance(usage, dict) else None
    fine = isinstance(total, int) and not isinstance(total, bool) and 0 <= total <= MOST
    return total if fine and total is not None else ASSUMED


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
        """Tokens that may be spent today."""
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
        pace: DiagnosisTiming,
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

    def account(self, mirror_id: str) -> Account:
        """The tokens of a mirror that has been asked."""
        return self._accounts[mirror_id]

    def forget(self, mirror_id: str) -> None:
        """The mirror is gone; a new one with its id waits as after a start."""
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
        return await ask_completion(opened, mirror, way, model, self._prober.agent, limit)

    def _next(self) -> float:
        pace = self._pace
        longer = self._rng.uniform(1.0, 1.0 + pace.interval_jitter)
        return self._monotonic() + pace.canary_interval * longer


def model_for(mirror: MirrorConfig, wanted: str) -> str:
    """The model to ask: the one that is wanted if the mirror serves it, under its name there."""
    model = wanted if not mirror.models or wanted in mirror.models else mirror.models[0]
    return mirror.model_map.get(model, model)
