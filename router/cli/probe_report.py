"""A diagnosis as text for a terminal, as Markdown, and as JSON."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from itertools import combinations
from typing import Any

from monitor.common.durations import roughly
from monitor.diagnosis.block_test import TOO_LONG
from monitor.diagnosis.cdn import share_fate
from monitor.diagnosis.certificates import days_left, ends_soon
from monitor.diagnosis.classify import judge_step
from monitor.diagnosis.evidence import said
from monitor.diagnosis.finding import Finding, Level
from monitor.diagnosis.interpret import came_of
from monitor.diagnosis.reactions import Reaction
from monitor.diagnosis.rollup import cdn_findings, endpoint_findings, hostname_findings
from monitor.diagnosis.verdicts import BLOCKS, VERDICTS, reaction_to
from monitor.engine.diagnose import Inspection
from monitor.probes.results import DnsObservation, Operation, PathResult, StepResult, TlsEvidence
from monitor.probes.trial_results import Role, Trial
from router.cli.console import aligned, plain


def text_of(seen: Inspection, now: float) -> list[str]:
    """Lines for a terminal; `now` in seconds since the epoch."""
    table = aligned([HEADER, *(row.cells for row in rows_of(seen, now))])
    return [
        f"{seen.mirror.id}  {seen.mirror.url}",
        "",
        *(f"  {line}" for line in table),
        "",
        *(f"  {line}" for line in aligned([(name, plain(text)) for name, text in summary(seen)])),
    ]


def markdown_of(seen: Inspection, now: float) -> list[str]:
    """Lines of Markdown."""
    rows = [tuple(map(_escaped, row.cells)) for row in rows_of(seen, now)]
    head = [f"| {' | '.join(name.lower() for name in HEADER)} |", "|---|---|---|---|"]
    return [
        f"### {_escaped(seen.mirror.id)}: {_escaped(seen.mirror.url)}",
        "",
        *head,
        *(f"| {' | '.join(row)} |" for row in rows),
        "",
        *(f"- **{name or 'and'}**: {_escaped(plain(text))}" for name, text in summary(seen)),
    ]


def _escaped(text: str) -> str:
    return "".join(f"\\{c}" if c in "\\|`*_<>[]" else c for c in text)


def summary(seen: Inspection) -> list[tuple[str, str]]:
    """Verdict, how sure it is, why, and what mirrorgate would do; each with its name."""
    finding = seen.finding
    lines = [("verdict", f"{finding.verdict}: {words_of(finding.verdict)}")]
    if sure := sureness(finding):
        lines.append(("sure", sure))
    if finding.verdict not in (BLOCKS | {"ok"}):
        lines.append(("may mean", VERDICTS[finding.verdict].may_mean.replace("`", "")))
    because = [*said(finding.evidence), *_in_common(seen), *_asides(seen)]
    lines += [("because" if not index else "", text) for index, text in enumerate(because)]
    if seen.cdn:
        lines.append(("CDN", seen.cdn))
    lines.append(("reaction", doing(reaction_to(finding.verdict))))
    return lines + [("hint", hint) for hint in hints(seen)]


def words_of(verdict: str) -> str:
    """The verdict in English."""
    return VERDICTS[verdict].words.en


def sureness(finding: Finding) -> str:
    """Level and weights; "" where there is nothing to weigh."""
    if not finding.blocked and finding.level in (Level.none, Level.cleared):
        return ""
    level = "not yet known" if finding.level is Level.none else str(finding.level)
    rule = f" (rule {finding.rule})" if finding.rule else ""
    return f"{level}; block {finding.blocked:.0%}, outage {finding.down:.0%}{rule}"


def doing(reaction: Reaction) -> str:
    """Return mirrorgate's reaction, and its duration."""
    if not reaction.hold:
        return reaction.act
    grows = reaction.hold_max > reaction.hold
    longer = f", then longer, up to {roughly(reaction.hold_max)}" if grows else ""
    return f"{reaction.act} For {roughly(reaction.hold)}{longer}."


def _asides(seen: Inspection) -> list[str]:
    """Further findings: false DNS answers, and paths that fail though others work."""
    texts = [
        text
        for finding in seen.dns
        if finding.verdict not in ("ok", "unknown", seen.finding.verdict)
        for text in (f"Beside that, {finding.verdict}: {' '.join(said(finding.evidence))}",)
    ]
    if not seen.ok:
        return texts
    return texts + [
        f"{path.hostname} on {path.address}: {finding.verdict}."
        for path, finding in seen.paths
        if path.last.failure is not None and finding.verdict != seen.finding.verdict
    ]


