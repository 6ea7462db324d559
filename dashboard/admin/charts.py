"""Charts of the desk as the numbers that an SVG is drawn from. Pure."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from math import ceil, log10

from dashboard.admin.traffic import Point
from monitor.common.keys import DayUse

MINUTES = 60
HEIGHT = 100.0
"""Units of the drawing, whatever its size on the screen."""
_ROUND = (1.0, 1.5, 2.0, 3.0, 4.0, 5.0, 6.0, 8.0, 10.0, 15.0)
MOST_MODELS = 5
"""Models with a colour of their own; the rest is one."""


@dataclass(frozen=True, slots=True)
class Piece:
    """A part of a column."""

    kind: str
    y: float
    height: float


@dataclass(frozen=True, slots=True)
class Column:
    """One column of a chart."""

    place: int
    pieces: tuple[Piece, ...]
    label: str
    """Its moment or day, for `words`."""
    values: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Chart:
    """Columns under a scale."""

    columns: tuple[Column, ...]
    places: int
    """Columns that there is room for."""
    top: float
    """The value at the upper end."""
    kinds: tuple[str, ...] = ()
    """What the pieces are, in the order of their values."""


def traffic_chart(course: Sequence[Point]) -> Chart:
    """The requests of the last hour: those answered well, and failed ones on top."""
    top = nice_top(max((point.good + point.failed for point in course), default=0.0))
    columns = tuple(
        _column(MINUTES - 1 - round(p.ago / 60), ("good", "failed"), (p.good, p.failed), top, p.ago)
        for p in course
    )
    return Chart(columns, MINUTES, top, ("good", "failed"))


def sparkline(values: Sequence[float]) -> str:
    """The points of a line, 100 wide and 20 high; empty for one value or only zeros."""
    if len(values) < 2 or not any(values):
        return ""
    top = max(values)
    step = 100 / (len(values) - 1)
    return " ".join(f"{i * step:.1f},{19 - 18 * value / top:.1f}" for i, value in enumerate(values))


def use_chart(days: Iterable[DayUse], count: int, today: float) -> Chart:
    """The tokens that a key used on each of the last days, by model."""
    last = datetime.fromtimestamp(today, UTC).date()
    dates = [(last - timedelta(days=ago)).isoformat() for ago in range(count - 1, -1, -1)]
    used: dict[tuple[str, str], float] = defaultdict(float)
    total: dict[str, float] = defaultdict(float)
    for day in days:
        tokens = day.input_tokens + day.output_tokens
        used[day.day, day.model] += tokens
        total[day.model] += tokens
    ranked = sorted(total, key=lambda model: (-total[model], model))
    named, rest = ranked[:MOST_MODELS], ranked[MOST_MODELS:]
    kinds = (*named, *(("",) if rest else ()))
    rows = []
    for date in dates:
        values = [used[date, model] for model in named]
        rows.append((*values, *((sum(used[date, m] for m in rest),) if rest else ())))
    top = nice_top(max(map(sum, rows), default=0.0))
    colours = tuple(f"m{number}" for number in range(len(kinds)))
    columns = tuple(
        _column(place, colours, values, top, date)
        for place, (date, values) in enumerate(zip(dates, rows, strict=True))
    )
    return Chart(columns, count, top, kinds)


def _column(
    place: int, kinds: Sequence[str], values: tuple[float, ...], top: float, label: object
) -> Column:
    pieces, base = [], HEIGHT
    for kind, value in zip(kinds, values, strict=True):
        height = round(HEIGHT * value / top, 2)
        if height > 0:
            base = round(base - height, 2)
            pieces.append(Piece(kind, max(0.0, base), height))
    return Column(place, tuple(pieces), str(label), values)


def nice_top(value: float) -> float:
    """The next round number from this value on, such as 1.5 or 40; 1 for nothing."""
    if value <= 0:
        return 1.0
    power = 10.0 ** (ceil(log10(value)) - 1)
    return next(step * power for step in _ROUND if step * power >= value * 0.9999)
