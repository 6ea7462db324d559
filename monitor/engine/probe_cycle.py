"""One probe cycle of one mirror: names are resolved, one path is asked, others are checked.

The one path is asked to the end, for the models; a check of another one is a handshake only, unless
it was a request that failed there. What the asked path shows is known before the others are
checked, and waits for none of them, nor for a path that it has overtaken. All of it shares one
budget: a check that the budget cut short shows nothing, and is due again.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import chain

from monitor.common.config import MonitorTimeouts
from monitor.diagnosis.classify import judge
from monitor.diagnosis.dns import forged_in, judge_dns
from monitor.diagnosis.verdicts import AFTER_HANDSHAKE
from monitor.engine.paths import MirrorPaths, Plan
from monitor.engine.prober import Asked, Probe, Prober
from monitor.engine.scheduler import ProbeTiming
from monitor.engine.sni_budget import SniBudget
from monitor.health.paths import Path, is_cut
from monitor.health.quarantine import Quarantine
from monitor.health.snapshot import endpoint_of
from monitor.probes.capacity import NoCapacity
from monitor.probes.opening import Budget
from monitor.probes.results import TIMED_OUT, PathResult, StepResult, Way
from monitor.probes.trial_results import was_cut_off

LONGEST_CHECK = 60.0
"""Seconds for a check, however long the budget is."""
SHARE_OF_REST = 0.8
"""Share of what is left of the budget for one check: ended by itself, silence shows something."""
LEAST_SILENCE = 2.0
"""Seconds of silence that show something when there is no time for the usual patience: a lost
packet is repeated after one."""


@dataclass(frozen=True, slots=True)
class ProbeCycle:
    """Results of one cycle."""

    probe: Probe
    asked: Asked
    """What the probe was made of, and the paths that are still on their way."""
    budget: Budget
    """The time that is left of it is for handshake checks."""
    touched: bool = True
    """False when there was no path that might be tried."""
    pending: bool = False
    """Then: whether a running block test will soon tell more."""
    began: float = 0.0
    """When it asked the first path, on the monotonic clock."""


class ProbeCycles:
    """Runs probe cycles; quarantine and running block tests decide what may be touched."""

    def __init__(
        self,
        prober: Prober,
        quarantine: Quarantine,
        sni_budget: SniBudget,
        is_busy: Callable[[str], bool],
        is_left_out: Callable[[str, Path], bool],
        monotonic: Callable[[], float],
    ) -> None:
        """`is_busy` tells of an endpoint or a hostname whether it is being examined, `is_left_out`
        of a path to a mirror whether it is left alone for the sake of others."""
        self._prober = prober
        self._quarantine = quarantine
        self._sni_budget = sni_budget
        self._is_busy = is_busy
        self._is_left_out = is_left_out
        self._monotonic = monotonic

    async def take(
        self, paths: MirrorPaths, timeouts: MonitorTimeouts, timing: ProbeTiming
    ) -> ProbeCycle:
        """Run a cycle up to the verdict; `check_others` is the rest of it.

        Raises NoCapacity when the mirror is full of what callers ask of it.
        """
        budget = Budget.of(timing.budget)
        resolution = await self._resolve(paths, timeouts, timing, budget)
        plan, began = self._plan(paths, timing), self._monotonic()
        asked = await self._prober.ask(paths.mirror, plan.ask, timeouts, budget)
        self._spend(paths, asked.paths)
        probe = Probe(resolution, asked.paths, judge(resolution, asked.paths))
        touched = bool(plan.ask) or not len(paths)
        pending = not touched and self._is_pending(paths)
        return ProbeCycle(probe, asked, budget, touched, pending, began)

    async def check_others(
        self, paths: MirrorPaths, cycle: ProbeCycle, timeouts: MonitorTimeouts, timing: ProbeTiming
    ) -> tuple[PathResult, ...]:
        """Shake hands over other paths, in the time that is left of the cycle, and wait for the
        ends of those that were overtaken.

        Names side by side, but each at one address after the other while it is not cut off.
        """
        checked = self._still_to_check(paths, timing, cycle.asked)

        async def check(hostname: str) -> list[PathResult]:
            results: list[PathResult] = []
            for way in (way for way in checked if way.hostname == hostname):
                result = await self._check_one(paths, way, timeouts, cycle.budget)
                if result is None:
                    break
                results.append(result)
                if was_cut_off(result.last):
                    break
            return results

        names = dict.fromkeys(way.hostname for way in checked)
        late, *others = await asyncio.gather(cycle.asked.late(), *map(check, names))
        self._spend(paths, late)
        return (*late, *chain.from_iterable(others))

    async def _check_one(
        self, paths: MirrorPaths, way: Way, timeouts: MonitorTimeouts, budget: Budget
    ) -> PathResult | None:
        """The result of one check; None if there was no time or no capacity for it, or if the name
        or the address was cut off since the check was planned."""
        path = paths.path(way)
        if budget.is_over() or (path is not None and not self._may_touch(paths, path)):
            return None
        patience = self._patience(paths, way, timeouts)
        left = budget.limit(LONGEST_CHECK) * SHARE_OF_REST
        too_short = left < min(LEAST_SILENCE, patience.handshake)
        try:
            if path is not None and path.verdict in AFTER_HANDSHAKE:
                patience = replace(patience, request=min(patience.request, left))
                (result,) = (await self._prober.ask(paths.mirror, [way], patience, budget)).paths
            else:
                limits = (min(patience.connect, left), min(patience.handshake, left))
                patience = replace(patience, connect=limits[0], handshake=limits[1])
                result = await self._prober.check_handshake(paths.mirror, way, patience, budget)
        except NoCapacity:
            return None
        self._spend(paths, [result])
        silent = result.last.failure == TIMED_OUT
        return None if silent and (budget.is_over() or too_short) else result

    def _is_pending(self, paths: MirrorPaths) -> bool:
        """True if a path is only waiting for a block test, which then takes a moment."""
        now, port = self._monotonic(), paths.mirror.port
        endpoints = {endpoint_of(path.address, port) for path in paths}
        return any(
            self._is_busy(endpoint) and self._quarantine.until(endpoint, now) is None
            for endpoint in endpoints
        )

    async def _resolve(
        self,
        paths: MirrorPaths,
        timeouts: MonitorTimeouts,
        timing: ProbeTiming,
        budget: Budget,
    ) -> StepResult:
        """Resolve what is due; the result for the mirror's own name."""
        now = self._monotonic()
        paths.draw(now)
        names = paths.to_resolve(now, timing.alternates)
        limit = budget.limit(timeouts.resolve)
        own, *_ = await asyncio.gather(*(self._look_up(paths, name, limit) for name in names))
        return own

    async def _look_up(self, paths: MirrorPaths, hostname: str, timeout: float) -> StepResult:
        names = self._prober.names
        step = await self._prober.resolve(paths.mirror, timeout, hostname)
        if step.addresses:
            paths.resolved(hostname, step.addresses, self._monotonic(), names.believed(step))
        if step.dns:
            known = names.knowledge(paths.mirror, hostname)
            known = replace(known, refused=paths.refused(hostname))
            paths.lied_about(hostname, forged_in(step.dns, known))
            known = replace(known, forged=paths.forged(hostname))
            paths.judged(hostname, judge_dns(step.dns, known), step.dns)
        return step

    def _plan(self, paths: MirrorPaths, timing: ProbeTiming) -> Plan:
        now = self._monotonic()

        def shut(path: Path) -> bool:
            return self._is_shut(paths, path)

        return paths.plan(now, shut, self._is_doubtful, timing.spacing)

    def _may_touch(self, paths: MirrorPaths, path: Path) -> bool:
        return not self._is_shut(paths, path) and not self._is_doubtful(path)

    def _is_shut(self, paths: MirrorPaths, path: Path) -> bool:
        """True if nobody may touch it: it is examined, or quarantined, or would shut out others."""
        endpoint = endpoint_of(path.address, paths.mirror.port)
        examined = self._is_busy(endpoint) or (is_cut(path) and self._is_busy(path.hostname))
        quarantined = self._quarantine.until(endpoint, self._monotonic()) is not None
        return examined or quarantined or self._is_left_out(paths.mirror.id, path)

    def _is_doubtful(self, path: Path) -> bool:
        """True if its name was shown and cut off too lately to be shown again."""
        now = self._monotonic()
        return is_cut(path) and self._sni_budget.free_at(path.hostname, now) > now

    def _still_to_check(
        self, paths: MirrorPaths, timing: ProbeTiming, asked: Asked
    ) -> Sequence[Way]:
        """Paths that still get a check: none whose name or address was cut off, or may yet be."""
        done = {result.way for result in asked.paths}
        cut = [result.way for result in asked.paths if was_cut_off(result.last)]
        cut += asked.overtaken
        names, addresses = {way.hostname for way in cut}, {way.address for way in cut}
        return [
            way
            for way in self._plan(paths, timing).check
            if way not in done and way.hostname not in names and way.address not in addresses
        ]

    def _patience(self, paths: MirrorPaths, way: Way, timeouts: MonitorTimeouts) -> MonitorTimeouts:
        """A name that is probably met with silence is not waited for as long as others."""
        path = paths.path(way)
        if path is None or not is_cut(path):
            return timeouts
        return replace(timeouts, handshake=min(timeouts.handshake, paths.pace.silent_handshake))

    def _spend(self, paths: MirrorPaths, results: Sequence[PathResult]) -> None:
        """Write down what suspected names were shown."""
        for result in results:
            path = paths.path(result.way)
            if was_cut_off(result.last) or (path is not None and is_cut(path)):
                self._sni_budget.spend(result.hostname, self._monotonic())
