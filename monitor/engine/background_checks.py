"""Occasional checks beside the probes: keys, throughput, completions."""

from __future__ import annotations

import asyncio
import logging
import random
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from statistics import median

from monitor.common.config import MirrorConfig, MonitorConfig, MonitorTimeouts
from monitor.common.metric_registry import MetricRegistry
from monitor.common.tasks import Tasks, cancelled
from monitor.diagnosis.finding import Finding
from monitor.diagnosis.reactions import Reaction
from monitor.diagnosis.throughput import FLOOR, LARGE, RATIO, SAMPLES, Sample, judge_throughput
from monitor.diagnosis.timing import DiagnosisTiming
from monitor.diagnosis.verdicts import reaction_to
from monitor.engine.canaries import Canaries
from monitor.engine.key_checks import KeyCourse, check_key
from monitor.engine.metrics import count_canary
from monitor.engine.mirror_state import MirrorState
from monitor.engine.prober import Prober
from monitor.probes.capacity import NoCapacity
from monitor.probes.opening import Budget
from monitor.probes.results import Canary, KeyCheck, Transfer, Way
from monitor.probes.throughput import TOO_SHORT, UNEXPECTED_STATUS, BulkLimits, measure

log = logging.getLogger(__name__)

AT_ONCE = 4


class BackgroundChecks:
    """Runs what is due, and takes what came of it into what is known; owns the tasks."""

    def __init__(
        self,
        periodic_checks: PeriodicChecks,
        canaries: Canaries,
        watches: Mapping[str, MirrorState],
        burdened: Callable[[MirrorState, Finding], None],
        touched: Callable[[str], None],
        totals: MetricRegistry,
        tasks: Tasks | None = None,
    ) -> None:
        """`burdened` is called when what is known of a mirror's speed changes; `touched` is called
        with the id of every mirror that should be shown anew."""
        self._periodic_checks = periodic_checks
        self._canaries = canaries
        self._watches = watches
        self._burdened = burdened
        self._touched = touched
        self._totals = totals
        self._supervisor = tasks or Tasks(totals)
        self._slots = asyncio.Semaphore(AT_ONCE)
        self._running: dict[str, asyncio.Task[None]] = {}

    def __repr__(self) -> str:
        return f"<BackgroundChecks of {', '.join(self._running) or 'nobody'}>"

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
        self._periodic_checks.forget(mirror_id)
        self._canaries.forget(mirror_id)

    def traffic(self, mirror_id: str, received: int, stopped: bool) -> None:
        """A longer answer to a client has ended, or has broken off, after so many bytes."""
        if mirror_id in self._watches:
            self._periodic_checks.traffic(mirror_id, received, stopped)
            self.weigh(mirror_id)

    def doubt_key(self, mirror_id: str) -> None:
        """Traffic has found that a mirror refuses its own key."""
        if mirror_id in self._watches:
            self._periodic_checks.doubt_key(mirror_id)

    def calls_for_key(self, mirror_id: str) -> bool:
        """True if its key is to be checked before the next regular probe; told once."""
        return self._periodic_checks.calls_for_key(mirror_id)

    def weigh(self, mirror_id: str) -> None:
        """Take what is known of a mirror's speed and models."""
        watch = self._watches.get(mirror_id)
        if watch is None:
            return
        listed = watch.learn_models(self._periodic_checks.models(mirror_id))
        finding, reaction = self._periodic_checks.reaction(mirror_id)
        if watch.weigh(finding, reaction):
            self._burdened(watch, finding)
            self._touched(mirror_id)
        elif listed:
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
                await self._background_checks(mirror, way, config)
        except NoCapacity:
            pass  # callers need all of it; there will be another time

    async def _background_checks(
        self, mirror: MirrorConfig, way: Way, config: MonitorConfig
    ) -> None:
        check = await self._periodic_checks.check_key(mirror, way, config.timeouts)
        if check is not None:
            self._key_checked(mirror.id, check.verdict)
        if await self._periodic_checks.measure(mirror, way, config.timeouts):
            self.weigh(mirror.id)
        canary = await self._canaries.sing(mirror, way, config)
        if canary is not None:
            self._canary_sung(mirror.id, canary)

    def _key_checked(self, mirror_id: str, verdict: str) -> None:
        if (watch := self._watches.get(mirror_id)) is not None:
            watch.key_checked(verdict)
            self.weigh(mirror_id)
            self._touched(mirror_id)

    def _canary_sung(self, mirror_id: str, canary: Canary) -> None:
        count_canary(self._totals, mirror_id, canary)
        if canary.failure:
            log.warning("a completion over %s failed: %s", mirror_id, canary.failure)


