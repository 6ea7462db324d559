"""Queries on history: transitions, incidents, and sums of time by window and day."""

from __future__ import annotations

import operator
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from functools import reduce
from itertools import pairwise
from typing import Any
from zoneinfo import ZoneInfo

import sqlalchemy
from sqlalchemy import ColumnElement, Select, Table, case, func, or_
from sqlmodel import Session, SQLModel, col, select

from monitor.diagnosis.evidence import Evidence
from monitor.health.incidents import Incident, Part
from monitor.health.past import Day
from monitor.health.snapshot import State
from monitor.health.uptime import (
    FIVE_MINUTES,
    HOUR,
    KNOWN_STATES,
    WINDOWS,
    Known,
    begin_of_window,
    day_starts,
    enough,
    of_bucket,
    total,
)
from monitor.store.lease import LEADER
from monitor.store.records import InstanceViews, Transition
from monitor.store.tables import (
    IncidentMirrorRow,
    IncidentRow,
    LeaseRow,
    Rollup5mRow,
    RollupHourRow,
    SampleRow,
    TransitionRow,
    ViewRow,
)

MOST_INSTANCES = 64
"""Instances whose views are read: those that have written last."""


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
    """The time of the last probe of a mirror: one look at the key."""
    query = select(func.max(SampleRow.at_ms)).where(
        SampleRow.mirror == mirror_id, SampleRow.vantage == vantage
    )
    at_ms = session.exec(query).one()
    return None if at_ms is None else at_ms / 1000


def views(session: Session, vantage: str, known: Mapping[str, int]) -> list[InstanceViews]:
    """The instances beside this vantage's, with the views that are newer than the batch `known`.

    Those that have been stopped are left out.
    """
    runs = (col(LeaseRow.holder) != "", col(LeaseRow.vantage).not_in((vantage, LEADER)))
    newest = col(LeaseRow.renewed_at).desc()
    query = select(LeaseRow).where(*runs).order_by(newest).limit(MOST_INSTANCES)
    found = {
        row.vantage: InstanceViews(row.vantage, row.holder, row.beat) for row in session.exec(query)
    }
    fresh = [
        (col(ViewRow.vantage) == name) & (col(ViewRow.batch) > known.get(name, -1))
        for name in found
    ]
    if fresh:
        for row in session.exec(select(ViewRow).where(or_(*fresh))):
            of = found[row.vantage]
            of.texts[row.mirror] = row.text
            of.batch = max(of.batch, row.batch)
    return list(found.values())


def own_views(session: Session, vantage: str) -> dict[str, str]:
    """The views that this vantage has written itself, by mirror."""
    rows = session.exec(select(ViewRow).where(ViewRow.vantage == vantage))
    return {row.mirror: row.text for row in rows}


def incidents(session: Session, vantage: str, limit: int) -> list[Incident]:
    """The newest incidents, newest first."""
    query = select(IncidentRow).where(IncidentRow.vantage == vantage)
    query = query.order_by(col(IncidentRow.started_at).desc(), IncidentRow.id).limit(limit)
    heads = list(session.exec(query))
    parts: dict[str, list[Part]] = defaultdict(list)
    mine = select(IncidentMirrorRow).where(col(IncidentMirrorRow.incident).in_(h.id for h in heads))
    for row in session.exec(mine.order_by(col(IncidentMirrorRow.since), IncidentMirrorRow.mirror)):
        down = None if row.down_ms is None else row.down_ms / 1000
        part = Part(row.mirror, row.verdict, row.since, row.until, row.times, row.fell_at, down)
        parts[row.incident].append(part)
    return [Incident(**head.model_dump(), parts=tuple(parts[head.id])) for head in heads]


def _transition(row: TransitionRow) -> Transition:
    detail = Evidence.from_text(row.detail)
    return Transition(row.mirror, row.at, State(row.state), row.verdict, detail, row.vantage)


Sums = dict[str, list[Known]]
"""By mirror, what is known in each of several stretches."""
Stretch = tuple[int, int, int]
"""The size of its buckets, its begin and its end."""

SETTLED_AFTER = 3600.0
"""Seconds after which nothing is added to a stretch any more: writers book over half an hour."""

_TIMES = tuple(f"{state}_ms" for state in KNOWN_STATES)


class Settled:
    """Sums of stretches that are long over, from the last look for the next one."""

    def __init__(self) -> None:
        self._former: dict[Stretch, dict[str, Known]] = {}
        self._kept: dict[Stretch, dict[str, Known]] = {}

    def turn(self) -> None:
        """A new look begins; what it does not need is forgotten."""
        self._former, self._kept = self._kept, {}

    def of(
        self, stretch: Stretch, now: float, ask: Callable[[], dict[str, Known]]
    ) -> dict[str, Known]:
        """The sums of a stretch, asked for only if they may have changed."""
        found = self._kept.get(stretch) or self._former.get(stretch)
        if found is None or now - stretch[2] < SETTLED_AFTER:
            found = ask()
        self._kept[stretch] = found
        return found


