"""Queries on latency: what curves are made from, and first bytes one by one."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from typing import Any

import sqlalchemy
from sqlalchemy import func
from sqlmodel import Session, col, select

from monitor.health.latency import PHASES, STEPS, Curve, Sums, curve
from monitor.health.uptime import DAY, FIVE_MINUTES, HOUR
from monitor.store.queries import SETTLED_AFTER
from monitor.store.tables import LATENCY_SUMS, STATE_SUMS, Rollup5mRow, RollupHourRow, SampleRow

_TABLES: tuple[tuple[Any, int, tuple[str, ...]], ...] = (
    (Rollup5mRow, FIVE_MINUTES, ("24h",)),
    (RollupHourRow, HOUR, ("7d", "30d")),
)


class Curves:
    """The curves of all mirrors; a look reads only what may have changed since the last one."""

    def __init__(self) -> None:
        self._known: dict[int, dict[str, dict[int, Sums]]] = {}
        self._read_at: dict[int, float] = {}

    def read(self, session: Session, now: float) -> dict[str, dict[str, Curve]]:
        """By mirror and by the names in STEPS."""
        found: dict[str, dict[str, Curve]] = defaultdict(dict)
        for table, size, names in _TABLES:
            oldest = int(now) - max(STEPS[name][0] for name in names) - size
            known = self._renewed(session, table, size, oldest, now)
            for mirror, buckets in known.items():
                for name in names:
                    found[mirror][name] = curve(name, now, buckets)
        return dict(found)

    def _renewed(
        self, session: Session, row: Any, size: int, oldest: int, now: float
    ) -> Mapping[str, dict[int, Sums]]:
        known = self._known.setdefault(size, defaultdict(dict))
        since = max(oldest, int(self._read_at.get(size, 0.0) - SETTLED_AFTER) - size)
        for mirror, start, probes, *sums in session.connection().execute(_sums(row, since)):
            numbers = tuple(map(int, sums))
            known[mirror][start] = Sums(int(probes), numbers[: len(PHASES)], numbers[len(PHASES) :])
        self._read_at[size] = now
        for mirror, buckets in list(known.items()):
            kept = {start: sums for start, sums in buckets.items() if start >= oldest}
            if kept:
                known[mirror] = kept
            else:
                del known[mirror]
        return known


def _sums(row: Any, since: int) -> Any:
    table = row.metadata.tables[str(row.__tablename__)]
    columns: list[Any] = [table.c.mirror, table.c.start]
    columns += (func.sum(table.c[name]) for name in (*LATENCY_SUMS, *STATE_SUMS))
    query = sqlalchemy.select(*columns).where(table.c.start >= since)
    return query.group_by(table.c.start, table.c.mirror)


def first_bytes(
    session: Session, mirror_id: str, vantage: str, before: float
) -> list[tuple[float, float]]:
    """When and after how many milliseconds the first byte came, in the 24 hours before."""
    query = (
        select(SampleRow.at_ms, SampleRow.first_byte_us)
        .where(
            SampleRow.mirror == mirror_id,
            SampleRow.vantage == vantage,
            SampleRow.at_ms >= round((before - DAY) * 1000),
            SampleRow.at_ms < round(before * 1000),
            col(SampleRow.first_byte_us).is_not(None),
        )
        .order_by(col(SampleRow.at_ms))
    )
    return [(at / 1000, (us or 0) / 1000) for at, us in session.exec(query)]
