"""One turn of one mirror: its names are resolved, one path is asked to the end, others are greeted.

What the asked path shows is known before the others are greeted, and waits for none of them. All
of it shares one budget: a greeting that the budget cut short shows nothing, and is due again.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import chain

from monitor.common.config import MonitorTimeouts
from monitor.diagnosis.classify import judge
from monitor.diagnosis.dns import judge_dns
from monitor.engine.paths import MirrorPaths, Plan
from monitor.engine.prober import Probe, Prober
from monitor.engine.scheduler import ProbeTiming
from monitor.engine.sni_budget import SniBudget
from monitor.health.paths import Path, is_cut
from monitor.health.quarantine import Quarantine
from monitor.health.snapshot import endpoint_of
from monitor.probes.capacity import NoCapacity
from monitor.probes.opening import Budget
from monitor.probes.results import TIMED_OUT, PathResult, StepResult, Way
from monitor.probes.trial_results import was_cut_off


@dataclass(frozen=True, slots=True)
class ProbeCycle:
    """Results of one cycle."""

    probe: Probe
    budget: Budget
    """The time that is left of it is for greetings."""
    touched: bool = True
    """False when there was no path that might be tried."""
    pending: bool = False
    """Then: whether an examination will soon tell more."""
    began: float = 0.0
    """When it asked the first path, on the monotonic clock."""


class ProbeCycles:
    """Takes turns; what may be touched is asked of the quarantine and of whoever examines."""

    def __init__(
        self,
        prober: Prober,
        quarantine: Quarantine,
        care: SniBudget,
        is_busy: Callable[[str], bool],
        monotonic: Callable[[], float],
    ) -> None:
        self._prober = prober
        self._quarantine = quarantine
        self._care = care
        self._is_busy = is_busy
        self._monotonic = monotonic

    async def take(
        self, ways: MirrorPaths, timeouts: MonitorTimeouts, rhythm: ProbeTiming
    ) -> ProbeCycle:
        """Take a turn up to the verdict; `greet` is the rest of it.

        Raises NoCapacity when the mirror is full of what callers ask of it.
        """
        budget = Budget.of(rhythm.budget)
        resolution = await self._resolve(ways, timeouts, rhythm, budget)
        plan, began = self._plan(ways, rhythm), self._monotonic()
        asked = await self._prober.ask(ways.mirror, plan.ask, timeouts, budget)
        self._spend(ways, asked)
        probe = Probe(resolution, asked, judge(resolution, asked))
        touched = bool(plan.ask) or not len(ways)
        return ProbeCycle(probe, budget, touched, not touched and self._is_pending(ways), began)

    async def greet(
        self, ways: MirrorPaths, turn: ProbeCycle, timeouts: MonitorTimeouts, rhythm: ProbeTiming
    ) -> tuple[PathResult, ...]:
        """Shake hands over other paths, in the time that is left of the turn.

        Names side by side, but each at one address after the other while it is not cut off.
        """
        greeted = self._still_to_greet(ways, rhythm, turn.probe.paths)

        async def greet(hostname: str) -> list[PathResult]:
            results: list[PathResult] = []
            for way in (way for way in greeted if way.hostname == hostname):
                result = await self._greeting(ways, way, timeouts, turn.budget)
                if result is None:
                    break
                results.append(result)
                if was_cut_off(result.last):
                    break
            return results

        names = dict.fromkeys(way.hostname for way in greeted)
        return tuple(chain.from_iterable(await asyncio.gather(*map(greet, names))))

    async def _greeting(
        self, ways: MirrorPaths, way: Way, timeouts: MonitorTimeouts, budget: Budget
    ) -> PathResult | None:
        """The result of one greeting; None if there was no time or no capacity for it."""
        if budget.is_over():
            return None
        patience = self._patience(ways, way, timeouts)
        try:
            result = await self._prober.greet(ways.mirror, way, patience, budget)
        except NoCapacity:
            return None
        self._spend(ways, [result])
        return None if budget.is_over() and result.last.failure == TIMED_OUT else result

    def _is_pending(self, ways: MirrorPaths) -> bool:
        """True if a path is only waiting for an examination, which then takes a moment."""
        now, port = self._monotonic(), ways.mirror.port
        endpoints = {endpoint_of(path.address, port) for path in ways}
        return any(
            self._is_busy(endpoint) and self._quarantine.until(endpoint, now) is None
            for endpoint in endpoints
        )

    async def _resolve(
        self,
        ways: MirrorPaths,
        timeouts: MonitorTimeouts,
        rhythm: ProbeTiming,
        budget: Budget,
    ) -> StepResult:
        """Resolve what is due; the result for the mirror's own name."""
        now = self._monotonic()
        ways.draw(now)
        names = ways.to_resolve(now, rhythm.alternates)
        limit = budget.limit(timeouts.resolve)
        own, *_ = await asyncio.gather(*(self._look_up(ways, name, limit) for name in names))
        return own

    async def _look_up(self, ways: MirrorPaths, hostname: str, timeout: float) -> StepResult:
        names = self._prober.names
        step = await self._prober.resolve(ways.mirror, timeout, hostname)
        if step.addresses:
            ways.resolved(hostname, step.addresses, self._monotonic(), names.believed(step))
        if step.dns:
            known = names.knowledge(ways.mirror, hostname)
            known = replace(known, refused=ways.refused(hostname))
            ways.judged(hostname, judge_dns(step.dns, known), step.dns)
        return step

    def _plan(self, ways: MirrorPaths, rhythm: ProbeTiming) -> Plan:
        now, port = self._monotonic(), ways.mirror.port

        def shut(path: Path) -> bool:
            endpoint = endpoint_of(path.address, port)
            examined = self._is_busy(endpoint) or (is_cut(path) and self._is_busy(path.hostname))
            return examined or self._quarantine.until(endpoint, now) is not None

        def doubtful(path: Path) -> bool:
            return is_cut(path) and self._care.free_at(path.hostname, now) > now

        return ways.plan(now, shut, doubtful, rhythm.spacing)

    def _still_to_greet(
        self, ways: MirrorPaths, rhythm: ProbeTiming, asked: Sequence[PathResult]
    ) -> Sequence[Way]:
        """Paths that still get a handshake check: none whose name or address was cut off."""
        done = {result.way for result in asked}
        cut = [result.way for result in asked if was_cut_off(result.last)]
        names, addresses = {way.hostname for way in cut}, {way.address for way in cut}
        return [
            way
            for way in self._plan(ways, rhythm).greet
            if way not in done and way.hostname not in names and way.address not in addresses
        ]

    def _patience(self, ways: MirrorPaths, way: Way, timeouts: MonitorTimeouts) -> MonitorTimeouts:
        """A name that is probably met with silence is not waited for as long as others."""
        path = ways.path(way)
        if path is None or not is_cut(path):
            return timeouts
        return replace(timeouts, handshake=min(timeouts.handshake, ways.pace.silent_handshake))

    def _spend(self, ways: MirrorPaths, results: Sequence[PathResult]) -> None:
        """Write down what suspected names were shown."""
        for result in results:
            path = ways.path(result.way)
            if path is not None and is_cut(path):
                self._care.spend(path.hostname, self._monotonic())
