"""An inspection as text for a terminal, as Markdown to paste, and as JSON."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from itertools import combinations
from typing import Any

from dashboard.locale.verdicts import VERDICTS
from monitor.diagnosis.cdn import share_fate
from monitor.diagnosis.glossary import GLOSSARY
from monitor.diagnosis.names import BLOCKS
from monitor.diagnosis.procedure import TOO_LONG
from monitor.diagnosis.reaction import Reaction, reaction_to
from monitor.diagnosis.rollup import cdn_findings, endpoint_findings, hostname_findings
from monitor.diagnosis.trial import Finding, Level
from monitor.inspection import Inspection
from router.main.console import aligned, plain
from router.main.probe_rows import HEADER, Row, not_after_of, rows_of
from router.main.words import roughly

_ENGLISH = 1


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
        lines.append(("may mean", GLOSSARY[finding.verdict].may_mean.replace("`", "")))
    because = [*finding.evidence, *_in_common(seen), *_asides(seen)]
    lines += [("because" if not index else "", text) for index, text in enumerate(because)]
    if seen.cdn:
        lines.append(("CDN", seen.cdn))
    lines.append(("reaction", doing(reaction_to(finding.verdict))))
    return lines + [("hint", hint) for hint in hints(seen)]


def words_of(verdict: str) -> str:
    """The verdict in English."""
    return VERDICTS[verdict][_ENGLISH]


def sureness(finding: Finding) -> str:
    """Level and weights; "" where there is nothing to weigh."""
    if not finding.blocked and finding.level in (Level.none, Level.cleared):
        return ""
    level = "not yet known" if finding.level is Level.none else str(finding.level)
    rule = f" (rule {finding.rule})" if finding.rule else ""
    return f"{level}; block {finding.blocked:.0%}, outage {finding.down:.0%}{rule}"


def doing(reaction: Reaction) -> str:
    """What mirrorgate does, and for how long."""
    if not reaction.hold:
        return reaction.act
    grows = reaction.hold_max > reaction.hold
    longer = f", then longer, up to {roughly(reaction.hold_max)}" if grows else ""
    return f"{reaction.act} For {roughly(reaction.hold)}{longer}."


def _asides(seen: Inspection) -> list[str]:
    """What else was found: names that are lied about, and ways that fail though others work."""
    texts = [
        text
        for finding in seen.dns
        if finding.verdict not in ("ok", "unknown", seen.finding.verdict)
        for text in (f"Beside that, {finding.verdict}: {' '.join(finding.evidence)}",)
    ]
    if not seen.ok:
        return texts
    return texts + [
        f"{path.hostname} on {path.address}: {finding.verdict}."
        for path, finding in seen.paths
        if path.last.failure is not None and finding.verdict != seen.finding.verdict
    ]


def across(found: Sequence[Inspection]) -> list[str]:
    """What several mirrors have in common: networks, neighbourhoods, and whether those work."""
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
    """What to do to know more."""
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
        "may_mean": GLOSSARY[finding.verdict].may_mean,
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
        "evidence": list(finding.evidence),
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
