"""Incidents, drafted from what happens to mirrors. Pure.

    a mirror goes down:   it had just recovered       -> its incident opens again
                          others went down just now,
                          of the same cause           -> it joins their incident
                          else                        -> a new incident, since its first bad probe
    a mirror recovers, or is taken out by hand         -> its part ends; with the last one all of it
    nobody can say what a mirror is                    -> nothing changes
    more is found out about a mirror that is down      -> its part, and who began it all, say so

The cause is the verdict; mirrors on one CDN share their fate, whatever it looks like from here.
An incident is immutable: every change gives a new one in the former's place.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

from monitor.diagnosis.verdicts import BLOCKS, SNI_BLOCKS

REOPENED_WITHIN = 300.0
"""Seconds after a recovery in which a new failure is still the same incident."""
TOGETHER_WITHIN = 300.0
"""Seconds between two failures of one incident."""

IMPACTS = ("minor", "major", "critical")
"""In Statuspage's words: some mirrors, half of them or more, all."""


@dataclass(frozen=True, slots=True)
class Part:
    """Part of one mirror in an incident. Times are seconds since the epoch."""

    mirror: str
    verdict: str
    since: float
    until: float | None = None
    times: int = 1
    """How many times it went down."""
    fell_at: float | None = None
    """The beginning of the outage that goes on, if it is known."""
    down: float | None = 0.0
    """Seconds of the outages that have ended; None where an earlier release did not count them."""

    def downtime(self, now: float) -> float | None:
        """Seconds that it was down until now, without those in between; None if unknown."""
        if self.down is None or self.until is not None:
            return self.down
        return None if self.fell_at is None else self.down + max(0.0, now - self.fell_at)


@dataclass(frozen=True, slots=True)
class Incident:
    """Something that happened to one or several mirrors."""

    id: str
    """Random and stable."""
    vantage: str
    verdict: str
    """The first mirror's."""
    cdn: str
    """The CDN of the first mirror; empty when none was seen."""
    impact: str
    started_at: float
    resolved_at: float | None
    updated_at: float
    parts: tuple[Part, ...]

    @property
    def is_open(self) -> bool:
        """True if some mirror has not recovered."""
        return self.resolved_at is None

    def part_of(self, mirror: str) -> Part | None:
        """The mirror's part, if it has one."""
        return next((part for part in self.parts if part.mirror == mirror), None)


@dataclass(frozen=True, slots=True)
class Failure:
    """A mirror went down."""

    mirror: str
    at: float
    """When its first bad probe was."""
    verdict: str
    cdn: str = ""


def failed(
    incidents: Iterable[Incident], failure: Failure, watched: int, blank: Incident
) -> Incident | None:
    """The incident that a failure makes or changes; None when it is known already.

    `watched` is the number of mirrors in all; `blank` is what a new incident is made from.
    """
    known = list(incidents)
    if any(_is_down(incident, failure.mirror) for incident in known):
        return None
    former = _just_recovered(known, failure) or _of_same_cause(known, failure) or blank
    return _with_failure(former, failure, watched)


def recovered(incidents: Iterable[Incident], mirror: str, at: float) -> Incident | None:
    """The incident that a recovery changes, if the mirror had a part in one."""
    for incident in incidents:
        if _is_down(incident, mirror):
            return _with_recovery(incident, mirror, at)
    return None


def refined(incidents: Iterable[Incident], mirror: str, verdict: str, at: float) -> Incident | None:
    """The incident that a better verdict on a mirror that is down changes, if it is a better one.

    A diagnosis takes longer than to see that something fails; what comes after it is mostly its
    own consequence, such as silence while a path is left alone.
    """
    for incident in incidents:
        part = incident.part_of(mirror)
        if part is not None and part.until is None and _weight(verdict) > _weight(part.verdict):
            better = replace(part, verdict=verdict)
            parts = tuple(better if p is part else p for p in incident.parts)
            first = min(parts, key=lambda p: (p.since, p.mirror))
            return replace(incident, parts=parts, verdict=first.verdict, updated_at=at)
    return None


def _weight(verdict: str) -> int:
    """Weight of a verdict: that something fails, that it is interfered with, and how."""
    return (verdict in BLOCKS and verdict != "residual_block") + (verdict in SNI_BLOCKS)


def blank(incident_id: str, vantage: str, failure: Failure) -> Incident:
    """A new incident without any part in it yet."""
    return Incident(
        incident_id, vantage, failure.verdict, failure.cdn, IMPACTS[0], failure.at, None, 0.0, ()
    )


def still_relevant(incidents: Iterable[Incident], now: float) -> list[Incident]:
    """Those that a failure now could belong to; a clock that was set back keeps none for ever."""
    return [
        incident
        for incident in incidents
        if incident.resolved_at is None or any(_ended_near(part, now) for part in incident.parts)
    ]


def _ended_near(part: Part, now: float) -> bool:
    return part.until is not None and abs(now - part.until) <= REOPENED_WITHIN


def _is_down(incident: Incident, mirror: str) -> bool:
    part = incident.part_of(mirror)
    return part is not None and part.until is None


def _just_recovered(incidents: list[Incident], failure: Failure) -> Incident | None:
    ended = [
        (part.until, incident.id, incident)
        for incident in incidents
        if (part := incident.part_of(failure.mirror)) is not None and part.until is not None
        if abs(failure.at - part.until) <= REOPENED_WITHIN
    ]
    return max(ended)[2] if ended else None


def _of_same_cause(incidents: list[Incident], failure: Failure) -> Incident | None:
    for incident in incidents:
        same_cdn = incident.cdn != "" and incident.cdn == failure.cdn
        newest = max(part.since for part in incident.parts)
        if incident.part_of(failure.mirror) is not None:
            continue
        if (same_cdn or incident.verdict == failure.verdict) and (
            abs(failure.at - newest) <= TOGETHER_WITHIN
        ):
            return incident
    return None


def _with_failure(incident: Incident, failure: Failure, watched: int) -> Incident:
    former = incident.part_of(failure.mirror)
    if former is None:
        part = Part(failure.mirror, failure.verdict, failure.at, fell_at=failure.at)
    else:
        since = min(former.since, failure.at)  # a clock may have been set back meanwhile
        times = former.times + 1
        part = replace(former, since=since, until=None, times=times, fell_at=failure.at)
    parts = (*(p for p in incident.parts if p.mirror != failure.mirror), part)
    down = sum(p.until is None for p in parts)
    return replace(
        incident,
        parts=parts,
        impact=max(incident.impact, _impact(down, watched), key=IMPACTS.index),
        started_at=min(incident.started_at, failure.at),
        resolved_at=None,
        updated_at=failure.at,
    )


def _impact(down: int, watched: int) -> str:
    if down >= watched:
        return "critical"
    return "major" if 2 * down >= watched else "minor"


def _with_recovery(incident: Incident, mirror: str, at: float) -> Incident:
    parts = tuple(
        _ended(part, at) if part.mirror == mirror and part.until is None else part
        for part in incident.parts
    )
    ends = [part.until for part in parts]
    over = [end for end in ends if end is not None]
    resolved = max(over) if len(over) == len(ends) else None
    return replace(incident, parts=parts, resolved_at=resolved, updated_at=max(over))


def _ended(part: Part, at: float) -> Part:
    until = max(at, part.since)
    down = None
    if part.down is not None and part.fell_at is not None:
        down = part.down + max(0.0, until - part.fell_at)
    return replace(part, until=until, fell_at=None, down=down)
