"""Incidents and maintenances as visitors see them: rows, and their JSON. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Protocol, TypeVar

from dashboard.common.printable import printable, printable_lines
from dashboard.common.steps import Steps, in_steps
from dashboard.i18n.moments import iso, iso_if_known
from dashboard.i18n.texts import Words
from monitor.common.languages import LANGUAGES, Text
from monitor.health.announcements import Announced, Maintenance, ManualIncident
from monitor.health.announcements import Update as Message
from monitor.health.incidents import IMPACTS, Incident, Part
from monitor.health.uptime import DAY

NAMED = 3
"""Nodes that a title names one by one."""
RECENT_DAYS = 14
SILENCE = Announced()
UNTITLED = Text("", "")


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
    edited_title: Text = UNTITLED
    """The operator's words in place of the monitor's; either language may be empty."""
    messages: Sequence[Message] = ()
    """The operator's, newest first."""
    manual: bool = False
    """True if an operator opened it."""

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

    def said(self, words: Words) -> list[Update]:
        """The operator's messages, newest first."""
        return said(self.messages, words)

    def tag(self, words: Words) -> str:
        """The language of the title, if it is not the reader's."""
        return foreign(self.edited_title, words)

    def severity(self, words: Words) -> str:
        """The impact in words: how many nodes the monitor sees concerned, or how bad an operator
        says that it is."""
        return words(f"{'severity' if self.manual else 'impact'}.{self.impact}")

    def title(self, words: Words) -> str:
        """The operator's own title, or the mirrors concerned and their state."""
        if edited := in_either(self.edited_title, words):
            return edited
        names = words("incidents.and").join(node.name for node in self.nodes[:NAMED])
        if len(self.nodes) > NAMED:
            names = words("incidents.among", names=names, count=len(self.nodes))
        return words("incidents.what", names=names, what=meaning(self.verdict, words))


@dataclass(frozen=True, slots=True)
class MaintenanceRow:
    """One maintenance. Times are seconds since the epoch."""

    id: str
    status: str
    """"scheduled", "in_progress", "completed" or "cancelled"."""
    title: Text
    """Either language may be empty, or both."""
    nodes: Mapping[str, str]
    """Names of those that are shown, by id."""
    removed: Sequence[str]
    """Ids of those that the configuration has no more."""
    created_at: float
    starts_at: float
    ends_at: float
    ended_at: float | None
    """When it was over or called off; None while it is neither."""
    updated_at: float
    messages: Sequence[Message]
    """The operator's, newest first."""
    tone: str = "maintenance"
    """Its colour and sign."""

    def said(self, words: Words) -> list[Update]:
        """The operator's messages, newest first."""
        return said(self.messages, words)

    def tag(self, words: Words) -> str:
        """The language of the title, if it is not the reader's."""
        return foreign(self.title, words)

    def name(self, words: Words) -> str:
        """The operator's title; without one, the nodes concerned."""
        title = in_either(self.title, words)
        return title or self._concerning(words("planned.untitled"), words)

    def headline(self, words: Words) -> str:
        """The operator's title, and the nodes concerned."""
        return self._concerning(in_either(self.title, words), words)

    def _concerning(self, what: str, words: Words) -> str:
        gone = (words("planned.removed", name=name) for name in self.removed)
        names = words("incidents.and").join([*self.nodes.values(), *gone])
        return words("incidents.what", names=names, what=what) if names and what else what or names

    def course(self, words: Words) -> list[Update]:
        """Its course from the announcement on, newest first."""
        at_once = self.starts_at <= self.created_at
        announced = "in_progress" if at_once else "scheduled"
        course = [Update(self.created_at, announced, self.name(words))]
        if not at_once and self.status in ("in_progress", "completed"):
            course.append(Update(self.starts_at, "in_progress", words("planned.said.in_progress")))
        if self.ended_at is not None:
            course.append(Update(self.ended_at, self.status, words(f"planned.said.{self.status}")))
        course += reversed(self.said(words))
        course.sort(key=lambda update: update.at)
        return course[::-1]


