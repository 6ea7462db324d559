"""Statuspage's interface, version 2, as its clients read it; built field by field. Pure.

It has no word for what is not known: a node's last known state stands for it, and the component's
description says so.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from dashboard.common.config import DashboardConfig
from dashboard.common.printable import printable
from dashboard.common.steps import Steps, in_steps
from dashboard.i18n.moments import iso, iso_if_known
from dashboard.i18n.texts import Words
from dashboard.public.incidents import (
    UNTITLED,
    IncidentRow,
    MaintenanceRow,
    Update,
    alarm,
    maintenance_row,
    status,
    updates,
)
from dashboard.public.rows import Kind, Node, Overview
from monitor.health.announcements import Maintenance
from monitor.health.incidents import IMPACTS
from monitor.health.snapshot import Override, State

PAGE_ID = "mirrorgate"
SHOWN = ("scheduled", "in_progress", "completed")
"""Statuses of maintenances that are shown; one that was called off is none."""
NEWEST = 50
"""Incidents and maintenances that a list has, as Statuspage's own have."""

_STATUS = {
    State.up: "operational",
    State.degraded: "degraded_performance",
    State.down: "major_outage",
    State.maintenance: "under_maintenance",
    State.unknown: "degraded_performance",
}
INDICATORS: Mapping[Kind, str] = {
    "ok": "none",
    "planned": "maintenance",
    "slow": "minor",
    "some": "minor",
    "last": "major",
    "none": "critical",
    "lost": "critical",
    "early": "none",
    "offline": "minor",
    "blind": "minor",
    "empty": "none",
}


