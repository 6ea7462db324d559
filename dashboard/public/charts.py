"""Charts as SVG: days as bars, latency as sparkline and as curve of its phases. Pure.

Geometry stands in presentation attributes and colours in the stylesheet, so that the policy of
content need not allow styles. Bars of one colour are one path: a page of a hundred nodes has nine
thousand. Numbers at hand are read by `page.js` from `data-` attributes, and stand in tables too.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from itertools import groupby
from urllib.parse import quote
from zoneinfo import ZoneInfo

from markupsafe import Markup, escape

from dashboard.i18n.texts import Words
from monitor.health.latency import PHASES, Curve
from monitor.health.past import Day
from monitor.health.uptime import DAY, Known, of_bucket

HEIGHT = 24
STEP = 4
HEIGHTS = {"up": 24, "degraded": 18, "maintenance": 14, "down": 10, "unknown": 4}
BAD = 100
"""What was down for more than its hundredth part was bad."""
SPARK_WIDTH, SPARK_HEIGHT = 96, 22
WIDTH, CURVE_HEIGHT = 720, 180
"""Of the large chart, in units of its drawing."""


def level(known: Known) -> str:
    """The state of a day, or of another stretch of time, in one word."""
    if known.down:
        return "down" if known.down * BAD > known.total else "degraded"
    if known.up or known.degraded:
        return "up"
    return "maintenance" if known.maintenance else "unknown"


def shown_percent(percent: str | None) -> str:
    """A percentage, or a dash where nothing is known."""
    return "—" if percent is None else f"{percent} %"


def day_bars(days: Sequence[Day], words: Words) -> Markup:
    """A bar for each day: height and colour say the same."""
    if not days:
        return Markup("")
    levels = [level(day.known) for day in days]
    paths = []
    for name, height in HEIGHTS.items():
        places = [place for place, each in enumerate(levels) if each == name]
        if places:
            top = HEIGHT - height
            bars = "".join(f"M{place * STEP} {top}h3v{height}h-3z" for place in places)
            paths.append(f'<path class="d-{name}" d="{bars}"/>')
    label = words(
        "uptime.bars",
        count=len(days),
        bad=sum(each in ("down", "degraded") for each in levels),
        unknown=levels.count("unknown"),
    )
    told = ";".join(_day_data(day) for day in days)
    return Markup(
        f'<svg class="days" viewBox="0 0 {STEP * len(days) - 1} {HEIGHT}" '
        f'preserveAspectRatio="none" role="img" aria-label="{escape(label)}" '
        f'data-days="{days[-1].date}|{told}">{"".join(paths)}</svg>'
    )


def _day_data(day: Day) -> str:
    """A day as `page.js` reads it: percent, minutes down, minutes unknown; nothing of a good one.

    Written once for ninety days of every node, so it is short.
    """
    known = day.known
    if known.uptime == "100" and not known.unknown:
        return ""
    return f"{known.uptime or ''},{-(-known.down // 60000)},{known.unknown // 60000}"


def spark(curve: Curve | None, words: Words) -> Markup:
    """The first byte over the last day, as a line; a gap where no probe succeeded."""
    values = [None if p is None else p[-1] for p in curve.points] if curve else []
    known = [value for value in values if value is not None]
    if len(known) < 2:
        return Markup("")
    top = max(*known, 1)
    width = SPARK_WIDTH / max(1, len(values) - 1)
    line = _line(
        [
            None if v is None else (place * width, SPARK_HEIGHT - 1 - (SPARK_HEIGHT - 3) * v / top)
            for place, v in enumerate(values)
        ]
    )
    label = words("latency.spark", least=min(known), most=top)
    return Markup(
        f'<svg class="spark" viewBox="0 0 {SPARK_WIDTH} {SPARK_HEIGHT}" role="img" '
        f'preserveAspectRatio="none" aria-label="{escape(label)}"><path d="{line}"/></svg>'
    )


def _line(points: Sequence[tuple[float, float] | None]) -> str:
    """The path through these points, with a gap where there is none."""
    pieces = []
    for there, part in groupby(points, key=lambda point: point is not None):
        if there:
            steps = [f"{x:.0f} {y:.0f}" for x, y in filter(None, part)]
            pieces.append(f"M{'L'.join(steps if len(steps) > 1 else steps * 2)}")
    return "".join(pieces)


def curve_chart(curve: Curve, words: Words, zone: str, label: str, now: float) -> Markup:
    """The phases above each other over time, with a scale, for a whole page's width."""
    known = [sum(point) for point in curve.points if point is not None]
    if not known:
        return Markup("")
    top = nice(max(known))
    width = WIDTH / len(curve.points)
    areas = "".join(
        f'<path class="p-{phase}" d="{_area(curve, number, top, width)}"/>'
        for number, phase in enumerate(PHASES)
    )
    lines = "".join(
        f'<path class="rule" d="M0 {CURVE_HEIGHT * n // 4}H{WIDTH}"/>' for n in range(4)
    )
    scale = "".join(f"<span>{top * (4 - n) / 4:g} ms</span>" for n in range(4))
    told = ";".join("" if p is None else ",".join(map(str, p)) for p in curve.points)
    return Markup(
        f'<figure class="curve" data-start="{curve.start}" data-step="{curve.step}" '
        f'data-points="{told}"><div class="scale" aria-hidden="true">{scale}</div>'
        f'<svg viewBox="0 0 {WIDTH} {CURVE_HEIGHT}" preserveAspectRatio="none" role="img" '
        f'aria-label="{escape(label)}">{lines}{areas}<path class="cursor" d=""/></svg>'
        f'<svg class="strip" viewBox="0 0 {len(curve.points)} 1" preserveAspectRatio="none" '
        f'aria-hidden="true">{_strip(curve)}</svg>'
        f'<div class="times" aria-hidden="true">{_times(curve, zone, now)}</div></figure>'
    )