def maintenance_row(
    plan: Maintenance, messages: Sequence[Message], names: Mapping[str, str], now: float
) -> MaintenanceRow:
    """One maintenance; `names` are those of the nodes that are shown."""
    status, ended_at = plan.status(now), plan.ended_at
    if status == "completed":
        ended_at = min(plan.ends_at, plan.ended_at or plan.ends_at)
    known = [plan.updated_at, *(message.at for message in messages)]
    known += [at for at in (plan.starts_at, ended_at) if at is not None and at <= now]
    return MaintenanceRow(
        plan.id,
        status,
        plan.title,
        {mirror: names[mirror] for mirror in plan.mirrors if mirror in names},
        [printable(mirror) for mirror in plan.mirrors if mirror not in names],
        plan.created_at,
        plan.starts_at,
        plan.ends_at,
        ended_at,
        max(known),
        messages,
    )


def maintenance_rows(
    announced: Announced, names: Mapping[str, str], now: float
) -> list[MaintenanceRow]:
    """All of them; the one that starts last comes first."""
    return [
        maintenance_row(plan, announced.updates.get(plan.id, ()), names, now)
        for plan in announced.maintenances
    ]


def to_come(rows: Sequence[MaintenanceRow]) -> list[MaintenanceRow]:
    """Those that are under way or still to come, the next first."""
    shown = [row for row in rows if row.status in ("scheduled", "in_progress")]
    return sorted(shown, key=lambda row: row.starts_at)


def meaning(verdict: str, words: Words) -> str:
    """A verdict in words, or else its code."""
    return words.verdict(verdict) or printable(verdict)


def said(messages: Sequence[Message], words: Words) -> list[Update]:
    """An operator's messages in the reader's language, or else in the other one."""
    return [
        Update(m.at, m.status, in_either(m.text, words), foreign(m.text, words)) for m in messages
    ]


def foreign(text: Text, words: Words) -> str:
    """The tag of the language in which `in_either` says it, if it is not the reader's."""
    own = text.said(words.language) if words.language in LANGUAGES else ""
    return "" if own or not any(text) else Words("en" if text.en else "zh").tag


def in_either(text: Text, words: Words) -> str:
    """A text of an operator's in the reader's language, or else in the other one."""
    return printable_lines(text.said(words.language) or text.en or text.zh)


def incident_rows(
    incidents: Sequence[Incident], names: Mapping[str, str], announced: Announced = SILENCE
) -> list[IncidentRow]:
    """All of them, newest first, those that operators opened included; `names` are those of the
    nodes that are shown."""
    rows = [_row(incident, names) for incident in incidents]
    if announced.manual:
        rows += [_manual_row(opened, names) for opened in announced.manual]
        rows.sort(key=lambda row: (-row.started_at, row.id))
    return [_announced(row, announced) for row in rows]


def alarm(rows: Sequence[IncidentRow]) -> IncidentRow | None:
    """The worst of the open incidents that operators opened: nodes do not show its state."""
    told = [row for row in rows if row.manual and row.is_open]
    return max(told, key=lambda row: IMPACTS.index(row.impact), default=None)


def _manual_row(opened: ManualIncident, names: Mapping[str, str]) -> IncidentRow:
    begin, end = opened.started_at, opened.resolved_at
    parts = [Part(mirror, "", begin, end, down=None) for mirror in map(printable, opened.mirrors)]
    return IncidentRow(
        opened.id,
        "",
        "",
        opened.impact,
        begin,
        end,
        opened.created_at,
        [_affected(part, names) for part in parts],
        opened.title,
        manual=True,
    )


def _row(incident: Incident, names: Mapping[str, str]) -> IncidentRow:
    parts = sorted(incident.parts, key=lambda part: (part.since, part.mirror))
    return IncidentRow(
        incident.id,
        printable(incident.verdict),
        printable(incident.cdn),
        incident.impact,
        incident.started_at,
        incident.resolved_at,
        incident.updated_at,
        [_affected(part, names) for part in parts],
    )


def _affected(part: Part, names: Mapping[str, str]) -> Affected:
    return Affected(
        part.mirror,
        names.get(part.mirror, part.mirror),
        printable(part.verdict),
        part.since,
        part.until,
        part.times,
        part,
    )


def _announced(row: IncidentRow, announced: Announced) -> IncidentRow:
    """An incident with what operators say of it."""
    edit, messages = announced.edits.get(row.id), announced.updates.get(row.id, ())
    if edit is None and not messages:
        return row
    return replace(
        row,
        impact=(edit and edit.impact) or row.impact,
        updated_at=max((row.updated_at, *(message.at for message in messages))),
        edited_title=edit.title if edit and any(edit.title) else row.edited_title,
        messages=messages,
    )


