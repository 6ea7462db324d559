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
from dashboard.i18n.moments import iso
from dashboard.i18n.texts import Words
from dashboard.public.incidents import (
    IncidentRow,
    Update,
    in_either,
    moment,
    said,
    status,
    updates,
)
from dashboard.public.rows import Kind, Node, Overview
from monitor.common.languages import Text
from monitor.health.announcements import Announced, Maintenance
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
    announced: Announced

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
            "status": status(row, self.words),
            "impact": row.impact,
            "created_at": iso(row.started_at),
            "started_at": iso(row.started_at),
            "updated_at": iso(row.updated_at),
            "monitoring_at": moment(row.resolved_at),
            "resolved_at": moment(row.resolved_at),
            "shortlink": link(row, self.config),
            "page_id": PAGE_ID,
            "components": list(map(self.component, concerned)),
            "incident_updates": _told(row.id, course),
        }

    def maintenances(self, *wanted: str) -> list[dict[str, Any]]:
        """The planned maintenances of these statuses (none: all but those called off), and nodes
        that an operator has taken out of use without a plan."""
        shown = wanted or SHOWN
        planned = [each for each in self.announced.maintenances if each.status(self.now) in shown]
        of_plans = {id for each in planned for id in each.mirrors}
        unplanned = [
            Maintenance(
                f"{row.id}-{int(row.since or self.now)}",
                _of_node(row),
                (row.id,),
                row.since or self.now,
                math.inf if row.wish_until is None else row.wish_until,
                row.since or self.now,
                row.since or self.now,
            )
            for row in self.nodes
            if row.wish is Override.maintenance and row.id not in of_plans
        ]
        now = unplanned if "in_progress" in shown else []
        return [self._maintenance(each) for each in (*now, *planned[:NEWEST])]

    def _maintenance(self, plan: Maintenance) -> dict[str, Any]:
        state, title = plan.status(self.now), in_either(plan.title, self.words)
        messages = self.announced.updates.get(plan.id, ())
        course = said(messages, self.words)
        course.append(Update(plan.created_at, "scheduled", title))
        ended = min(plan.ends_at, plan.ended_at or plan.ends_at) if state == "completed" else None
        return {
            "id": plan.id,
            "name": title,
            "status": state,
            "impact": "maintenance",
            "created_at": iso(plan.created_at),
            "started_at": iso(plan.starts_at),
            "updated_at": iso(max((plan.updated_at, *(update.at for update in course)))),
            "monitoring_at": None,
            "resolved_at": moment(ended),
            "shortlink": f"{self.config.public_url.rstrip('/')}/",
            "page_id": PAGE_ID,
            "components": [self.component(row) for row in self.nodes if row.id in plan.mirrors],
            "incident_updates": _told(plan.id, course),
            "scheduled_for": iso(plan.starts_at),
            "scheduled_until": None if math.isinf(plan.ends_at) else iso(plan.ends_at),
        }


def _of_node(row: Node) -> Text:
    """The title of a maintenance that has none."""
    return Text(*(f"{row.name}: {Words(code)('state.maintenance')}" for code in ("zh", "en")))


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
    if row.wish is not Override.use:
        return "under_maintenance"
    state = row.last_known if row.state is State.unknown else row.state
    if row.ejection is not None and state is State.up:
        return "partial_outage"
    return _STATUS[state]


def link(row: IncidentRow, config: DashboardConfig) -> str:
    """The address at which a reader finds an incident."""
    return f"{config.public_url.rstrip('/')}/history#{row.id}"
