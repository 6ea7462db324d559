"""Lines over time, as an SVG that a page can show in light and dark."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape

WIDTH, HEIGHT, LEFT, TOP, RIGHT, BOTTOM = 720, 260, 48, 28, 150, 30
COLOURS = ("#2a7de1", "#d9662b", "#3a9d5d", "#8a63d2", "#c23b63")
GREY = "#888"

Points = Sequence[tuple[float, float]]


def svg(
    title: str, lines: Mapping[str, Points], *, seconds: float, marks: Mapping[str, float]
) -> str:
    """A plot of shares (0 to 1) over seconds; `marks` are moments with a name."""
    wide, high = WIDTH - LEFT - RIGHT, HEIGHT - TOP - BOTTOM
    top = max((y for points in lines.values() for _, y in points), default=1.0) * 1.05

    def place(x: float, y: float) -> str:
        return f"{LEFT + wide * x / seconds:.1f},{TOP + high * (1 - y / top):.1f}"

    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" '
        'font-family="sans-serif" font-size="11">',
        f"<title>{escape(title)}</title>",
        _text(LEFT, 14, title, weight="bold"),
    ]
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