LIST_COUNTS = 3600.0
"""Seconds that a list of models is believed; it is asked for more often than that."""
KEPT = 504
"""Transfers remembered: seven days of one each twenty minutes."""
_OWN_FAULT = frozenset({TOO_SHORT, UNEXPECTED_STATUS, "http_request_failed"})
"""Ways in which a transfer fails that say nothing of its speed."""


@dataclass(slots=True)
class Measured:
    """Measurements of one mirror."""

    course: KeyCourse
    """Of its own key."""
    samples: deque[Sample] = field(default_factory=lambda: deque(maxlen=KEPT))
    key: str = ""
    """The one that was asked about last."""
    models: tuple[str, ...] = ()
    models_until: float = 0.0
    """How long the list of models counts."""
    bulk_due: float = 0.0
    quick_at: float = float("-inf")
    """When a transfer was last as quick as it should be."""
    slow: int = 0
    """Transfers in a row that were slow, or stopped."""
    finding: Finding = field(default_factory=lambda: Finding("unknown"))
    until: float = 0.0
    """How long the finding counts."""


class PeriodicChecks:
    """Knows what is due of which mirror, and what came of it."""

    def __init__(
        self,
        prober: Prober,
        pace: DiagnosisTiming,
        rng: random.Random,
        monotonic: Callable[[], float],
        limits: BulkLimits | None = None,
    ) -> None:
        self._prober = prober
        self._pace = pace
        self._rng = rng
        self._monotonic = monotonic
        self._limits = limits or BulkLimits()
        self._of: dict[str, Measured] = {}

    def forget(self, mirror_id: str) -> None:
        """The mirror is gone."""
        self._of.pop(mirror_id, None)

    async def check_key(
        self, mirror: MirrorConfig, way: Way, timeouts: MonitorTimeouts
    ) -> KeyCheck | None:
        """Check that the mirror accepts its own key; None if the check was not due, or failed."""
        known = self._known(mirror.id)
        if known.key != mirror.api_key:
            known.key, known.course, known.models = mirror.api_key, KeyCourse(self._pace), ()
        course = known.course
        if not mirror.api_key or self._monotonic() < course.due:
            return None
        course.begins(self._monotonic())
        budget = self._budget(timeouts)
        async with self._prober.open(mirror, way, timeouts, budget) as found:
            check = await check_key(found, mirror, way, self._prober.agent, timeouts.request)
        now = self._monotonic()
        if not course.ends(check.valid, now, self._share()):
            return None
        known.models, known.models_until = check.models, now + LIST_COUNTS
        return check

    def doubt_key(self, mirror_id: str) -> None:
        """Traffic has found that the mirror refuses its own key."""
        self._known(mirror_id).course.doubt(self._monotonic())

    def calls_for_key(self, mirror_id: str) -> bool:
        """True if the key is to be checked before the next regular probe; told once."""
        return self._known(mirror_id).course.calls(self._monotonic())

    def models(self, mirror_id: str) -> tuple[str, ...]:
        """Models that the mirror has listed for its own key not long ago; empty: not known."""
        known = self._known(mirror_id)
        return known.models if self._monotonic() < known.models_until else ()

    async def measure(self, mirror: MirrorConfig, way: Way, timeouts: MonitorTimeouts) -> bool:
        """Measure a transfer if one is due; whether it was."""
        known = self._known(mirror.id)
        if not mirror.bulk_path or self._monotonic() < known.bulk_due:
            return False
        known.bulk_due = self._next(self._pace.bulk_interval)
        budget = self._budget(timeouts)
        async with self._prober.open(mirror, way, timeouts, budget) as found:
            if found.stream is None:
                return False
            transfer = await measure(
                found.stream, mirror, way.hostname, self._prober.agent, self._limits
            )
        if transfer.failure in _OWN_FAULT:
            return False
        self._measured(known, sample_of(transfer))
        self._add(mirror.id, sample_of(transfer))
        return True

    def _measured(self, known: Measured, sample: Sample) -> None:
        """Have what was slow measured again soon, and others to compare it with."""
        now = self._monotonic()
        past = [s.goodput for s in known.samples if s.goodput > 0]
        limit = max(RATIO * median(past), FLOOR) if past else FLOOR
        if not sample.stopped and sample.goodput >= limit:
            known.quick_at, known.slow = now, 0
            return
        known.slow += 1
        if known.slow >= SAMPLES:
            return
        soon = self._next(self._pace.bulk_again)
        known.bulk_due = min(known.bulk_due, soon)
        for other in self._of.values():
            if other is not known and other.quick_at < now - self._pace.bulk_lately / 2:
                other.bulk_due = min(other.bulk_due, now)

    def traffic(self, mirror_id: str, received: int, stopped: bool) -> None:
        """A longer answer to a client has ended, or has broken off, after so many bytes."""
        if stopped or received >= LARGE:
            self._add(mirror_id, Sample(received, 0.0, stopped))

    def _add(self, mirror_id: str, sample: Sample) -> None:
        known, now = self._known(mirror_id), self._monotonic()
        known.samples.append(sample)
        timed = [s for s in known.samples if s.goodput > 0 or s.stopped]
        everything = [s for s in known.samples if s.stopped or s.received >= LARGE]
        finding = judge_throughput(everything, None, False)
        if finding.verdict != "byte_cap_freeze":
            past = [s.goodput for s in timed[:-SAMPLES] if s.goodput > 0]
            baseline = median(past) if past else None
            finding = judge_throughput(timed, baseline, self._others_are_normal(mirror_id))
        reaction = reaction_to(finding.verdict)
        if reaction.hold or finding.verdict == "ok" or now >= known.until:
            known.finding, known.until = finding, now + reaction.hold

    def _others_are_normal(self, mirror_id: str) -> bool:
        """True if another mirror was quick in the same minutes."""
        since = self._monotonic() - self._pace.bulk_lately
        return any(known.quick_at >= since for i, known in self._of.items() if i != mirror_id)

    def reaction(self, mirror_id: str) -> tuple[Finding, Reaction]:
        """Return the reaction to a mirror's present speed."""
        known = self._known(mirror_id)
        over = self._monotonic() >= known.until
        finding = Finding("unknown") if over else known.finding
        return finding, reaction_to(finding.verdict)

    def _known(self, mirror_id: str) -> Measured:
        known = self._of.get(mirror_id)
        if known is None:
            known = self._of[mirror_id] = Measured(KeyCourse(self._pace))
        return known

    def _next(self, interval: float) -> float:
        return self._monotonic() + interval * self._share()

    def _share(self) -> float:
        """The part of an interval that is waited: it varies."""
        jitter = self._pace.interval_jitter
        return self._rng.uniform(1.0 - jitter, 1.0 + jitter)

    def _budget(self, timeouts: MonitorTimeouts) -> Budget:
        return Budget.of(timeouts.connect + timeouts.handshake + timeouts.request)


def sample_of(transfer: Transfer) -> Sample:
    """A measured transfer as it is judged."""
    return Sample(transfer.received, transfer.goodput, transfer.failure is not None)
