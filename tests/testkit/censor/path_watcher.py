"""The monitor's work on a path over minutes, in one call: a probe, and a block test if need be.

A handshake with the mirror's name, an examination when that is cut off, and what is believed from
then on. The parts are the monitor's own; only the schedule is missing.
"""

import asyncio
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from random import Random

from monitor.common.config import MonitorTimeouts
from monitor.diagnosis.certificates import Memory
from monitor.diagnosis.confidence import Confidence
from monitor.diagnosis.finding import Finding, Level
from monitor.diagnosis.interpret import interpret
from monitor.diagnosis.timing import DiagnosisTiming
from monitor.diagnosis.verdicts import BLOCKS
from monitor.engine.block_tests import BlockTestRunner, BlockTests, Case, Conclusion
from monitor.engine.sni_budget import SniBudget
from monitor.health.quarantine import Quarantine
from monitor.health.snapshot import endpoint_of
from monitor.probes.tls import TlsContexts
from monitor.probes.trial_results import CUT, Role, Trial
from monitor.probes.trials import Subject, attempt

CONTROL = "control.mirror.test"
TIMEOUT = 1.5
TIMEOUTS = MonitorTimeouts(connect=TIMEOUT, handshake=TIMEOUT)
KNOWN = Memory("mirrorgate tests", "0" * 64)
"""The certificate that verified before; what it was does not matter, only that there was one."""


def shortened(hold: float) -> DiagnosisTiming:
    """Return the usual pace with this residual hold in seconds, and everything else in proportion.

    It must be longer than the censor remembers.
    """
    usual = DiagnosisTiming()
    window = usual.suspicious_window * hold / usual.residual_hold
    shortened = usual.shortened(hold)
    return replace(shortened, gap=0.05, start_jitter=0.05, suspicious_window=window)


@dataclass(frozen=True, slots=True)
class Diagnosed:
    """Findings about one path or name."""

    finding: Finding
    believed: Level = Level.none
    """What all that was found so far bears together."""

    @property
    def confirmed_block(self) -> bool:
        """True if it is said with certainty that something interferes."""
        levels = (self.finding.level, self.believed)
        return self.finding.verdict in BLOCKS and Level.confirmed in levels


@dataclass(slots=True)
class Held:
    """A time in which nobody may show the name to an endpoint, on the monotonic clock."""

    endpoint: str
    since: float
    until: float


class RecordedQuarantine(Quarantine):
    """Remembers all holds, also those that are over."""

    def __init__(self, pace: DiagnosisTiming) -> None:
        super().__init__(pace)
        self.record: list[Held] = []

    def trigger(self, endpoint: str, now: float) -> float:
        until = super().trigger(endpoint, now)
        self.record.append(Held(endpoint, time.monotonic(), until))
        return until

    def lift(self, endpoint: str) -> None:
        now = time.monotonic()
        for held in self.record:
            if held.endpoint == endpoint:
                held.until = min(held.until, now)
        super().lift(endpoint)


class PathWatcher:
    """Knows the paths of one mirror; an owner of block tests, to be closed."""

    def __init__(
        self,
        contexts: TlsContexts,
        ca_file: Path,
        pace: DiagnosisTiming,
        *,
        rng: Random | None = None,
        online: Callable[[], bool] = lambda: True,
    ) -> None:
        self._pace, self._contexts = pace, contexts
        self._ca_file, self._online = str(ca_file), online
        self.quarantine, self._budget = RecordedQuarantine(pace), SniBudget(pace)
        self._confidence: dict[str, Confidence] = {}
        runner = BlockTestRunner(
            contexts,
            self.quarantine,
            self._budget,
            pace,
            controls=[CONTROL],
            online=online,
            rng=rng,
        )
        self._concluded: dict[str, asyncio.Future[Conclusion]] = {}
        self._block_tests = BlockTests(
            runner, contexts, self.quarantine, pace, self, time.monotonic
        )

    async def close(self) -> None:
        """Break off the block tests that run."""
        await self._block_tests.stop()

    def answered_since(self, endpoint: str, moment: float) -> frozenset[str]:
        """There is no traffic."""
        return frozenset()

    def quarantined(self, case: Case) -> None:
        """Called when an endpoint is held; the record has it."""

    def progressed(self, case: Case, finding: Finding) -> None:
        """Called with what a block test has shown so far; its conclusion is enough here."""

    def concluded(self, case: Case, conclusion: Conclusion) -> None:
        """Called with the result of a block test."""
        self._concluded.pop(case.endpoint).set_result(conclusion)

    async def path(self, hostname: str, address: str, port: int, probes: int = 1) -> Diagnosed:
        """Probe a path until it fails, at most so many times, and test it if it was cut off."""
        subject = Subject(hostname, address, port, self._ca_file)
        await self._free(hostname, endpoint_of(address, port))
        for _ in range(probes):
            trial = await self._routine(subject)
            if trial.step.failure is not None:
                break
            self._learn(subject, [trial])
        if trial.outcome not in CUT or not self._online():
            finding = interpret([trial], self._pace, KNOWN)
            return Diagnosed(finding, self._learn(subject, []).level)
        self._budget.spend(hostname, trial.at)
        conclusion = await self._test(Case("mirror", subject, TIMEOUTS, KNOWN, (trial,)))
        believed = self._learn(subject, conclusion.trials)
        if conclusion.finding.verdict == "ok":
            self.quarantine.lift(endpoint_of(address, port))
        return Diagnosed(conclusion.finding, believed.level)

    async def _free(self, hostname: str, endpoint: str) -> None:
        """Wait until nothing keeps the name from being shown there, as the schedule would."""
        now = time.monotonic()
        held = self.quarantine.until(endpoint, now) or now
        await asyncio.sleep(max(held, self._budget.free_at(hostname, now)) - now)

    async def _test(self, case: Case) -> Conclusion:
        future: asyncio.Future[Conclusion] = asyncio.get_running_loop().create_future()
        self._concluded[case.endpoint] = future
        assert self._block_tests.suspect(case), "another block test of it runs"
        return await future

    def _learn(self, subject: Subject, trials: Sequence[Trial]) -> Confidence:
        before = self._confidence.get(subject.address, Confidence())
        self._confidence[subject.address] = now = before.after(trials, self._pace)
        return now

    async def _routine(self, subject: Subject) -> Trial:
        """Make the handshake that the monitor makes all the time."""
        made = await attempt(Role.target, subject, "", self._contexts, TIMEOUTS)
        return Trial(
            Role.target,
            subject.hostname,
            subject.address,
            subject.port,
            made.sni,
            made.decisive,
            time.monotonic(),
            rtt=made.connect.seconds,
            anchors_ok=self._online(),
        )
