"""Operators' words on incidents, planned maintenance, and the conditions that operators were told
of: each function is a part of one transaction."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping

from sqlmodel import Session, col, delete, select

from monitor.common.audit import Actor
from monitor.common.languages import Text
from monitor.health.announcements import (
    INCIDENT_STATUSES,
    Announced,
    IncidentEdit,
    Maintenance,
    ManualIncident,
    Update,
)
from monitor.store.audit import note, until
from monitor.store.tables import (
    IncidentEditRow,
    IncidentUpdateRow,
    MaintenanceRow,
    ManualIncidentRow,
    ToldRow,
)

MOST = 500
"""Incidents with words or opened by hand, and maintenances, that are read: the newest; pages show
no more."""
MOST_UPDATES = 2_000


class Unknown(Exception):
    """There is no maintenance of this id, which the message is."""


def announced(session: Session) -> Announced:
    """All that operators have announced, newest first."""
    edits = session.exec(
        select(IncidentEditRow).order_by(col(IncidentEditRow.at).desc()).limit(MOST)
    )
    newest = col(IncidentUpdateRow.id).desc()
    updates: dict[str, list[Update]] = defaultdict(list)
    for row in session.exec(select(IncidentUpdateRow).order_by(newest).limit(MOST_UPDATES)):
        said = Text(row.zh, row.en)
        updates[row.about].append(Update(row.id or 0, row.about, row.at, row.status, said))
    latest = col(MaintenanceRow.starts_at).desc()
    planned = session.exec(select(MaintenanceRow).order_by(latest, MaintenanceRow.id).limit(MOST))
    over = col(ManualIncidentRow.resolved_at).is_not(None)
    began = col(ManualIncidentRow.started_at).desc()
    opened = session.exec(
        select(ManualIncidentRow).order_by(over, began, ManualIncidentRow.id).limit(MOST)
    )
    manual = sorted(map(_manual, opened), key=lambda each: (-each.started_at, each.id))
    return Announced(
        {e.incident: IncidentEdit(e.incident, Text(e.zh, e.en), e.impact) for e in edits},
        {about: tuple(those) for about, those in updates.items()},
        tuple(map(_maintenance, planned)),
        tuple(manual),
    )


def open_incident(session: Session, opened: ManualIncident, text: Text, by: Actor) -> None:
    """Keep a new incident, and the first message about it, if there is one."""
    zh, en = opened.title
    session.add(
        ManualIncidentRow(
            id=opened.id,
            zh=zh,
            en=en,
            impact=opened.impact,
            mirrors=" ".join(opened.mirrors),
            started_at=opened.started_at,
            created_at=opened.created_at,
        )
    )
    of = f" of {' '.join(opened.mirrors)}" if opened.mirrors else ""
    what = f"open incident {opened.id}{of}, impact {opened.impact}: {en or zh}"
    note(session, by, what, opened.created_at)
    if any(text):
        session.flush()
        update(session, opened.id, INCIDENT_STATUSES[0], text, by, opened.created_at)


def edit(session: Session, change: IncidentEdit, by: Actor, now: float) -> None:
    """Say something else of an incident than the monitor does."""
    zh, en = change.title
    row = IncidentEditRow(incident=change.incident, zh=zh, en=en, impact=change.impact, at=now)
    session.merge(row)
    impact = f", impact {change.impact}" if change.impact else ""
    note(session, by, f"edit incident {change.incident}{impact}: {en or zh or '(no title)'}", now)


def update(session: Session, about: str, status: str, text: Text, by: Actor, now: float) -> None:
    """Add a message about an incident or a maintenance; it ends or reopens one opened by hand."""
    opened = session.get(ManualIncidentRow, about, with_for_update=True)
    if opened is not None:
        over = opened.resolved_at or now
        opened.resolved_at = over if status == INCIDENT_STATUSES[-1] else None
        session.add(opened)
    session.add(IncidentUpdateRow(about=about, at=now, status=status, zh=text.zh, en=text.en))
    note(session, by, f"update {about} ({status}): {text.en or text.zh}", now)


def plan(session: Session, planned: Maintenance, by: Actor) -> None:
    """Keep a new maintenance."""
    session.add(
        MaintenanceRow(
            id=planned.id,
            zh=planned.title.zh,
            en=planned.title.en,
            mirrors=" ".join(planned.mirrors),
            starts_at=planned.starts_at,
            ends_at=planned.ends_at,
            created_at=planned.created_at,
            updated_at=planned.updated_at,
        )
    )
    start = until(planned.starts_at).replace("until", "from")
    what = f"plan maintenance {planned.id} of {' '.join(planned.mirrors)}{start}"
    note(session, by, f"{what}{until(planned.ends_at)}", planned.created_at)


def begin(session: Session, maintenance: str, now: float) -> bool:
    """Note that a maintenance has begun; False if another instance was faster, or it is over."""
    row = session.get(MaintenanceRow, maintenance, with_for_update=True)
    if row is None or row.began_at is not None or row.ended_at is not None:
        return False
    row.began_at = now
    session.add(row)
    return True


def end(session: Session, maintenance: str, by: Actor, now: float) -> Maintenance:
    """Call a maintenance off, or end it before its time. Raises Unknown."""
    row = session.get(MaintenanceRow, maintenance, with_for_update=True)
    if row is None:
        raise Unknown(maintenance)
    if row.ended_at is None and now < row.ends_at:
        row.ended_at = row.updated_at = now
        session.add(row)
        note(session, by, f"end maintenance {maintenance}", now)
    return _maintenance(row)


def _manual(row: ManualIncidentRow) -> ManualIncident:
    return ManualIncident(
        row.id,
        Text(row.zh, row.en),
        row.impact,
        tuple(row.mirrors.split()),
        row.started_at,
        row.created_at,
        row.resolved_at,
    )


def _maintenance(row: MaintenanceRow) -> Maintenance:
    return Maintenance(
        row.id,
        Text(row.zh, row.en),
        tuple(row.mirrors.split()),
        row.starts_at,
        row.ends_at,
        row.created_at,
        row.updated_at,
        row.began_at,
        row.ended_at,
    )


def told(session: Session, vantage: str) -> dict[tuple[str, str], str]:
    """Levels of the conditions that operators were told of, by kind and subject."""
    rows = session.exec(select(ToldRow).where(col(ToldRow.vantage) == vantage))
    return {(row.kind, row.subject): row.level for row in rows}


def keep_told(
    session: Session, vantage: str, levels: Mapping[tuple[str, str], str], now: float
) -> None:
    """Keep these levels in place of all before."""
    session.exec(delete(ToldRow).where(col(ToldRow.vantage) == vantage))
    for (kind, subject), level in levels.items():
        row = ToldRow(vantage=vantage, kind=kind, subject=subject, level=level, at=now)
        session.add(row)
