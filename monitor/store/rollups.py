"""One batch of history, as rows: raw samples and what they add to the roll-ups go together.

All of it is written in the transaction of the caller, or nothing. It is the same SQL for SQLite
and PostgreSQL but for the dialect's own `INSERT … ON CONFLICT`.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import Any

from sqlalchemy import Connection, delete, insert
from sqlalchemy.dialects import postgresql, sqlite
from sqlmodel import Session, SQLModel, col

from monitor.health.incidents import Incident
from monitor.health.latency import PHASES
from monitor.health.uptime import FIVE_MINUTES, HOUR, Credit
from monitor.store.records import Sample, Transition, View
from monitor.store.tables import (
    LATENCY_SUMS,
    STATE_SUMS,
    IncidentMirrorRow,
    IncidentRow,
    Rollup5mRow,
    RollupHourRow,
    SampleRow,
    TransitionRow,
    ViewRow,
)

Item = Sample | Transition | Credit | Incident | View
"""What history is made of."""

_SUMS = (
    *STATE_SUMS,
    *("samples", "failures"),
    *LATENCY_SUMS,
)
_BUCKETS: tuple[tuple[type[SQLModel], int], ...] = (
    (Rollup5mRow, FIVE_MINUTES),
    (RollupHourRow, HOUR),
)


def write(connection: Connection, items: Sequence[Item], batch: int) -> None:
    """Write a batch, which has this number among those of its vantage."""
    samples = [item for item in items if isinstance(item, Sample)]
    credits = [item for item in items if isinstance(item, Credit)]
    changes = [_transition(item) for item in items if isinstance(item, Transition)]
    incidents = {item.id: item for item in items if isinstance(item, Incident)}
    if samples:
        add_up(connection, SampleRow, [_sample(sample) for sample in samples])
    if changes:
        connection.execute(insert(TransitionRow), changes)
    for table, size in _BUCKETS:
        if rows := _rollup(samples, credits, size):
            add_up(connection, table, rows, _SUMS)
    for incident in incidents.values():  # the newest form of each
        _write_incident(connection, incident)
    if views := {item.mirror_id: item for item in items if isinstance(item, View)}:
        _replace(connection, ViewRow, [_view(view, batch) for view in views.values()])


def forget_views(session: Session, vantage: str) -> None:
    """Delete the views of a vantage, which has just started and tells them anew."""
    session.exec(delete(ViewRow).where(col(ViewRow.vantage) == vantage))


def _rollup(
    samples: Iterable[Sample], credits: Iterable[Credit], size: int
) -> list[dict[str, Any]]:
    """Add these to the buckets of `size` seconds."""
    sums: dict[tuple[int, str, str], dict[str, int]] = defaultdict(lambda: dict.fromkeys(_SUMS, 0))
    for sample in samples:
        row = sums[int(sample.at) // size * size, sample.mirror_id, sample.vantage]
        row["samples"] += 1
        row["failures"] += not sample.ok
        if sample.ok and sample.latency.first_byte is not None:
            row["answers"] += 1
            for phase in PHASES:
                row[f"{phase}_us"] += _microseconds(getattr(sample.latency, phase)) or 0
    for credit in credits:
        for start, milliseconds in credit.by_bucket(size):
            sums[start, credit.mirror_id, credit.vantage][f"{credit.state}_ms"] += milliseconds
    return [
        {"start": start, "mirror": plain_text(mirror), "vantage": plain_text(place), **row}
        for (start, mirror, place), row in sorted(sums.items())
    ]


def _write_incident(connection: Connection, incident: Incident) -> None:
    head = {
        "id": incident.id,
        "vantage": plain_text(incident.vantage),
        "verdict": plain_text(incident.verdict),
        "cdn": plain_text(incident.cdn),
        "impact": incident.impact,
        "started_at": incident.started_at,
        "resolved_at": incident.resolved_at,
        "updated_at": incident.updated_at,
    }
    parts = [
        {
            "incident": incident.id,
            "mirror": part.mirror,
            "verdict": plain_text(part.verdict),
            "since": part.since,
            "until": part.until,
            "times": part.times,
            "fell_at": part.fell_at,
            "down_ms": None if part.down is None else round(part.down * 1000),
        }
        for part in incident.parts
    ]
    _replace(connection, IncidentRow, [head])
    if parts:
        _replace(connection, IncidentMirrorRow, parts)


def add_up(
    connection: Connection,
    table: type[SQLModel],
    rows: list[dict[str, Any]],
    sums: Iterable[str] = (),
) -> None:
    """Insert rows; one that is there is left alone but for `sums`, which are added up."""
    statement, model = (
        insert_into(connection, table),
        table.metadata.tables[str(table.__tablename__)],
    )
    if sums := tuple(sums):
        added = {name: model.c[name] + statement.excluded[name] for name in sums}
        statement = statement.on_conflict_do_update(
            index_elements=list(model.primary_key), set_=added
        )
    else:
        statement = statement.on_conflict_do_nothing()
    connection.execute(statement, rows)


def _replace(connection: Connection, table: type[SQLModel], rows: list[dict[str, Any]]) -> None:
    """Insert rows; one that is there is overwritten."""
    statement, model = (
        insert_into(connection, table),
        table.metadata.tables[str(table.__tablename__)],
    )
    taken = {c.name: statement.excluded[c.name] for c in model.c if not c.primary_key}
    connection.execute(
        statement.on_conflict_do_update(index_elements=list(model.primary_key), set_=taken), rows
    )


def insert_into(connection: Connection, table: type[SQLModel]) -> sqlite.Insert | postgresql.Insert:
    """The dialect's own insertion, which can say what to do with a row that is there."""
    if connection.dialect.name == "postgresql":
        return postgresql.insert(table)
    return sqlite.insert(table)


def _sample(sample: Sample) -> dict[str, Any]:
    latency = sample.latency
    return {
        "mirror": sample.mirror_id,
        "vantage": plain_text(sample.vantage),
        "at_ms": round(sample.at * 1000),
        "ok": sample.ok,
        "state": sample.state.value,
        "verdict": plain_text(sample.verdict),
        "resolve_us": _microseconds(latency.resolve),
        "connect_us": _microseconds(latency.connect),
        "tls_us": _microseconds(latency.tls),
        "first_byte_us": _microseconds(latency.first_byte),
    }


def _transition(transition: Transition) -> dict[str, Any]:
    return {
        "mirror": transition.mirror_id,
        "at": transition.at,
        "vantage": plain_text(transition.vantage),
        "state": transition.state.value,
        "verdict": plain_text(transition.verdict),
        "detail": plain_text(transition.detail.to_text() if transition.detail else ""),
    }


def _view(view: View, batch: int) -> dict[str, Any]:
    return {
        "vantage": plain_text(view.vantage),
        "mirror": view.mirror_id,
        "text": plain_text(view.text),
        "batch": batch,
        "at": view.at,
    }


def _microseconds(milliseconds: float | None) -> int | None:
    """Up to what the column holds: half an hour."""
    return None if milliseconds is None else min(round(milliseconds * 1000), 2**31 - 1)


def plain_text(words: str) -> str:
    """Text that every database takes: no NUL, no half of a surrogate pair."""
    return words.replace("\0", "").encode("utf-8", "replace").decode("utf-8")
