"""Rival policies with our retries: round robin, least in flight, classic peak EWMA.

None of them ejects. They stand for the policy alone; so does `Pool` without its breaker.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from math import exp
from typing import Protocol

from benchmarks.simulation.mirrors import Seat
from router.balancing.failure import Failure
from router.balancing.load import Baseline, Baselines
from router.balancing.rate_limit import Blocks
from router.balancing.retry import RetryBudget

Accept = Callable[[Seat], bool]


class Trying(Protocol):
    """One attempt, as `router.balancing.pool.Attempt` has it."""

    @property
    def member(self) -> Seat:
        """Where."""

    def sent(self, now: float) -> None:
        """The request is complete."""

    def content(self, now: float) -> None:
        """The first content came."""

    def succeeded(self, now: float) -> None:
        """The answer is complete."""

    def failed(self, failure: Failure, now: float, *, retry_after: bool = False) -> None:
        """It failed."""

    def passed_on(self) -> None:
        """Nothing was shown."""


class Chooser(Protocol):
    """One worker's choice, as `router.balancing.pool.Pool` has it."""

    budget: RetryBudget
    baselines: Baselines
    blocks: Blocks

    def choose(
        self,
        accept: Accept,
        baseline: Baseline,
        now: float,
        *,
        repeatable: bool,
        again: bool = False,
    ) -> Trying | None:
        """An attempt, or None."""


class RivalAttempt:
    """An attempt as a rival sees it: its beginning, and its first sign."""

    def __init__(self, rival: Rival, member: Seat, now: float) -> None:
        self.member = member
        self._rival = rival
        self._began = now
        self._open = True
        self._measured = False
        rival.pending[member.id] += 1

    def sent(self, now: float) -> None:
        """Nothing of interest."""

    def content(self, now: float) -> None:
        """A response, to be measured."""
        self._measure(now)

    def succeeded(self, now: float) -> None:
        """Over."""
        self.passed_on()

    def failed(self, failure: Failure, now: float, *, retry_after: bool = False) -> None:
        """A failure is a response too: that is the fault of the classics."""
        self._measure(now)
        self.passed_on()

    def passed_on(self) -> None:
        """Over."""
        if self._open:
            self._open = False
            self._rival.pending[self.member.id] -= 1

    def _measure(self, now: float) -> None:
        if not self._measured:
            self._measured = True
            self._rival.observe(self.member.id, now - self._began, now)


class Rival:
    """Parts that the rivals share."""

    def __init__(self, seats: Sequence[Seat], share: float, rng: random.Random) -> None:
        self.budget = RetryBudget(share)
        self.baselines = Baselines()
        self.blocks = Blocks(b"simulation" * 4)
        self.seats = seats
        self.rng = rng
        self.pending = {seat.id: 0 for seat in seats}

    def choose(
        self,
        accept: Accept,
        baseline: Baseline,
        now: float,
        *,
        repeatable: bool,
        again: bool = False,
    ) -> RivalAttempt | None:
        """An attempt on the policy's pick."""
        accepted = [seat for seat in self.seats if accept(seat)]
        return RivalAttempt(self, self.pick(accepted, now), now) if accepted else None

    def pick(self, accepted: Sequence[Seat], now: float) -> Seat:
        """The policy."""
        raise NotImplementedError

    def observe(self, name: str, seconds: float, now: float) -> None:
        """A response took so long."""


class RoundRobin(Rival):
    """One after the other."""

    _last = -1

    def pick(self, accepted: Sequence[Seat], now: float) -> Seat:
        """The next one behind the last."""
        allowed = {seat.id for seat in accepted}
        count = len(self.seats)
        places = ((self._last + step) % count for step in range(1, count + 1))
        self._last = next(place for place in places if self.seats[place].id in allowed)
        return self.seats[self._last]


class LeastInFlight(Rival):
    """Fewest requests open, by chance among equals."""

    def pick(self, accepted: Sequence[Seat], now: float) -> Seat:
        """The least loaded."""
        return min(accepted, key=lambda seat: (self.pending[seat.id], self.rng.random()))


class PeakEwma(Rival):
    """Finagle's and tower's: whatever comes back is a latency, decaying to nothing in 10 s."""

    TAU = 10.0
    START = 1.0

    def __init__(self, seats: Sequence[Seat], share: float, rng: random.Random) -> None:
        super().__init__(seats, share, rng)
        self._latency = {seat.id: (self.START, 0.0) for seat in seats}

    def pick(self, accepted: Sequence[Seat], now: float) -> Seat:
        """The cheaper of two."""
        drawn = self.rng.sample(accepted, 2) if len(accepted) > 1 else accepted
        return min(drawn, key=lambda seat: self._cost(seat.id, now))

    def _cost(self, name: str, now: float) -> float:
        latency, at = self._latency[name]
        return latency * exp((at - now) / self.TAU) * (self.pending[name] + 1)

    def observe(self, name: str, seconds: float, now: float) -> None:
        """The estimate goes up at once and down by and by."""
        latency, at = self._latency[name]
        keep = exp((at - now) / self.TAU)
        if seconds < latency:
            seconds = latency * keep + seconds * (1.0 - keep)
        self._latency[name] = (seconds, now)
