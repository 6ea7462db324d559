"""Uptime by window and by day, of all mirrors at once."""

from __future__ import annotations

from datetime import datetime
from itertools import pairwise
from zoneinfo import ZoneInfo

from sqlmodel import Session

from monitor.history.past import Day
from monitor.history.sums import Settled, sums
from monitor.history.uptime import (
    FIVE_MINUTES,
    HOUR,
    WINDOWS,
    Known,
    begin_of_window,
    day_starts,
    total,
)

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
