"""Statuspage's interface, version 2, as its clients read it; built field by field. Pure.

It has no word for what is not known: a node's last known state stands for it, and the component's
description says so.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from dashboard.common.config import DashboardConfig
from dashboard.common.printable import printable
from dashboard.common.steps import Steps, in_steps
from dashboard.i18n.moments import iso
from dashboard.i18n.texts import Words
from dashboard.public.incidents import IncidentRow, moment, updates
from dashboard.public.rows import Kind, Node, Overview
from monitor.health.snapshot import Override, State

PAGE_ID = "mirrorgate"
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
        return {"indicator": INDICATORS[self.overview.kind], "description": self.sentence}

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
            "status": course[0].status,
            "impact": row.impact,
            "created_at": iso(row.started_at),
            "started_at": iso(row.started_at),
            "updated_at": iso(row.updated_at),
            "monitoring_at": moment(row.resolved_at),
            "resolved_at": moment(row.resolved_at),
            "shortlink": link(row, self.config),
            "page_id": PAGE_ID,
            "components": list(map(self.component, concerned)),
            "incident_updates": [
                {
                    "id": f"{row.id}-{len(course) - place}",
                    "status": update.status,
                    "body": update.text,
                    "incident_id": row.id,
                    "created_at": iso(update.at),
                    "updated_at": iso(update.at),
                    "display_at": iso(update.at),
                    "affected_components": [],
                }
                for place, update in enumerate(course)
            ],
        }

    def maintenances(self) -> list[dict[str, Any]]:
        """The maintenances that go on: nodes that the operator has taken out of use."""
        return [self._maintenance(row) for row in self.nodes if row.wish is Override.maintenance]

    def _maintenance(self, row: Node) -> dict[str, Any]:
        began = iso(row.since or self.now)
        key = f"{row.id}-{began}"
        body = self.words("rotation.maintenance")
        update = {
            "id": f"{key}-1",
            "status": "in_progress",
            "body": body,
            "incident_id": key,
            "created_at": began,
            "updated_at": began,
            "display_at": began,
            "affected_components": [],
        }
        return {
            "id": key,
            "name": f"{row.name}: {self.words('state.maintenance')}",
            "status": "in_progress",
            "impact": "maintenance",
            "created_at": began,
            "started_at": began,
            "updated_at": began,
            "monitoring_at": None,
            "resolved_at": None,
            "shortlink": f"{self.config.public_url.rstrip('/')}/nodes/{row.id}",
            "page_id": PAGE_ID,
            "components": [self.component(row)],
            "incident_updates": [update],
            "scheduled_for": began,
            "scheduled_until": moment(row.wish_until),
        }


def component_status(row: Node) -> str:
    """Statuspage's word for the state of a node; the last known one where it is unknown."""
    if row.wish is not Override.use:
        return "under_maintenance"
    state = row.last_known if row.state is State.unknown else row.state
    if row.ejection is not None and state is State.up:
        return "partial_outage"
    return _STATUS[state]


def link(row: IncidentRow, config: DashboardConfig) -> str:
    """The address at which a reader finds an incident."""
    return f"{config.public_url.rstrip('/')}/history#{row.id}"