def across(found: Sequence[Inspection]) -> list[str]:
    """Return common findings of several mirrors: networks, neighbourhoods, and whether those
    work."""
    paths = [finding for seen in found for finding in seen.findings()]
    lines = [
        f"over {cdn} no mirror works: {finding.verdict}"
        for cdn, finding in sorted(cdn_findings(paths).items())
    ]
    for one, other in combinations(found, 2):
        if any(share_fate(a, b) for a in one.places() for b in other.places()):
            where = f"over {one.cdn}" if one.cdn and one.cdn == other.cdn else "in one network"
            lines.append(f"{one.mirror.id} and {other.mirror.id} share fate: both are {where}")
    return lines


def _in_common(seen: Inspection) -> list[str]:
    """Addresses and names of the mirror over which nothing works, where there are others."""
    paths = seen.findings()
    names = {path.hostname for path in paths}
    addresses = {path.address for path in paths}
    lines = []
    if len(names) > 1:
        dead = sorted(hostname_findings(paths).items())
        lines += [f"No address works for {name}: {found.verdict}." for name, found in dead]
    if len(addresses) > 1 and len(names) > 1:
        gone = sorted(endpoint_findings(paths).items())
        lines += [f"No name works on {on[0]}: {found.verdict}." for on, found in gone]
    return lines


def hints(seen: Inspection) -> list[str]:
    """Return the next steps that would tell more."""
    if seen.experiment is not None and seen.experiment.why == TOO_LONG:
        return ["`--patient` waits about three minutes for the after-effect and is surer"]
    if seen.experiment is None and seen.finding.verdict in ("tls_reset", "tls_eof", "tls_timeout"):
        return ["monitor.sni.control is empty: without a control name a block is not recognised"]
    if seen.finding.verdict == "ip_unreachable":
        return ["from one place a blocked address looks like a dead one: try from elsewhere too"]
    if seen.finding.verdict == "dns_bogon":
        return ["for a mirror in your own network set allow_private (here: --allow-private)"]
    return []


def json_of(seen: Inspection, now: float) -> dict[str, Any]:
    """Plain values."""
    finding = seen.finding
    return {
        "id": seen.mirror.id,
        "url": seen.mirror.url,
        "ok": seen.ok,
        **_finding_json(finding),
        "meaning": words_of(finding.verdict),
        "may_mean": VERDICTS[finding.verdict].may_mean,
        "cdn": seen.cdn,
        "reaction": asdict(reaction_to(finding.verdict)),
        "steps": [_row_json(row) for row in rows_of(seen, now)],
        "names": [
            {"hostname": resolution.hostname, **_finding_json(found)}
            for resolution, found in zip(seen.resolutions, seen.dns, strict=True)
        ],
        "paths": [
            {
                "hostname": path.hostname,
                "address": path.address,
                "cdn": seen.cdn_of(path),
                "not_after": not_after_of(path),
                "seconds": {str(step.operation): step.seconds for step in path.steps},
                "status": path.last.http.status if path.last.http else None,
                "failed_operation": None if path.last.failure is None else path.last.operation,
                "failure": path.last.failure,
                **_finding_json(found),
            }
            for path, found in seen.paths
        ],
        "experiment": None if seen.experiment is None else {"ended": seen.experiment.why},
        "hints": hints(seen),
    }


def _finding_json(finding: Finding) -> dict[str, Any]:
    return {
        "verdict": finding.verdict,
        "level": str(finding.level),
        "weights": {"blocked": finding.blocked, "down": finding.down, "ok": finding.ok},
        "rule": finding.rule,
        "evidence": list(said(finding.evidence)),
        "residual": finding.residual,
    }


def _row_json(row: Row) -> dict[str, Any]:
    return {
        "step": row.step,
        "way": row.way,
        "seconds": row.seconds,
        "failure": row.failure,
        "meaning": row.meaning,
    }


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
    """Return the fields of the refused certificate."""
    names = ", ".join(seen.subject_names[:3]) or "no name"
    return f" (it is for {names}, of {seen.issuer or 'nobody'})"


def _compared(seen: Inspection) -> Iterator[Row]:
    """The experiment's trials, without the routine one that began it."""
    trials = seen.experiment.trials[1:] if seen.experiment else ()
    for trial in trials:
        yield _trial(trial)


def _trial(trial: Trial) -> Row:
    way = f"{trial.sni} {trial.address}" if trial.sni else trial.address
    return Row(
        _ROLES[trial.role], way, trial.step.seconds, came_of(trial).said("en"), trial.step.failure
    )


def not_after_of(path: PathResult) -> float | None:
    """When the certificate that a path showed ends."""
    shaken = path.step(Operation.tls_handshake)
    return shaken.tls.not_after if shaken and shaken.tls else None
