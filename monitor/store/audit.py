"""The audit log in the database: each function is a part of one transaction."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime

from sqlalchemy import and_
from sqlmodel import Session, col, delete, select

from monitor.common.audit import AUTOMATIC, LONGEST_NAME, LONGEST_TEXT, Actor, cleaned
from monitor.store.tables import AuditRow

_CHUNK = 5_000
"""Entries deleted in one transaction, so that others never wait for long."""
_LARGEST_ID = 2**31 - 1
"""Of an INTEGER in PostgreSQL, which refuses to compare with more."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One change: who made it, from where, and when, in seconds since the epoch."""

    id: int
    at: float
    who: str
    origin: str
    what: str


def note(session: Session, by: Actor, what: str, now: float) -> None:
    """Note who did what, in the transaction of what is done; texts are bounded and cleaned."""
    who, origin = cleaned(by.who, LONGEST_NAME), cleaned(by.origin, LONGEST_NAME)
    session.add(AuditRow(at=now, who=who, origin=origin, what=cleaned(what, LONGEST_TEXT)))


def newest(session: Session, limit: int, before: int | None = None) -> list[Entry]:
    """So many entries, newest first; `before`: only older ones than the entry of this id."""
    columns = (AuditRow.id, AuditRow.at, AuditRow.who, AuditRow.origin, AuditRow.what)
    query = select(*map(col, columns)).order_by(col(AuditRow.id).desc()).limit(limit)
    if before is not None:
        query = query.where(col(AuditRow.id) < min(before, _LARGEST_ID))
    return [Entry(*row) for row in session.execute(query)]


def forget_automatic(session: Session, before: float) -> int:
    """Delete what was decided automatically before this moment, up to a chunk; how many entries.

    It names clients, and there may be as many as there were bans.
    """
    mine = and_(col(AuditRow.who) == AUTOMATIC.who, col(AuditRow.origin) == AUTOMATIC.origin)
    old = select(AuditRow.id).where(mine, col(AuditRow.at) < before).limit(_CHUNK)
    deleted = session.connection().execute(delete(AuditRow).where(col(AuditRow.id).in_(old)))
    return deleted.rowcount


def until(end: float | None) -> str:
    """The end of something, in words that follow what it is."""
    return "" if end is None else f" until {datetime.fromtimestamp(end, UTC):%Y-%m-%d %H:%M:%S} UTC"