def sums(
    session: Session,
    size: int,
    cuts: Sequence[int],
    now: float,
    settled: Settled | None = None,
) -> Sums:
    """Return the known time of every mirror between each two neighbours of `cuts`, up to `now`.

    Cuts and buckets begin on multiples of `size`. What several vantages saw is added up; the
    calendar is covered where one of them saw.
    """
    settled = settled or Settled()
    stretches = list(pairwise(cuts))
    lengths = [Known(total=round(1000 * (min(b, now) - a))) for a, b in stretches]
    found: Sums = defaultdict(lambda: list(lengths))
    current = int(now) // size * size
    for place, (a, b) in enumerate(stretches):
        stretch = (size, a, min(b, current))
        known = settled.of(stretch, now, lambda it=stretch: _whole(session, *it))  # type: ignore[misc]
        for mirror, part in known.items():
            found[mirror][place] += part
        if a <= current < b:
            for mirror, part in _current(session, size, current, now).items():
                found[mirror][place] += part
    return dict(found)


def _whole(session: Session, size: int, a: int, b: int) -> dict[str, Known]:
    """Sums of the buckets in a stretch that is over, each row read once.

    Coverage of several vantages takes a second reading, in which their buckets are put together.
    """
    table = _table(size)
    places = (func.min(table.c.vantage), func.max(table.c.vantage))
    query = _sums_by_mirror(table, size, *places)
    rows = list(_run(session, query.where(table.c.start >= a, table.c.start < b)))
    if any(first != last for *_, first, last in rows):
        bucket = _per_bucket(size, a, b).subquery()
        rows = [(*row, "", "") for row in _run(session, _sums_by_mirror(bucket, size))]
    return {mirror: Known(*map(int, known)) for mirror, *known, _, _ in rows}


def _current(session: Session, size: int, current: int, now: float) -> dict[str, Known]:
    """The bucket that is not over; its length is counted with the stretch."""
    length = round(1000 * (now - current))
    return {
        mirror: replace(of_bucket([int(time) for time in times], length), total=0)
        for _, mirror, *times in _run(session, _per_bucket(size, current, current + size))
    }


def _sums_by_mirror(table: Any, size: int, *more: ColumnElement[Any]) -> Select[Any]:
    known = reduce(operator.add, (table.c[name] for name in _TIMES))
    covered = case((known >= enough(size * 1000), size * 1000), else_=known)
    columns: list[Any] = [table.c.mirror, *(func.sum(table.c[name]) for name in _TIMES)]
    columns += (func.sum(covered), *more)
    query: Select[Any] = sqlalchemy.select(*columns).group_by(table.c.mirror)
    return query


def _per_bucket(size: int, a: int, b: int) -> Select[Any]:
    """Every bucket of every mirror, all vantages together."""
    table = _table(size)
    columns: list[Any] = [table.c.start, table.c.mirror]
    columns += (func.sum(table.c[name]).label(name) for name in _TIMES)
    query: Select[Any] = sqlalchemy.select(*columns).where(table.c.start >= a, table.c.start < b)
    return query.group_by(table.c.start, table.c.mirror)


def _run(session: Session, query: Select[Any]) -> Iterable[Any]:
    return session.connection().execute(query)


def _table(size: int) -> Table:
    row: type[SQLModel] = {FIVE_MINUTES: Rollup5mRow, HOUR: RollupHourRow}[size]
    return row.metadata.tables[str(row.__tablename__)]


DAYS = 90


def read_windows(
    session: Session, now: float, settled: Settled | None = None
) -> dict[str, dict[str, Known]]:
    """The windows of all mirrors, which end now. Reads each row of the longest one once."""
    names = sorted((name for name in WINDOWS if name != "24h"), key=lambda n: -WINDOWS[n])
    cuts = [*(begin_of_window(name, now) for name in names), _after(now, HOUR)]
    hours = sums(session, HOUR, cuts, now, settled)
    day_cuts = [begin_of_window("24h", now), _after(now, FIVE_MINUTES)]
    day = sums(session, FIVE_MINUTES, day_cuts, now, settled)
    found: dict[str, dict[str, Known]] = {}
    for mirror in hours.keys() | day.keys():
        parts = hours.get(mirror, [Known()] * len(names))
        longer = {name: total(parts[place:]) for place, name in enumerate(names)}
        found[mirror] = {"24h": day.get(mirror, [Known()])[0], **longer}
    return found


def read_days(
    session: Session, now: float, zone: str, settled: Settled | None = None
) -> tuple[str, dict[str, list[Day]]]:
    """The last days of all mirrors, and the zone that they are days of."""
    zone, starts = day_starts(now, zone, DAYS)
    there = ZoneInfo(zone)
    dates = [
        datetime.fromtimestamp(start, there).date().isoformat() for start, _ in pairwise(starts)
    ]
    found = sums(session, HOUR, starts, now, settled)
    days = {m: [Day(*day) for day in zip(dates, known, strict=True)] for m, known in found.items()}
    return zone, days


def _after(now: float, size: int) -> int:
    """The end of the bucket that we are in."""
    return (int(now) // size + 1) * size


States = dict[str, Transition]
"""By mirror."""

LONGEST_GAP = 300.0
"""Seconds without samples after which nobody can say what a mirror was in between."""


def states_before(session: Session, now: float, vantage: str) -> tuple[States, list[Transition]]:
    """The last state of each mirror, and the changes to unknown that nobody recorded.

    A mirror that a long gap followed is unknown as of its last sample, so that the gap counts
    neither as up nor as down.
    """
    states = last_states(session, vantage)
    lost = []
    for mirror_id, last in states.items():
        seen = max(last_sample(session, mirror_id, vantage) or last.at, last.at)
        if now - seen > LONGEST_GAP and last.state is not State.unknown:
            lost.append(Transition(mirror_id, seen, State.unknown, vantage=vantage))
    return states | {change.mirror_id: change for change in lost}, lost
