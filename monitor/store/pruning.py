"""Forgetting: what is older than it should be kept goes, in small transactions."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from sqlalchemy import CursorResult, Table, delete, func, tuple_
from sqlmodel import Session, SQLModel, col, select

from monitor.common.config import MonitorRetention
from monitor.store.tables import (
    AuditRow,
    IncidentEditRow,
    IncidentMirrorRow,
    IncidentRow,
    IncidentUpdateRow,
    ManualIncidentRow,
    Rollup5mRow,
    RollupHourRow,
    SampleRow,
    TransitionRow,
    ViewRow,
)

CHUNK = 5_000
"""Rows deleted in one transaction, so that others never wait for long."""
PAGES_GIVEN_BACK = 1_000
"""Free pages returned to the file system after a pruning."""

Step = Callable[[Session], int]
"""Deletes up to a chunk; how many rows that were."""


@dataclass(frozen=True, slots=True)
class Limits:
    """Everything before these moments goes; seconds since the epoch."""

    samples: float
    rollups: float
    hours: float
    audit: float

    @classmethod
    def of(cls, now: float, retention: MonitorRetention) -> Limits:
        """As the settings say."""
        return cls(
            samples=now - retention.samples,
            rollups=now - retention.rollups,
            hours=now - retention.hours,
            audit=now - retention.audit,
        )


def steps(limits: Limits) -> Iterator[Step]:
    """Each is to be taken again until there is nothing left to delete for it."""
    yield lambda session: _delete_samples(session, limits.samples)
    yield lambda session: _delete_older(session, Rollup5mRow, "start", limits.rollups)
    yield lambda session: _delete_older(session, RollupHourRow, "start", limits.hours)
    yield lambda session: _delete_older(session, TransitionRow, "at", limits.hours)
    yield lambda session: _delete_incidents(session, IncidentRow, limits.hours)
    yield lambda session: _delete_incidents(session, ManualIncidentRow, limits.hours)
    yield lambda session: _delete_older(session, AuditRow, "at", limits.audit)
    yield lambda session: _delete_older(session, ViewRow, "at", limits.samples)


def give_pages_back(session: Session) -> None:
    """Return free pages of an SQLite file.

    A plain `execute` takes one step of this statement, which frees one page; a script all.
    """
    if session.connection().dialect.name == "sqlite":
        connection = session.connection().connection.driver_connection
        if connection is not None:
            connection.executescript(f"PRAGMA incremental_vacuum({PAGES_GIVEN_BACK})")


def _delete_samples(session: Session, before: float) -> int:
    """The key begins with the mirror, so every mirror's old rows are a range of their own."""
    key = (col(SampleRow.mirror), col(SampleRow.vantage), col(SampleRow.at_ms))
    for mirror, vantage in _series(session):
        mine = (col(SampleRow.mirror) == mirror, col(SampleRow.vantage) == vantage)
        old = select(*key).where(*mine, col(SampleRow.at_ms) < before * 1000).limit(CHUNK)
        if deleted := _rows(session, delete(SampleRow).where(tuple_(*key).in_(old))):
            return deleted
    return 0


def _series(session: Session) -> Iterator[tuple[str, str]]:
    """Every mirror and vantage with samples: one look at the key for each."""
    key = (col(SampleRow.mirror), col(SampleRow.vantage))
    query = select(*key).order_by(*key).limit(1)
    found = session.exec(query).first()
    while found is not None:
        yield found
        found = session.exec(query.where(tuple_(*key) > tuple_(*found))).first()


def _delete_older(session: Session, row: type[SQLModel], column: str, before: float) -> int:
    table: Table = row.metadata.tables[str(row.__tablename__)]
    key = tuple(table.primary_key)
    old = select(*key).where(table.c[column] < before).limit(CHUNK)
    return _rows(session, delete(table).where(tuple_(*key).in_(old)))


def _delete_incidents(
    session: Session, row: type[IncidentRow | ManualIncidentRow], before: float
) -> int:
    """Those that are over; with their parts, and what operators said of them."""
    over = func.coalesce(row.resolved_at, before) < before
    old = session.exec(select(row.id).where(over).limit(CHUNK)).all()
    if old:
        _rows(session, delete(IncidentMirrorRow).where(col(IncidentMirrorRow.incident).in_(old)))
        _rows(session, delete(IncidentEditRow).where(col(IncidentEditRow.incident).in_(old)))
        _rows(session, delete(IncidentUpdateRow).where(col(IncidentUpdateRow.about).in_(old)))
        _rows(session, delete(row).where(col(row.id).in_(old)))
    return len(old)


def _rows(session: Session, statement: Any) -> int:
    result: CursorResult[Any] = session.connection().execute(statement)
    return result.rowcount
