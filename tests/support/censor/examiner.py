"""What the monitor does with a path over minutes, in one call: probe it, and examine it if need be.

A handshake with the mirror's name, an experiment when that is cut off, and what is believed from
then on.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from random import Random

from monitor.care import Care
from monitor.config import MonitorTimeouts
from monitor.diagnosis.certificates import Memory
from monitor.diagnosis.confidence import Confidence
from monitor.diagnosis.interpret import interpret
from monitor.diagnosis.names import BLOCKS
from monitor.diagnosis.pace import Pace
from monitor.diagnosis.trial import CUT, Finding, Level, Role, Trial
from monitor.experiment import Laboratory
from monitor.health.board import endpoint_of
from monitor.health.quarantine import Quarantine
from monitor.probes.handshake import TlsContexts
from monitor.probes.trials import Subject, attempt

CONTROL = "control.mirror.test"
TIMEOUT = 1.5
TIMEOUTS = MonitorTimeouts(connect=TIMEOUT, handshake=TIMEOUT)
KNOWN = Memory("mirrorgate tests", "0" * 64)
"""The certificate that verified before; what it was does not matter, only that there was one."""


def hurried(hold: float) -> Pace:
    """Return the usual pace with this residual hold in seconds, and everything else in proportion.

    It must be longer than the censor remembers.
    """
    usual = Pace()
    window = usual.suspicious_window * hold / usual.residual_hold
    shortened = usual.shortened(hold)
    return replace(shortened, gap=0.05, start_jitter=0.05, suspicious_window=window)


@dataclass(frozen=True, slots=True)
class Diagnosed:
    """What was found about one path or name."""

    finding: Finding
    trials: tuple[Trial, ...] = ()
    believed: Level = Level.none
    """What all that was found so far bears together."""

    @property
    def confirmed_block(self) -> bool:
        """Whether it is said with certainty that something interferes."""
        levels = (self.finding.level, self.believed)
        return self.finding.verdict in BLOCKS and Level.confirmed in levels


class Examiner:
    """Knows the paths of one mirror."""

    def __init__(
        self,
        contexts: TlsContexts,
        ca_file: Path,
        pace: Pace,
        *,
        rng: Random | None = None,
        online: Callable[[], bool] = lambda: True,
    ) -> None:
        self.pace = pace
        self._contexts, self._ca_file, self._online = contexts, str(ca_file), online
        self._quarantine, self._care = Quarantine(pace), Care(pace)
        self._believed: dict[str, Confidence] = {}
        self._laboratory = Laboratory(
            contexts,
            self._quarantine,
            self._care,
            pace,
            controls=[CONTROL],
            online=online,
            rng=rng,
        )

    async def path(self, hostname: str, address: str, port: int, probes: int = 1) -> Diagnosed:
        """Probe a path until it fails, at most so many times, and examine it if it was cut off."""
        subject = Subject(hostname, address, port, self._ca_file)
        for _ in range(probes):
            trial = await self._routine(subject)
            if trial.step.failure is not None:
                break
            self._believe(subject, [trial])
        if trial.outcome not in CUT:
            finding = interpret([trial], self.pace, KNOWN)
            return Diagnosed(finding, (trial,), self._believe(subject, []))
        self._care.spend(hostname, trial.at)
        self._quarantine.trigger(endpoint_of(address, port), trial.at)
        conclusion = await self._laboratory.examine(
            subject, TIMEOUTS, triggered=trial.at, before=[trial], memory=KNOWN
        )
        believed = self._believe(subject, conclusion.trials)
        return Diagnosed(conclusion.finding, conclusion.trials, believed)

    def _believe(self, subject: Subject, trials: Sequence[Trial]) -> Level:
        before = self._believed.get(subject.address, Confidence())
        self._believed[subject.address] = now = before.after(trials, self.pace)
        return now.level

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
