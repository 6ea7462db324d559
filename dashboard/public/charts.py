"""The days of a node as bars: height and colour say the same, and a sentence says it too. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from dashboard.i18n.moments import lasting
from dashboard.i18n.texts import Words
from monitor.health.past import Day
from monitor.health.uptime import DAY, Known

HEIGHT = 30
STEP = 4
HEIGHTS = {"up": 30, "degraded": 22, "maintenance": 18, "down": 13, "unknown": 5}
BAD = 100
"""A day that was down for more than its hundredth part is a bad one."""


@dataclass(frozen=True, slots=True)
class Bar:
    """One day, in units of the drawing."""

    x: int
    y: int
    height: int
    level: str
    label: str


def bars(days: Sequence[Day], words: Words) -> list[Bar]:
    """A bar for each day."""
    return [_bar(place, day, words) for place, day in enumerate(days)]


def level(known: Known) -> str:
    """The state of a day, in one word."""
    if known.down:
        return "down" if known.down * BAD > DAY * 1000 else "degraded"
    if known.up or known.degraded:
        return "up"
    return "maintenance" if known.maintenance else "unknown"


def shown_percent(percent: str | None) -> str:
    """A percentage, or a dash where nothing is known."""
    return "—" if percent is None else f"{percent} %"


def _bar(place: int, day: Day, words: Words) -> Bar:
    kind = level(day.known)
    label = words(
        "uptime.day",
        day=day.date,
        percent=shown_percent(day.known.uptime),
        down=lasting(day.known.down / 1000, words),
        unknown=lasting(day.known.unknown / 1000, words),
    )
    return Bar(place * STEP, HEIGHT - HEIGHTS[kind], HEIGHTS[kind], kind, label)
