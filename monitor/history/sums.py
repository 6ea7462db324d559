"""How much time of all mirrors was spent how, between moments. Read from the roll-ups."""

from __future__ import annotations

import operator
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from functools import reduce
from itertools import pairwise
from typing import Any

import sqlalchemy
from sqlalchemy import ColumnElement, Select, Table, case, func
from sqlmodel import Session, SQLModel

from monitor.history.tables import Rollup5mRow, RollupHourRow
from monitor.history.uptime import FIVE_MINUTES, HOUR, KNOWN_STATES, Known, enough, of_bucket

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
    """What is known of every mirror between each two neighbours of `cuts`, up to `now`.

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
