"""What an inspection saw, row by row: which step, on which way, how long, and what it means."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from monitor.diagnosis.certificates import days_left, ends_soon
from monitor.diagnosis.interpret import came_of
from monitor.diagnosis.trial import Role, Trial
from monitor.diagnosis.verdict import judge_step
from monitor.inspection import Inspection
from monitor.probes.result import DnsObservation, Operation, PathResult, StepResult, TlsEvidence
from router.main.console import plain

HEADER = ("STEP", "WAY", "TIME", "WHAT IT MEANS")
_STEPS = {
    Operation.resolve: "resolve",
    Operation.connect: "connect",
    Operation.tls_handshake: "handshake",
    Operation.http_round_trip: "request",
}
_ROLES = {
    Role.target: "real name",
    Role.control: "control",
    Role.no_sni: "no name",
    Role.not_tls: "not TLS",
}
_SHOWN = 4
"""Addresses of an answer that are listed."""


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the table."""

    step: str
    way: str
    seconds: float | None
    meaning: str
    failure: str | None = None

    @property
    def cells(self) -> tuple[str, str, str, str]:
        """As text."""
        return (self.step, plain(self.way), time_of(self.seconds), plain(self.meaning))


def time_of(seconds: float | None) -> str:
    """ "12 ms", "4.0 s", or "-"."""
    if seconds is None:
        return "-"
    return f"{seconds:.1f} s" if seconds >= 1 else f"{seconds * 1000:.0f} ms"


def rows_of(seen: Inspection, now: float) -> list[Row]:
    """The whole table; `now` in seconds since the epoch."""
    many = len(seen.resolutions) > 1
    rows: list[Row] = []
    for resolution in seen.resolutions:
        rows += _resolved(resolution, many)
        paths = [path for path, _ in seen.paths if path.hostname == resolution.hostname]
        for path in paths:
            way = f"{path.hostname} {path.address}" if many else path.address
            rows += [_step(step, way, now) for step in path.steps]
    rows += [
        Row("-", f"{way.hostname} {way.address}", None, "not tried: left alone, or one too many")
        for way in seen.spared
    ]
    return [*rows, *_compared(seen)]


def _resolved(resolution: StepResult, many: bool) -> Iterator[Row]:
    name = f"{resolution.hostname} " if many else ""
    for seen in resolution.dns:
        yield Row("resolve", f"{name}{seen.resolver}", seen.seconds, _answer(seen), seen.failure)
    if not resolution.dns:
        text = f"as configured: {_listed(resolution.addresses)}"
        yield Row("resolve", f"{name}-", None, text)
    elif resolution.failure and len(resolution.dns) > 1:
        yield Row("resolve", f"{name}all", None, judge_step(resolution).sentence or "no address")


def _answer(seen: DnsObservation) -> str:
    if seen.failure is None:
        alias = f" (alias of {seen.chain[-1]})" if seen.chain else ""
        return f"{_listed(seen.addresses)}{alias}"
    return judge_step(StepResult(Operation.resolve, seen.failure, seen.seconds)).sentence


def _listed(addresses: tuple[str, ...]) -> str:
    more = f" and {len(addresses) - _SHOWN} more" if len(addresses) > _SHOWN else ""
    return ", ".join(addresses[:_SHOWN]) + more


def _step(step: StepResult, way: str, now: float) -> Row:
    return Row(_STEPS[step.operation], way, step.seconds, _meaning(step, now), step.failure)


def _meaning(step: StepResult, now: float) -> str:
    if step.failure is None and step.operation is Operation.connect:
        return "it accepts connections"
    if step.failure is None and step.tls is not None:
        return certificate_text(step.tls, now)
    meaning = judge_step(step)
    if step.http is not None:
        good = "as it should be" if step.http.status == 200 else "it works"
        return f"status {step.http.status}: {meaning.sentence or good}"
    return meaning.sentence + (_shown(step.tls) if step.tls and step.tls.verify_code else "")


def certificate_text(seen: TlsEvidence, now: float) -> str:
    """Version, issuer and days left of a good handshake."""
    if seen.not_after is None:
        return f"{seen.version}, the certificate is good"
    days = days_left(seen.not_after, now)
    renew = ": renew it soon" if ends_soon(seen.not_after, now) else ""
    return f"{seen.version}, certificate of {seen.issuer or '?'}, {days:.0f} days left{renew}"


def _shown(seen: TlsEvidence) -> str:
    """What the refused certificate says of itself."""
    names = ", ".join(seen.subject_names[:3]) or "no name"
    return f" (it is for {names}, of {seen.issuer or 'nobody'})"


def _compared(seen: Inspection) -> Iterator[Row]:
    """The experiment's trials, without the routine one that began it."""
    trials = seen.experiment.trials[1:] if seen.experiment else ()
    for trial in trials:
        yield _trial(trial)


def _trial(trial: Trial) -> Row:
    way = f"{trial.sni} {trial.address}" if trial.sni else trial.address
    return Row(_ROLES[trial.role], way, trial.step.seconds, came_of(trial), trial.step.failure)


def not_after_of(path: PathResult) -> float | None:
    """When the certificate that a path showed ends."""
    shaken = path.step(Operation.tls_handshake)
    return shaken.tls.not_after if shaken and shaken.tls else None
