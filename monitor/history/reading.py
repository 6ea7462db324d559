"""Questions to history. Every function is one, asked in a session of the caller."""

from __future__ import annotations

from collections import defaultdict

from sqlalchemy import func
from sqlmodel import Session, col, select

from monitor.health.board import State
from monitor.history.incidents import Incident, Part
from monitor.history.records import Transition
from monitor.history.tables import (
    IncidentMirrorRow,
    IncidentRow,
    SampleRow,
    TransitionRow,
)


def transitions(session: Session, mirror_id: str | None, limit: int) -> list[Transition]:
    """The newest changes of state, newest first, of one mirror or of all."""
    query = select(TransitionRow).order_by(col(TransitionRow.id).desc()).limit(limit)
    if mirror_id is not None:
        query = query.where(TransitionRow.mirror == mirror_id)
    return [_transition(row) for row in session.exec(query)]


def last_states(session: Session, vantage: str) -> dict[str, Transition]:
    """The newest change of state of each mirror, as seen from one vantage."""
    newest = (
        select(func.max(TransitionRow.id))
        .where(TransitionRow.vantage == vantage)
        .group_by(TransitionRow.mirror)
    )
    query = select(TransitionRow).where(col(TransitionRow.id).in_(newest))
    return {row.mirror: _transition(row) for row in session.exec(query)}


def last_sample(session: Session, mirror_id: str, vantage: str) -> float | None:
    """When a mirror was probed last: one look at the key."""
    query = select(func.max(SampleRow.at_ms)).where(
        SampleRow.mirror == mirror_id, SampleRow.vantage == vantage
    )
    at_ms = session.exec(query).one()
    return None if at_ms is None else at_ms / 1000


def incidents(session: Session, vantage: str, limit: int) -> list[Incident]:
    """The newest incidents, newest first."""
    query = select(IncidentRow).where(IncidentRow.vantage == vantage)
    query = query.order_by(col(IncidentRow.started_at).desc(), IncidentRow.id).limit(limit)
    heads = list(session.exec(query))
    parts: dict[str, list[Part]] = defaultdict(list)
    mine = select(IncidentMirrorRow).where(col(IncidentMirrorRow.incident).in_(h.id for h in heads))
    for row in session.exec(mine.order_by(col(IncidentMirrorRow.since), IncidentMirrorRow.mirror)):
        parts[row.incident].append(Part(row.mirror, row.verdict, row.since, row.until, row.times))
    return [Incident(**head.model_dump(), parts=tuple(parts[head.id])) for head in heads]


def _transition(row: TransitionRow) -> Transition:
    return Transition(row.mirror, row.at, State(row.state), row.verdict, row.detail, row.vantage)
