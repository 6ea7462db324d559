"""Comparison of one path as it is seen from here and from other places.

"Works from there, not from here" needs no theory of what lies between: the server answers, so that
what fails is on the way from here, or a rule of the server against this machine's address.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from monitor.diagnosis.evidence import Code
from monitor.diagnosis.finding import Finding, Level
from monitor.diagnosis.verdicts import NAME_CUT, NO_FAULT, SNI_BLOCKS

CONFIRMED = 2
"""Times in a row that a path must work from there, while it fails here, to be sure (ours)."""
_UNREACHED = frozenset({"ip_unreachable", "connection_reset", "connect_failed"})
_BLOCKED = SNI_BLOCKS | {"ip_port_block", "tls_block"}
_COMPARED = _UNREACHED | _BLOCKED | NAME_CUT | {"connection_refused", "residual_block"}


@dataclass(frozen=True, slots=True)
class SeenFrom:
    """One path as it was seen from another vantage."""

    vantage: str
    hostname: str
    address: str
    """The name instead where the proxy resolved it."""
    alive: bool
    verdict: str
    times: int = 1
    """In a row with the same result."""


def compared(finding: Finding, hostname: str, address: str, seen: Sequence[SeenFrom]) -> Finding:
    """The finding of a path from here, with what other vantages saw of it."""
    if finding.verdict in NO_FAULT or finding.verdict not in _COMPARED:
        return finding
    mine = [each for each in seen if each.hostname == hostname and each.address == address]
    works = max((each for each in mine if each.alive), key=lambda each: each.times, default=None)
    if works is not None:
        return _only_here(finding, works)
    evidence = [
        Code.fails_from_too(vantage=each.vantage, name=hostname, address=address) for each in mine
    ]
    evidence += [
        Code.works_by_name_from(vantage=each.vantage, name=hostname, address=each.address)
        for each in seen
        if each.alive and each.hostname == hostname and each.address != address
    ]
    return replace(finding, evidence=(*finding.evidence, *evidence))


def _only_here(finding: Finding, works: SeenFrom) -> Finding:
    answers = Code.works_from(vantage=works.vantage, name=works.hostname, address=works.address)
    evidence = (answers, *finding.evidence)
    sure = Level.confirmed if works.times >= CONFIRMED else Level.suspected
    if finding.verdict in _UNREACHED:
        return replace(
            finding, verdict="ip_port_block", level=sure, blocked=0.95, down=0.05, evidence=evidence
        )
    if finding.verdict in _BLOCKED and finding.level is not Level.confirmed:
        if finding.level is Level.suspected:
            sure = Level.confirmed  # by two differences: to a control from here, and to there
        return replace(finding, level=sure, blocked=0.95, down=0.05, evidence=evidence)
    return replace(finding, evidence=evidence)
