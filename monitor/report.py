"""One probe told to people: each step with its time, then the verdict."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass

from monitor.config import MirrorConfig, MonitorConfig
from monitor.diagnosis.cdn import detect_cdn
from monitor.probes.naming import NameService
from monitor.probes.prober import Probe, Prober
from monitor.probes.result import PathResult, StepResult


@dataclass(frozen=True, slots=True)
class ProbeReport:
    """The result of one probe."""

    mirror: MirrorConfig
    probe: Probe

    @property
    def ok(self) -> bool:
        """Whether the mirror can serve."""
        return self.probe.meaning.alive

    @property
    def verdict(self) -> str:
        """The verdict's name."""
        return self.probe.meaning.verdict

    @property
    def sentence(self) -> str:
        """Why, in one sentence; empty when all is well."""
        return self.probe.meaning.sentence

    @property
    def cdn(self) -> str:
        """The content delivery network that was seen, or ""."""
        answer = self.probe.best.last.http if self.probe.best else None
        return detect_cdn(answer.headers) if answer else ""

    def lines(self) -> list[str]:
        """The report, line by line."""
        resolution = self.probe.resolution
        found = ", ".join(resolution.addresses)
        return [
            f"{self.mirror.host}: {_step(resolution)}{f' → {found}' if found else ''}",
            *(line for path in self.probe.paths for line in _path(path)),
            f"verdict: {self.verdict}{f' ({self.sentence})' if self.sentence else ''}",
        ]


def _path(path: PathResult) -> list[str]:
    return [f"  {path.address}: {_step(step)}{_extra(step)}" for step in path.steps]


def _step(step: StepResult) -> str:
    return f"{step.operation} {step.failure or 'ok'} in {step.seconds * 1000:.0f} ms"


def _extra(step: StepResult) -> str:
    if step.http is not None:
        return f", status {step.http.status}"
    if step.tls is not None and step.tls.version:
        return f", {step.tls.version}, certificate of {step.tls.issuer}" * (step.failure is None)
    return f" ({step.note})" if step.note else ""


async def probe_once(mirror: MirrorConfig, config: MonitorConfig) -> ProbeReport:
    """Probe a mirror once, step by step, with nothing else running."""
    timeouts = config.timeouts
    total = timeouts.resolve + timeouts.connect + timeouts.handshake + timeouts.request
    async with contextlib.aclosing(Prober(NameService(config.dns.resolvers))) as prober:
        return ProbeReport(mirror, await prober.probe(mirror, timeouts, total))
