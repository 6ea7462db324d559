"""The schedule of probes: intervals, budgets, and the next mirror that is due."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from enum import IntEnum
from functools import partial

from monitor.common.config import MonitorConfig
from monitor.common.tasks import Tasks, cancelled
from monitor.diagnosis.timing import NORMAL, DiagnosisTiming

SHORTEST_BUDGET = 5.0
"""Seconds that a probe may take at least, however short the interval is."""
STALE_INTERVALS = 3
"""Probe intervals that may pass without news."""


def stale_after(interval: float) -> float:
    """Seconds after which what is known of a mirror is too old to be believed."""
    return STALE_INTERVALS * interval + probe_budget(interval)


def probe_budget(interval: float) -> float:
    """Seconds for one probe: half the interval, so that three bad ones fit into three intervals."""
    return max(interval / 2, SHORTEST_BUDGET)


@dataclass(frozen=True, slots=True)
class ProbeTiming:
    """Time limits of one cycle."""

    budget: float
    """For the whole of it."""
    spacing: float
    """Between handshakes over a path that works."""
    alternates: float
    """Between two questions about an alternate name."""

    @classmethod
    def of(cls, config: MonitorConfig, pace: DiagnosisTiming) -> ProbeTiming:
        """The rhythm of a configuration."""
        interval = config.interval
        return cls(
            budget=probe_budget(interval),
            spacing=min(pace.target_interval, 2 * interval),
            alternates=min(pace.dns_retest, 20 * interval),
        )


def paced(config: MonitorConfig, pace: DiagnosisTiming) -> DiagnosisTiming:
    """The pace of this configuration."""
    return pace if config.residual == NORMAL.residual_hold else pace.shortened(config.residual)


CONCURRENCY = 16
"""Probes that run at once."""
JITTER = 0.2
SOONER = 0.2
"""Share of the interval after which a doubtful result is checked again, at most …"""
SOONER_AT_MOST = 3.0
"""… these seconds."""
RETURNING = 1.0
"""Seconds between two probes of a mirror that is down and may be back at any moment."""
FEW = 8
"""Mirrors that are probed so often at once: half of those for which there is room."""
SUSPECT_GAP = 1.0
"""Seconds between the starts of two probes of a mirror that traffic asks for."""

_NAME = "probe"


class Next(IntEnum):
    """Haste of the next probe."""

    usual = 0
    soon = 1
    """The last result is doubtful."""
    returning = 2
    """The mirror is down, and should be seen as soon as it is back."""


Probe = Callable[[str], Awaitable[Next]]
"""Probes a mirror by its id, and says when the next probe should come."""


def pause_before_next(interval: float, haste: Next, share: float) -> float:
    """Seconds from the start of one probe to the start of the next: `share` of the interval."""
    if haste is Next.usual:
        return interval * share
    most = RETURNING if haste is Next.returning else SOONER_AT_MOST
    return min(interval * SOONER, most)


def share_of_interval(first: bool, rng: random.Random) -> float:
    """1 ± 20 %; after the first probe anything up to 1, which spreads the mirrors."""
    return rng.uniform(SOONER, 1.0) if first else rng.uniform(1 - JITTER, 1 + JITTER)


@dataclass(slots=True)
class _Turn:
    """One mirror's place in the schedule."""

    task: asyncio.Task[None] | None = None
    changed: asyncio.Event = field(default_factory=asyncio.Event)
    suspected: bool = False
    suspected_at: float = 0.0
    haste: Next = Next.usual
    share: float = 0.0
    started: float = 0.0


class Schedule:
    """Runs `probe` for each of a set of mirrors, again and again."""

    def __init__(
        self,
        probe: Probe,
        interval: float,
        monotonic: Callable[[], float],
        rng: random.Random,
        concurrency: int = CONCURRENCY,
        late: Callable[[float], None] = lambda seconds: None,
        tasks: Tasks | None = None,
    ) -> None:
        """`late` is called for every cycle with the seconds by which it began late."""
        self._probe = probe
        self._interval = interval
        self._monotonic = monotonic
        self._rng = rng
        self._late = late
        self._supervisor = tasks or Tasks()
        self._slots = asyncio.Semaphore(concurrency)
        self._turns: dict[str, _Turn] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        """Those of removed mirrors stay until they have ended."""

    def add(self, mirror_id: str) -> None:
        """Probe this mirror at once, and from now on."""
        if mirror_id not in self._turns:
            turn = self._turns[mirror_id] = _Turn()
            run = partial(self._run, mirror_id, turn)
            turn.task = self._supervisor.service(_NAME, run, about=mirror_id)
            self._tasks.add(turn.task)
            turn.task.add_done_callback(self._tasks.discard)

    def remove(self, mirror_id: str) -> None:
        """Stop probing it; a probe that runs is broken off and has no effect any more."""
        turn = self._turns.pop(mirror_id, None)
        if turn is not None and turn.task is not None:
            turn.task.cancel()

    def set_interval(self, interval: float) -> None:
        """Use another interval, also for those who are waiting."""
        self._interval = interval
        for turn in self._turns.values():
            turn.changed.set()

    def suspect(self, mirror_id: str) -> None:
        """Probe at once, though not within a second of the last start."""
        if (turn := self._turns.get(mirror_id)) is not None:
            if not turn.suspected:
                turn.suspected, turn.suspected_at = True, self._monotonic()
            turn.changed.set()

    async def stop(self) -> None:
        """Break off everything and wait for its end."""
        for mirror_id in list(self._turns):
            self.remove(mirror_id)
        await cancelled(self._tasks)

    async def _run(self, mirror_id: str, turn: _Turn) -> None:
        first = True
        due = self._monotonic()
        while True:
            async with self._slots:
                turn.started, turn.suspected = self._monotonic(), False
                self._late(turn.started - due)
                turn.haste = await self._probed(mirror_id)
            turn.share = share_of_interval(first, self._rng)
            first = False
            await self._wait(turn)
            due = max(self._due(turn), turn.suspected_at if turn.suspected else 0.0)

    async def _probed(self, mirror_id: str) -> Next:
        try:
            return await self._probe(mirror_id)
        except Exception as error:
            self._supervisor.crashed(_NAME, error, f" with {mirror_id}")
            return Next.usual

    async def _wait(self, turn: _Turn) -> None:
        while (left := self._due(turn) - self._monotonic()) > 0:
            turn.changed.clear()
            try:
                async with asyncio.timeout(left):
                    await turn.changed.wait()
            except TimeoutError:
                pass  # a loop's timer may come a little early: look at the clock again

    def _due(self, turn: _Turn) -> float:
        pause = pause_before_next(self._interval, turn.haste, turn.share)
        return turn.started + (min(pause, SUSPECT_GAP) if turn.suspected else pause)
