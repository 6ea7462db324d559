"""Plots as SVG that a page can show in light and dark: lines over time, bars, ranges."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from html import escape

WIDTH, HEIGHT, LEFT, TOP, RIGHT, BOTTOM = 720, 260, 48, 28, 150, 30
COLOURS = ("#2a7de1", "#d9662b", "#3a9d5d", "#8a63d2", "#c23b63", "#8a8a2a")
GREY = "#888"

NAMES, ROW, GAP = 150, 18, 26
"""Of bars and ranges: room for their names, height of one, and of the title of a group."""

Points = Sequence[tuple[float, float]]
Groups = Mapping[str, Mapping[str, tuple[float, float]]]
"""By group and name: a value, and for ranges the end."""


def svg(
    title: str, lines: Mapping[str, Points], *, seconds: float, marks: Mapping[str, float]
) -> str:
    """A plot of shares (0 to 1) over seconds; `marks` are moments with a name."""
    wide, high = WIDTH - LEFT - RIGHT, HEIGHT - TOP - BOTTOM
    top = max((y for points in lines.values() for _, y in points), default=1.0) * 1.05

    def place(x: float, y: float) -> str:
        return f"{LEFT + wide * x / seconds:.1f},{TOP + high * (1 - y / top):.1f}"

    parts = _begun(title, HEIGHT, LEFT)
    for step in range(5):
        value = top * step / 4
        x, y = place(0, value).split(",")
        parts.append(f'<path d="M{x} {y}h{wide}" stroke="{GREY}" stroke-width=".3"/>')
        parts.append(_text(LEFT - 6, float(y) + 4, f"{value:.0%}", anchor="end"))
    for name, moment in marks.items():
        x, y = place(moment, 0).split(",")
        parts.append(f'<path d="M{x} {y}v-{high}" stroke="{GREY}" stroke-dasharray="3"/>')
        parts.append(_text(float(x) + 3, TOP + 10, name))
    for second in range(0, int(seconds) + 1, 30):
        x, y = place(second, 0).split(",")
        parts.append(_text(float(x), float(y) + 16, f"{second} s", anchor="middle"))
    for (name, points), colour in zip(lines.items(), COLOURS, strict=False):
        path = " ".join(place(x, y) for x, y in points)
        parts.append(
            f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="1.5"/>'
        )
        line = TOP + 14 + 16 * list(lines).index(name)
        parts.append(_text(WIDTH - RIGHT + 10, line, name, colour=colour))
    return "\n".join([*parts, "</svg>", ""])


def bars(title: str, groups: Groups, *, told: str) -> str:
    """A bar for each value, on a scale that begins at nought; `told` formats values."""
    most = max(end for group in groups.values() for _, end in group.values())
    wide = WIDTH - NAMES - 90

    def drawn(value: tuple[float, float], y: int, colour: str) -> Iterator[str]:
        long = wide * value[1] / most
        yield f'<rect x="{NAMES}" y="{y}" width="{long:.1f}" height="12" fill="{colour}"/>'
        yield _text(NAMES + long + 6, y + 10, told.format(value[1]))

    return _grouped(title, groups, drawn)


def ranges(title: str, groups: Groups, *, told: str, least: float) -> str:
    """A line from a dot to a ring for each range, on a logarithmic scale that begins at `least`."""
    most = max(end for group in groups.values() for _, end in group.values())
    wide = (WIDTH - NAMES - 90) / math.log(max(most, 2 * least) / least)

    def place(value: float) -> float:
        return NAMES + wide * math.log(max(value, least) / least)

    def drawn(value: tuple[float, float], y: int, colour: str) -> Iterator[str]:
        (start, end), line = map(place, value), f'stroke="{colour}" stroke-width="1.5"'
        yield f'<path d="M{start:.1f} {y + 6}H{max(start, end - 4):.1f}" {line}/>'
        yield f'<circle cx="{start:.1f}" cy="{y + 6}" r="4" fill="{colour}"/>'
        yield f'<circle cx="{end:.1f}" cy="{y + 6}" r="4" fill="none" {line}/>'
        yield _text(end + 9, y + 10, f"{told.format(value[0])} – {told.format(value[1])}")

    return _grouped(title, groups, drawn)


def _grouped(
    title: str, groups: Groups, drawn: Callable[[tuple[float, float], int, str], Iterator[str]]
) -> str:
    names = list(dict.fromkeys(name for group in groups.values() for name in group))
    y = TOP
    parts: list[str] = []
    for group, values in groups.items():
        parts.append(_text(NAMES, y + 12, group))
        y += GAP - 6
        for name, value in values.items():
            colour = COLOURS[names.index(name) % len(COLOURS)]
            parts.append(_text(NAMES - 8, y + 10, name, anchor="end", colour=colour))
            parts += drawn(value, y, colour)
            y += ROW
        y += 6
    return "\n".join([*_begun(title, y, NAMES), *parts, "</svg>", ""])


def _begun(title: str, height: int, left: int) -> list[str]:
    return [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" '
        'font-family="sans-serif" font-size="11">',
        f"<title>{escape(title)}</title>",
        _text(left, 14, title, weight="bold"),
    ]


def _text(
    x: float,
    y: float,
    text: str,
    *,
    anchor: str = "start",
    colour: str = GREY,
    weight: str = "normal",
) -> str:
    return (
        f'<text x="{x:.0f}" y="{y:.0f}" text-anchor="{anchor}" fill="{colour}" '
        f'font-weight="{weight}">{escape(text)}</text>'
    )
