"""The arithmetic of uptime. Pure.

Time is weighed, not probes: a probe more while something is doubtful changes nothing. What is
known of a mirror is kept in milliseconds per bucket of the calendar; what is missing there is
unknown, and neither up nor down. Maintenance is known, but left out of both sides too:

    uptime   = (up + degraded) / (up + degraded + down)
    coverage = known / calendar

Both are shown rounded down, so that "100" means that nothing was missing.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, tzinfo
from zoneinfo import ZoneInfo

from monitor.health.board import State

HOUR = 3600
FIVE_MINUTES = 300
DAY = 86400

WINDOWS = {"24h": DAY, "7d": 7 * DAY, "30d": 30 * DAY, "90d": 90 * DAY}
"""The windows that uptime is told for, in seconds."""

KNOWN_STATES = (State.up, State.degraded, State.down, State.maintenance)
SLACK = 1000
"""A bucket that lacks at most a 1000th is whole: lengths come from a clock that is not adjusted,
bounds from one that is, by up to 500 ppm (NTP's slew, RFC 5905 section 11.3)."""


@dataclass(frozen=True, slots=True)
class Known:
    """What is known of a mirror in a stretch of time, in milliseconds."""

    up: int = 0
    degraded: int = 0
    down: int = 0
    maintenance: int = 0
    covered: int = 0
    """How much of the calendar is known: never more than `total`, wherever the clock jumped."""
    total: int = 0
    """The length of the stretch by the calendar."""

    def __add__(self, other: Known) -> Known:
        return Known(
            self.up + other.up,
            self.degraded + other.degraded,
            self.down + other.down,
            self.maintenance + other.maintenance,
            self.covered + other.covered,
            self.total + other.total,
        )

    @property
    def unknown(self) -> int:
        """The milliseconds that nobody can say anything about."""
        return self.total - self.covered

    @property
    def uptime(self) -> str | None:
        """The share of time up, in percent; None when nothing is known."""
        good = self.up + self.degraded
        return percent(good, good + self.down)

    @property
    def coverage(self) -> str | None:
        """The share of time known, in percent; None for no time at all."""
        return percent(self.covered, self.total)


def percent(part: int, whole: int) -> str | None:
    """`part` of `whole` in percent with two decimals, rounded down; None without a whole.

    "100" only when nothing is missing, "0" only when there is nothing.
    """
    if whole <= 0:
        return None
    part = min(max(part, 0), whole)
    if part in (0, whole):
        return "100" if part else "0"
    hundredths = 10_000 * part // whole
    return f"{hundredths // 100}.{hundredths % 100:02}" if hundredths else "<0.01"


def covered(known: int, length: int) -> int:
    """How much of a bucket of `length` is covered by so many milliseconds known."""
    return length if known >= enough(length) else max(known, 0)


def enough(length: int) -> int:
    """Milliseconds known that make a bucket of this length whole."""
    return length - length // SLACK


def of_bucket(times: Sequence[int], length: int) -> Known:
    """One bucket of `length`: `times` are those of KNOWN_STATES."""
    up, degraded, down, maintenance = times
    return Known(up, degraded, down, maintenance, covered(sum(times), length), length)


def total(parts: Iterable[Known]) -> Known:
    """All of them together."""
    return sum(parts, Known())


def begin_of_window(name: str, now: float) -> int:
    """Where a window begins that ends now: at the first whole bucket in it."""
    size = FIVE_MINUTES if name == "24h" else HOUR
    return -(-int(now - WINDOWS[name]) // size) * size


def day_starts(now: float, zone: str, count: int) -> tuple[str, list[int]]:
    """The bounds of the last `count` days, today last, and the zone that they are days of.

    Hours are kept, so days can be told for a zone whose midnights are on one; else for UTC.
    """
    starts = _midnights(now, ZoneInfo(zone), count)
    if any(start % HOUR for start in starts):
        return "UTC", _midnights(now, UTC, count)
    return zone, starts


def _midnights(now: float, zone: tzinfo, count: int) -> list[int]:
    today = datetime.fromtimestamp(now, zone).date()
    days = (today - timedelta(days=count - 1 - n) for n in range(count + 1))
    return [int(datetime(d.year, d.month, d.day, tzinfo=zone).timestamp()) for d in days]
