"""Incidents as visitors see them: rows, and the JSON of both interfaces. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from dashboard.common.printable import printable
from dashboard.common.steps import Steps, in_steps
from dashboard.i18n.moments import iso
from dashboard.i18n.texts import Words
from monitor.health.incidents import Incident, Part
from monitor.health.uptime import DAY

NAMED = 3
"""Nodes that a title names one by one."""
RECENT_DAYS = 14


@dataclass(frozen=True, slots=True)
class Affected:
    """A node's part. Times are seconds since the epoch."""

    id: str
    name: str
    verdict: str
    since: float
    until: float | None
    times: int
    part: Part

    def downtime(self, now: float) -> float | None:
        """Seconds that it was down until now, without those in between; None if unknown."""
        return self.part.downtime(now)


@dataclass(frozen=True, slots=True)
class IncidentRow:
    """One incident."""

    id: str
    verdict: str
    cdn: str
    impact: str
    started_at: float
    resolved_at: float | None
    updated_at: float
    nodes: Sequence[Affected]

    @property
    def is_open(self) -> bool:
        """True if it goes on."""
        return self.resolved_at is None

    @property
    def tone(self) -> str:
        """The colour and sign of what it was."""
        return "degraded" if self.impact == "minor" else "down"

    def concerns(self, node_id: str) -> bool:
        """True if the node has a part in it."""
        return any(node.id == node_id for node in self.nodes)

    def is_recent(self, now: float) -> bool:
        """True if it ended not long ago."""
        return self.resolved_at is not None and now - self.resolved_at < RECENT_DAYS * DAY

    def title(self, words: Words) -> str:
        """The mirrors concerned, and the state."""
        names = words("incidents.and").join(node.name for node in self.nodes[:NAMED])
        if len(self.nodes) > NAMED:
            names = words("incidents.among", names=names, count=len(self.nodes))
        return words("incidents.what", names=names, what=meaning(self.verdict, words))


def meaning(verdict: str, words: Words) -> str:
    """A verdict in words, or else its code."""
    return words.verdict(verdict) or printable(verdict)


def incident_rows(incidents: Sequence[Incident], names: Mapping[str, str]) -> list[IncidentRow]:
    """All of them; `names` are those of the nodes that are shown."""
    return [_row(incident, names) for incident in incidents]


def _row(incident: Incident, names: Mapping[str, str]) -> IncidentRow:
    nodes = [
        Affected(
            part.mirror,
            names.get(part.mirror, part.mirror),
            part.verdict,
            part.since,
            part.until,
            part.times,
            part,
        )
        for part in sorted(incident.parts, key=lambda part: (part.since, part.mirror))
    ]
    return IncidentRow(
        incident.id,
        incident.verdict,
        printable(incident.cdn),
        incident.impact,
        incident.started_at,
        incident.resolved_at,
        incident.updated_at,
        nodes,
    )


def page_after(
    rows: Sequence[IncidentRow], after: str, limit: int
) -> tuple[Sequence[IncidentRow], str | None] | None:
    """Up to `limit` rows behind the one of this id, and what the next page is after."""
    start = next((i + 1 for i, row in enumerate(rows) if row.id == after), 0 if not after else -1)
    if start < 0:
        return None
    page = rows[start : start + limit]
    return page, page[-1].id if start + limit < len(rows) else None


def incidents_document(
    rows: Sequence[IncidentRow], following: str | None, now: float
) -> Steps[dict[str, Any]]:
    """`/api/v1/incidents`."""
    told = yield from in_steps(partial(incident_document, now=now), rows)
    return {"generated_at": iso(now), "incidents": told, "next": following}


def incident_document(row: IncidentRow, now: float) -> dict[str, Any]:
    """One of them."""
    return {
        "id": row.id,
        "status": "open" if row.is_open else "resolved",
        "impact": row.impact,
        "verdict": row.verdict,
        "cdn": row.cdn,
        "started_at": iso(row.started_at),
        "resolved_at": moment(row.resolved_at),
        "updated_at": iso(row.updated_at),
        "nodes": [
            {
                "id": node.id,
                "name": node.name,
                "verdict": node.verdict,
                "since": iso(node.since),
                "until": moment(node.until),
                "times": node.times,
                "downtime_s": _whole(node.downtime(now)),
            }
            for node in row.nodes
        ],
    }


def _whole(value: float | None) -> int | None:
    return None if value is None else int(value)


def moment(value: float | None) -> str | None:
    """A moment for machines, if there is one."""
    return None if value is None else iso(value)


@dataclass(frozen=True, slots=True)
class Update:
    """Event in the course of an incident."""

    at: float
    status: str
    """Statuspage's words: investigating, monitoring, resolved."""
    text: str


def updates(row: IncidentRow, words: Words) -> list[Update]:
    """Its course, newest first."""
    course = [
        Update(node.since, "investigating", words("incidents.fell", **_said(node, words)))
        for node in row.nodes
    ]
    course += [
        Update(node.until, "monitoring", words("incidents.rose", **_said(node, words)))
        for node in row.nodes
        if node.until is not None
    ]
    course.sort(key=lambda update: update.at)
    if row.resolved_at is not None:
        course.append(Update(row.resolved_at, "resolved", words("incidents.over")))
    return course[::-1]


def _said(node: Affected, words: Words) -> dict[str, str]:
    return {"name": node.name, "what": meaning(node.verdict, words)}