@dataclass(frozen=True, slots=True)
class Board:
    """All that the answers tell, at one moment."""

    config: DashboardConfig
    words: Words
    now: float
    overview: Overview
    sentence: str
    """The state of the whole, as the page says it."""
    nodes: Sequence[Node]
    incidents: Sequence[IncidentRow]
    """Newest first."""
    planned: Sequence[MaintenanceRow]
    """The one that starts last comes first."""

    def document(self, **parts: Any) -> dict[str, Any]:
        """An answer with these parts, in their order."""
        heard = self.overview.heard
        page = {
            "id": PAGE_ID,
            "name": printable(self.config.title),
            "url": self.config.public_url,
            "time_zone": self.config.timezone,
            "updated_at": iso(self.now if heard is None else heard),
        }
        return {"page": page, **parts}

    def status(self) -> dict[str, str]:
        """The state of the whole."""
        return {
            "indicator": indicator(self.overview, self.incidents),
            "description": self.sentence,
        }

    def components(self) -> Steps[list[dict[str, Any]]]:
        """Every node."""
        return (yield from in_steps(self.component, self.nodes))

    def component(self, row: Node) -> dict[str, Any]:
        """A node."""
        return {
            "id": row.id,
            "name": row.name,
            "status": component_status(row),
            "created_at": iso(row.since or self.now),
            "updated_at": iso(row.since or self.now),
            "position": 1 + self.nodes.index(row),
            "description": self._described(row),
            "showcase": True,
            "start_date": row.days[0].date if row.days else None,
            "group_id": None,
            "page_id": PAGE_ID,
            "group": False,
            "only_show_if_degraded": False,
        }

    def _described(self, row: Node) -> str | None:
        if row.state is not State.unknown:
            return row.region or None
        words = self.words
        unknown = words("state.unknown")
        if row.last_known is State.unknown:
            return unknown
        return f"{unknown}, {words('nodes.last_known', state=words(f'state.{row.last_known}'))}"

    def told(self, rows: Sequence[IncidentRow]) -> Steps[list[dict[str, Any]]]:
        """Some incidents."""
        return (yield from in_steps(self._incident, rows[:NEWEST]))

    def unresolved(self) -> list[IncidentRow]:
        """The incidents that go on."""
        return [row for row in self.incidents if row.is_open]

    def _incident(self, row: IncidentRow) -> dict[str, Any]:
        course = updates(row, self.words)
        concerned = [node for node in self.nodes if row.concerns(node.id)]
        return {
            "id": row.id,
            "name": row.title(self.words),
            "status": status(row, self.words),
            "impact": row.impact,
            "created_at": iso(row.started_at),
            "started_at": iso(row.started_at),
            "updated_at": iso(row.updated_at),
            "monitoring_at": iso_if_known(row.resolved_at),
            "resolved_at": iso_if_known(row.resolved_at),
            "shortlink": link(row, self.config),
            "page_id": PAGE_ID,
            "components": list(map(self.component, concerned)),
            "incident_updates": _told(row.id, course),
        }

    def maintenances(self, *wanted: str) -> list[dict[str, Any]]:
        """The planned maintenances of these statuses (none: all but those called off), and nodes
        that an operator has taken out of use without a plan."""
        shown = wanted or SHOWN
        planned = [row for row in self.planned if row.status in shown]
        of_plans = {id for row in planned for id in row.nodes}
        now = [
            self._of_node(row)
            for row in self.nodes
            if row.override is Override.maintenance and row.id not in of_plans
        ]
        unplanned = now if "in_progress" in shown else []
        return [self._maintenance(each) for each in (*unplanned, *planned[:NEWEST])]

    def _of_node(self, row: Node) -> MaintenanceRow:
        """A maintenance that nobody has planned."""
        since = row.since or self.now
        until = math.inf if row.override_until is None else row.override_until
        plan = Maintenance(
            f"{row.id}-{int(since)}", UNTITLED, (row.id,), since, until, since, since
        )
        return maintenance_row(plan, (), {row.id: row.name}, self.now)

    def _maintenance(self, row: MaintenanceRow) -> dict[str, Any]:
        return {
            "id": row.id,
            "name": row.name(self.words),
            "status": row.status,
            "impact": "maintenance",
            "created_at": iso(row.created_at),
            "started_at": iso(row.starts_at),
            "updated_at": iso(row.updated_at),
            "monitoring_at": None,
            "resolved_at": iso_if_known(row.ended_at),
            "shortlink": link_to_plan(row, self.config),
            "page_id": PAGE_ID,
            "components": [self.component(node) for node in self.nodes if node.id in row.nodes],
            "incident_updates": _told(row.id, row.course(self.words)),
            "scheduled_for": iso(row.starts_at),
            "scheduled_until": None if math.isinf(row.ends_at) else iso(row.ends_at),
        }


def indicator(overview: Overview, incidents: Sequence[IncidentRow]) -> str:
    """Statuspage's word for the state of the whole, and what operators say of it."""
    told, seen = alarm(incidents), INDICATORS[overview.kind]
    if told is None:
        return seen
    return max(seen, told.impact, key=("none", "maintenance", *IMPACTS).index)


def _told(about: str, course: Sequence[Update]) -> list[dict[str, Any]]:
    """The updates of an incident or maintenance, newest first."""
    return [
        {
            "id": f"{about}-{len(course) - place}",
            "status": update.status,
            "body": update.text,
            "incident_id": about,
            "created_at": iso(update.at),
            "updated_at": iso(update.at),
            "display_at": iso(update.at),
            "affected_components": [],
        }
        for place, update in enumerate(course)
    ]


def component_status(row: Node) -> str:
    """Statuspage's word for the state of a node; the last known one where it is unknown."""
    if row.override is not Override.use:
        return "under_maintenance"
    state = row.last_known if row.state is State.unknown else row.state
    if row.ejection is not None and state is State.up:
        return "partial_outage"
    return _STATUS[state]


def link(row: IncidentRow, config: DashboardConfig) -> str:
    """The address at which a reader finds an incident."""
    return f"{config.public_url.rstrip('/')}/incidents/{row.id}"


def link_to_plan(row: MaintenanceRow, config: DashboardConfig) -> str:
    """The address at which a reader finds a maintenance."""
    return f"{config.public_url.rstrip('/')}/maintenances/{row.id}"
