"""One turn of one mirror: its names are resolved, one path is asked to the end, others are greeted.

All that a turn finds is told at once when it has ended.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from monitor.care import Care
from monitor.config import MonitorTimeouts
from monitor.diagnosis.dns import judge_dns
from monitor.diagnosis.verdict import judge
from monitor.health.board import Standing, endpoint_of
from monitor.health.paths import Path
from monitor.health.quarantine import Quarantine
from monitor.probes.prober import Probe, Prober
from monitor.probes.result import PathResult, StepResult, Way
from monitor.probes.way import Budget
from monitor.ways import Plan, Ways

NAME_CUT = frozenset(
    {"tls_reset", "tls_eof", "tls_timeout", "sni_block_rst", "sni_block_fin", "sni_block_drop"}
)
"""Verdicts on a name that was cut off."""


@dataclass(frozen=True, slots=True)
class Turn:
    """What one turn found."""

    probe: Probe
    greeted: tuple[PathResult, ...] = ()
    touched: bool = True
    """False when there was no path that might be tried."""


@dataclass(frozen=True, slots=True)
class Rhythm:
    """How often what is done, in seconds."""

    budget: float
    """For one turn."""
    spacing: float
    """Between handshakes over a path that works."""
    alternates: float
    """Between two questions about an alternate name."""


class Turns:
    """Takes turns; what may be touched is asked of the quarantine and of whoever examines."""

    def __init__(
        self,
        prober: Prober,
        quarantine: Quarantine,
        care: Care,
        is_busy: Callable[[str], bool],
        monotonic: Callable[[], float],
    ) -> None:
        self._prober = prober
        self._quarantine = quarantine
        self._care = care
        self._is_busy = is_busy
        self._monotonic = monotonic

    async def take(self, ways: Ways, timeouts: MonitorTimeouts, rhythm: Rhythm) -> Turn:
        """Take one turn."""
        budget = Budget.of(rhythm.budget)
        resolution = await self._resolve(ways, timeouts, rhythm, budget)
        plan = self._plan(ways, rhythm)
        asked = await self._prober.ask(ways.mirror, plan.ask, timeouts, budget)
        done = {result.way for result in asked}
        greeted = await self._greet(
            ways, [w for w in plan.greet if w not in done], timeouts, rhythm
        )
        self._spend(ways, (*asked, *greeted))
        probe = Probe(resolution, asked, judge(resolution, asked))
        return Turn(probe, greeted, touched=bool(plan.ask) or not len(ways))

    async def _resolve(
        self,
        ways: Ways,
        timeouts: MonitorTimeouts,
        rhythm: Rhythm,
        budget: Budget,
    ) -> StepResult:
        """Resolve what is due; the result for the mirror's own name."""
        now = self._monotonic()
        ways.draw(now)
        names = ways.to_resolve(now, rhythm.alternates)
        limit = budget.limit(timeouts.resolve)
        own, *_ = await asyncio.gather(*(self._look_up(ways, name, limit) for name in names))
        return own

    async def _look_up(self, ways: Ways, hostname: str, timeout: float) -> StepResult:
        names = self._prober.names
        step = await self._prober.resolve(ways.mirror, timeout, hostname)
        if step.addresses:
            ways.resolved(hostname, step.addresses, self._monotonic(), names.believed(step))
        if step.dns:
            finding = judge_dns(step.dns, names.knowledge(ways.mirror, hostname))
            ways.judged(hostname, finding, step.dns)
        return step

    def _plan(self, ways: Ways, rhythm: Rhythm) -> Plan:
        now, port = self._monotonic(), ways.mirror.port

        def shut(path: Path) -> bool:
            endpoint = endpoint_of(path.address, port)
            return self._is_busy(endpoint) or self._quarantine.until(endpoint, now) is not None

        def doubtful(path: Path) -> bool:
            return is_doubtful(path) and self._care.free_at(path.hostname, now) > now

        return ways.plan(now, shut, doubtful, rhythm.spacing)

    async def _greet(
        self, ways: Ways, greeted: Sequence[Way], timeouts: MonitorTimeouts, rhythm: Rhythm
    ) -> tuple[PathResult, ...]:
        budget = Budget.of(rhythm.budget)
        greetings = (self._prober.greet(ways.mirror, way, timeouts, budget) for way in greeted)
        return tuple(await asyncio.gather(*greetings))

    def _spend(self, ways: Ways, results: Sequence[PathResult]) -> None:
        """Write down what suspected names were shown."""
        for result in results:
            path = ways.path(result.way)
            if path is not None and is_doubtful(path):
                self._care.spend(path.hostname, self._monotonic())


def is_doubtful(path: Path) -> bool:
    """Whether showing the name of this path may set off a blockade."""
    return path.standing is not Standing.ok and path.verdict in NAME_CUT
