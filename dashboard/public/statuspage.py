"""Statuspage's interface, version 2, as its clients read it; built field by field."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

from dashboard.common.config import DashboardConfig
from dashboard.common.printable import printable
from dashboard.common.steps import Steps, in_steps
from dashboard.i18n.moments import iso
from dashboard.i18n.texts import Words
from dashboard.public.incidents import IncidentRow, moment, updates

PAGE_ID = "mirrorgate"


def page_document(config: DashboardConfig, updated_at: float) -> dict[str, Any]:
    """The beginning of every answer."""
    return {
        "id": PAGE_ID,
        "name": printable(config.title),
        "url": config.public_url,
        "time_zone": config.timezone,
        "updated_at": iso(updated_at),
    }


def incidents_document(
    rows: Sequence[IncidentRow], config: DashboardConfig, words: Words, now: float
) -> Steps[dict[str, Any]]:
    """`/api/v2/incidents.json`."""
    newest = max((row.updated_at for row in rows), default=now)
    told = yield from in_steps(partial(_incident, config=config, words=words), rows)
    return {"page": page_document(config, newest), "incidents": told}


def _incident(row: IncidentRow, config: DashboardConfig, words: Words) -> dict[str, Any]:
    course = updates(row, words)
    return {
        "id": row.id,
        "name": row.title(words),
        "status": course[0].status,
        "impact": row.impact,
        "created_at": iso(row.started_at),
        "started_at": iso(row.started_at),
        "updated_at": iso(row.updated_at),
        "monitoring_at": moment(row.resolved_at),
        "resolved_at": moment(row.resolved_at),
        "shortlink": link(row, config),
        "page_id": PAGE_ID,
        "components": [],
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


def link(row: IncidentRow, config: DashboardConfig) -> str:
    """The address at which a reader finds an incident."""
    return f"{config.public_url.rstrip('/')}/history#{row.id}"