class Listed(Protocol):
    """A row of a list that is told page by page."""

    @property
    def id(self) -> str:
        """Unique in its list."""


Row = TypeVar("Row", bound=Listed)


def page_after(
    rows: Sequence[Row], after: str, limit: int
) -> tuple[Sequence[Row], str | None] | None:
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
        "manual": row.manual,
        "impact": row.impact,
        "verdict": row.verdict,
        "cdn": row.cdn,
        "started_at": iso(row.started_at),
        "resolved_at": iso_if_known(row.resolved_at),
        "updated_at": iso(row.updated_at),
        "title": _both(row.edited_title),
        "updates": _messages(row.messages),
        "nodes": [
            {
                "id": node.id,
                "name": node.name,
                "verdict": node.verdict,
                "since": iso(node.since),
                "until": iso_if_known(node.until),
                "times": node.times,
                "downtime_s": _whole(node.downtime(now)),
            }
            for node in row.nodes
        ],
    }


def maintenances_document(
    rows: Sequence[MaintenanceRow], following: str | None, now: float
) -> Steps[dict[str, Any]]:
    """`/api/v1/maintenances`."""
    told = yield from in_steps(maintenance_document, rows)
    return {"generated_at": iso(now), "maintenances": told, "next": following}


def maintenance_document(row: MaintenanceRow) -> dict[str, Any]:
    """One of them."""
    return {
        "id": row.id,
        "status": row.status,
        "title": _both(row.title),
        "created_at": iso(row.created_at),
        "starts_at": iso(row.starts_at),
        "ends_at": iso(row.ends_at),
        "ended_at": iso_if_known(row.ended_at),
        "updated_at": iso(row.updated_at),
        "nodes": [
            {"id": id, "name": name}
            for id, name in (*row.nodes.items(), *zip(row.removed, row.removed, strict=True))
        ],
        "updates": _messages(row.messages),
    }


def _messages(messages: Sequence[Message]) -> list[dict[str, Any]]:
    """An operator's messages."""
    return [{"at": iso(m.at), "status": m.status, "text": _both(m.text)} for m in messages]


def _both(text: Text) -> dict[str, str]:
    """A text of an operator's in both languages, of which either may be empty."""
    return {"zh": printable_lines(text.zh), "en": printable_lines(text.en)}


def _whole(value: float | None) -> int | None:
    return None if value is None else int(value)


@dataclass(frozen=True, slots=True)
class Update:
    """Event in the course of an incident."""

    at: float
    status: str
    """Statuspage's words: investigating, identified, monitoring, resolved."""
    text: str
    tag: str = ""
    """Its language as HTML names it, if it is not the reader's."""


def updates(row: IncidentRow, words: Words) -> list[Update]:
    """Its course, newest first."""
    course = _opening(row, words) if row.manual else _observed(row, words)
    course += reversed(row.said(words))
    course.sort(key=lambda update: update.at)
    return course[::-1]


def _opening(row: IncidentRow, words: Words) -> list[Update]:
    return [Update(row.started_at, "investigating", row.title(words))]


def _observed(row: IncidentRow, words: Words) -> list[Update]:
    """Its course as the monitor saw it."""
    course = [
        Update(node.since, "investigating", words("incidents.fell", **_said(node, words)))
        for node in row.nodes
    ]
    course += [
        Update(node.until, "monitoring", words("incidents.rose", **_said(node, words)))
        for node in row.nodes
        if node.until is not None
    ]
    course += [
        Update(node.part.fell_at, "investigating", words("incidents.fell", **_said(node, words)))
        for node in row.nodes
        if node.until is None and node.part.fell_at is not None and node.part.fell_at > node.since
    ]
    if row.resolved_at is not None:
        course.append(Update(row.resolved_at, "resolved", words("incidents.over")))
    return course


def status(row: IncidentRow, words: Words) -> str:
    """Where it stands, in Statuspage's words: the newest of its course, but what the monitor sees
    going on is not resolved, and what has ended is."""
    if not row.is_open:
        return "resolved"
    newest = updates(row, words)[0].status
    return "monitoring" if newest == "resolved" else newest


def _said(node: Affected, words: Words) -> dict[str, str]:
    return {"name": node.name, "what": meaning(node.verdict, words)}