def _strip(curve: Curve) -> str:
    """The states below the curve, in its scale of time."""
    levels = [level(of_bucket(times, curve.step * 1000)) for times in curve.times]
    place, pieces = 0, []
    for name, part in groupby(levels):
        length = len(list(part))
        pieces.append(f'<path class="d-{name}" d="M{place} 0h{length}v1h-{length}z"/>')
        place += length
    return "".join(pieces)


def _area(curve: Curve, number: int, top: int, width: float) -> str:
    """One phase, on top of those before it."""
    pieces = []
    for there, part in groupby(enumerate(curve.points), key=lambda each: each[1] is not None):
        if not there:
            continue
        upper, lower = [], []
        for place, point in part:
            assert point is not None
            x = f"{(place + 0.5) * width:.1f}"
            upper.append(f"{x} {_y(sum(point[: number + 1]), top):.1f}")
            lower.append(f"{x} {_y(sum(point[:number]), top):.1f}")
        pieces.append(f"M{'L'.join([*upper, *reversed(lower)])}Z")
    return "".join(pieces)


def _y(milliseconds: float, top: int) -> float:
    return CURVE_HEIGHT * (1 - min(milliseconds, top) / top)


def _times(curve: Curve, zone: str, now: float) -> str:
    """Five moments below the chart: hours of a day, else dates. Its last step may not be over."""
    there = ZoneInfo(zone)
    length = curve.step * len(curve.points)
    form = "%H:%M" if length <= DAY else "%m-%d"
    moments = (
        datetime.fromtimestamp(min(curve.start + length * part / 4, now), there).strftime(form)
        for part in range(5)
    )
    return "".join(f"<span>{each}</span>" for each in moments)


def nice(most: float) -> int:
    """The end of a scale: a round number whose quarters are round too, not less than `most`."""
    size = 10
    while True:
        for part in (1.0, 1.5, 2.0, 3.0, 4.0, 6.0, 8.0):
            if part * size >= most:
                return int(part * size)
        size *= 10


def tone_icon(tone: str) -> Markup:
    """The icon of a page as an address, with the state as a dot on it: colour and shape differ."""
    marks = {
        "up": '<circle cx="23" cy="23" r="8" fill="%2316a36f"/>',
        "degraded": '<path d="M23 14l9 17H14z" fill="%23e0952b"/>',
        "down": '<path d="M14 14h18v18H14z" fill="%23d8481b"/>',
        "maintenance": '<path d="M15 15h6v16h-6zM25 15h6v16h-6z" fill="%233f8bd0"/>',
        "unknown": '<circle cx="23" cy="23" r="6" fill="%23fff" stroke="%237b8582"/>',
    }
    drawn = (
        '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 32 32">'
        '<rect width="32" height="32" rx="8" fill="%2314665a"/>'
        '<path d="M7 24V14a9 9 0 0 1 18 0v10" fill="none" stroke="%23fff" stroke-width="3"/>'
        f"{marks[tone]}</svg>"
    )
    return Markup("data:image/svg+xml," + quote(drawn, safe=" '=:/%"))
