"""Questions to history. Every function is one, asked in a session of the caller."""

from __future__ import annotations

import operator
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import replace
from functools import reduce
from itertools import pairwise
from typing import Any

import sqlalchemy
from sqlalchemy import Select, Table, case, func
from sqlmodel import Session, SQLModel, col, select

from monitor.health.board import State
from monitor.history.incidents import Incident, Part
from monitor.history.records import Transition
from monitor.history.tables import (
    IncidentMirrorRow,
    IncidentRow,
    Rollup5mRow,
    RollupHourRow,
    SampleRow,
    TransitionRow,
)
from monitor.history.uptime import FIVE_MINUTES, HOUR, KNOWN_STATES, Known, enough, of_bucket

Sums = dict[str, list[Known]]
"""By mirror, what is known in each of several stretches."""

_TIMES = tuple(f"{state}_ms" for state in KNOWN_STATES)


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


def sums(session: Session, size: int, cuts: Sequence[int], now: float) -> Sums:
    """What is known of every mirror between each two neighbours of `cuts`, up to `now`.

    Cuts and buckets begin on multiples of `size`. What several vantages saw is added up; the
    calendar is covered where one of them saw. Reads every row of the time once.
    """
    stretches = list(pairwise(cuts))
    lengths = [Known(total=round(1000 * (min(b, now) - a))) for a, b in stretches]
    found: Sums = defaultdict(lambda: list(lengths))
    current = int(now) // size * size
    for place, (a, b) in enumerate(stretches):
        for mirror, *known in _whole_buckets(session, size, a, min(b, current)):
            found[mirror][place] += Known(*map(int, known))
        if a <= current < b:
            for _, mirror, *times in _buckets(session, size, current, current + size):
                bucket = of_bucket([int(time) for time in times], round(1000 * (now - current)))
                found[mirror][place] += replace(bucket, total=0)
    return dict(found)


def _whole_buckets(session: Session, size: int, a: int, b: int) -> Iterable[Any]:
    """Sums, and the time covered, of the buckets in a stretch that is over, by mirror."""
    bucket = _per_bucket(size, a, b).subquery()
    known = reduce(operator.add, (bucket.c[name] for name in _TIMES))
    covered = case((known >= enough(size * 1000), size * 1000), else_=known)
    columns: list[Any] = [bucket.c.mirror, *(func.sum(bucket.c[name]) for name in _TIMES)]
    query: Select[Any] = sqlalchemy.select(*columns, func.sum(covered)).group_by(bucket.c.mirror)
    return session.connection().execute(query)


def _buckets(session: Session, size: int, a: int, b: int) -> Iterable[Any]:
    """The buckets in a stretch, one by one."""
    return session.connection().execute(_per_bucket(size, a, b))


def _per_bucket(size: int, a: int, b: int) -> Select[Any]:
    """Every bucket of every mirror, all vantages together: a range of the key."""
    table = _table(size)
    columns: list[Any] = [table.c.start, table.c.mirror]
    columns += (func.sum(table.c[name]).label(name) for name in _TIMES)
    query: Select[Any] = sqlalchemy.select(*columns).where(table.c.start >= a, table.c.start < b)
    return query.group_by(table.c.start, table.c.mirror)


def _table(size: int) -> Table:
    row: type[SQLModel] = {FIVE_MINUTES: Rollup5mRow, HOUR: RollupHourRow}[size]
    return row.metadata.tables[str(row.__tablename__)]


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
