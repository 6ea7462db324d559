"""Draws the dashboards from Prometheus' own answers, for the documentation: layout, titles, units,
legends and colours are those of the JSON files, the pixels are matplotlib's and not Grafana's.

    pip install matplotlib
    python -m grafana.plots http://127.0.0.1:9090 --minutes 20 --to docs/images
"""

from __future__ import annotations

import argparse
import io
import json
import math
import time
import urllib.parse
import urllib.request
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.dates import DateFormatter
from matplotlib.patches import Rectangle
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator
from PIL import Image

from grafana.queries import DASHBOARDS, filled, legend_of, load

PAPER, CARD, INK, FAINT, GRID = "#111217", "#181b1f", "#ccccdc", "#8e8e99", "#2c2f36"
COLORS = {
    "green": "#73bf69",
    "yellow": "#fade2a",
    "orange": "#ff9830",
    "red": "#f2495c",
    "blue": "#5794f2",
    "purple": "#b877d9",
    "text": "#8e8e99",
    "transparent": "none",
}
CLASSIC = tuple(
    f"#{color}"
    for color in (
        ("7eb26d", "eab839", "6ed0e0", "ef843c", "e24d42", "1f78c1", "ba43a9", "705da0", "508642")
    )
)
plt.rcParams["font.family"] = ["DejaVu Sans", "Noto Sans CJK SC", "Noto Sans CJK JP"]
DAY = 86400
SECONDS = ((365 * DAY, "y"), (DAY, "d"), (3600, "h"), (60, "min"), (1, "s"), (1e-3, "ms"))
COLUMN, LINE = 0.78, 0.46
"""Inches of one column and one line of Grafana's grid."""
MOST_IN_LEGEND = 6


class Source:
    """One Prometheus and the time that is looked at."""

    def __init__(self, url: str, seconds: float) -> None:
        self._url = url
        self.end = time.time()
        self.start = self.end - seconds
        self.step = max(2.0, seconds / 240)
        self.window = max(30.0, self.step * 4)

    def ask(self, path: str, **parameters: object) -> list[dict[str, Any]]:
        """Series of an answer."""
        query = urllib.parse.urlencode(parameters)
        with urllib.request.urlopen(f"{self._url}/api/v1/{path}?{query}", timeout=30) as answer:
            found: list[dict[str, Any]] = json.load(answer)["data"]["result"]
            return found

    def over_time(self, expr: str) -> list[dict[str, Any]]:
        """Return its series over the whole time."""
        return self.ask(
            "query_range",
            query=filled(expr, self.window, self.end - self.start),
            start=self.start,
            end=self.end,
            step=self.step,
        )

    def now(self, expr: str) -> list[dict[str, Any]]:
        """Return its series at the end."""
        query = filled(expr, self.window, self.end - self.start)
        return self.ask("query", query=query, time=self.end)


def told(value: float, unit: str, decimals: int | None = None) -> str:
    """A value with its unit, as Grafana writes it."""
    if math.isnan(value):
        return "–"
    if unit == "percentunit":
        return f"{value * 100:.{1 if decimals is None else decimals}f} %"
    if unit == "s":
        for size, name in SECONDS:
            if abs(value) >= size:
                return f"{value / size:.3g} {name}"
        return f"{value * 1e6:.3g} µs" if value else "0 s"
    if unit in ("bytes", "Bps"):
        size, ending = value, "/s" if unit == "Bps" else ""
        for name in ("B", "KiB", "MiB", "GiB", "TiB"):
            if abs(size) < 1024 or name == "TiB":
                return (
                    f"{size:,.0f} {name}{ending}" if size >= 1000 else f"{size:.3g} {name}{ending}"
                )
            size /= 1024
    if unit == "bool_yes_no":
        return "yes" if value else "no"
    ending = {"reqps": " req/s", "cps": " /s"}.get(unit, "")
    if decimals is not None:
        return f"{value:,.{decimals}f}{ending}"
    return f"{value:,.0f}{ending}" if abs(value) >= 1000 else f"{value:.3g}{ending}"


def _defaults(panel: dict[str, Any]) -> dict[str, Any]:
    defaults: dict[str, Any] = panel["fieldConfig"]["defaults"]
    return defaults


def _step_color(panel: dict[str, Any], value: float) -> str:
    color = "green"
    for step in _defaults(panel)["thresholds"]["steps"]:
        if step["value"] is None or value >= step["value"]:
            color = step["color"]
    return COLORS.get(color, color)


def _word(panel: dict[str, Any], value: float) -> tuple[str, str] | None:
    for mapping in _defaults(panel).get("mappings", ()):
        found = mapping["options"].get(f"{value:g}")
        if found:
            return found["text"], COLORS.get(found["color"], found["color"])
    return None


def _fixed_colors(panel: dict[str, Any]) -> dict[str, str]:
    found = {}
    for override in panel["fieldConfig"]["overrides"]:
        for change in override["properties"]:
            if change["id"] == "color":
                name = change["value"]["fixedColor"]
                found[override["matcher"]["options"]] = COLORS.get(name, name)
    return found


def _points(series: dict[str, Any], step: float) -> tuple[list[float], list[float]]:
    """Days since the epoch, as matplotlib counts them, and values; NaN where there is a gap."""
    moments: list[float] = []
    values: list[float] = []
    for at, value in series["values"]:
        if moments and at - moments[-1] * DAY > step * 1.5:
            moments.append(moments[-1] + step / DAY)
            values.append(math.nan)
        moments.append(at / DAY)
        values.append(float(value))
    return moments, values


def _all(panel: dict[str, Any], source: Source) -> Iterator[tuple[str, dict[str, Any]]]:
    for target in panel["targets"]:
        found = source.now(target["expr"]) if target["instant"] else None
        for series in source.over_time(target["expr"]) if found is None else found:
            if found is not None:
                series["values"] = [series["value"]]
            yield legend_of(target, series["metric"]), series


def draw_lines(axes: Axes, panel: dict[str, Any], source: Source) -> None:
    """Draw a panel of series over time."""
    defaults = _defaults(panel)
    custom, unit = defaults["custom"], defaults["unit"]
    stacked = custom.get("stacking", {}).get("mode") == "normal"
    fixed, last = _fixed_colors(panel), []
    below: dict[float, float] = {}
    tops: list[float] = []
    for number, (name, series) in enumerate(_all(panel, source)):
        moments, values = _points(series, source.step)
        color = fixed.get(name, CLASSIC[number % len(CLASSIC)])
        known = [value for value in values if not math.isnan(value)]
        if known:
            last.append((known[-1], max(known), name, color))
        base = [below.get(moment, 0.0) for moment in moments] if stacked else [0.0] * len(values)
        top = [b + v for b, v in zip(base, values, strict=True)]
        tops += [each for each in top if not math.isnan(each)]
        axes.plot(moments, top, color=color, linewidth=1.0)
        axes.fill_between(moments, base, top, color=color, alpha=0.3 if stacked else 0.06, lw=0)
        if stacked:
            below.update((m, t) for m, t in zip(moments, top, strict=True) if t == t)
    if custom.get("scaleDistribution", {}).get("type") == "log":
        axes.set_yscale("log")
        axes.yaxis.set_major_locator(LogLocator(numticks=5))
    else:
        highest = defaults.get("max") or max(tops, default=1.0)
        axes.set_ylim(0, (highest or 1.0) * (1.02 if defaults.get("max") else 1.1))
        axes.yaxis.set_major_locator(MaxNLocator(4))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: told(value, unit)))
    if custom.get("thresholdsStyle", {}).get("mode") == "dashed":
        _, top_ = axes.get_ylim()
        for step in defaults["thresholds"]["steps"]:
            if step["value"] is not None and step["value"] <= top_ * 1.5:
                color = COLORS.get(step["color"], step["color"])
                axes.axhline(step["value"], color=color, linestyle="--", linewidth=0.8)
    _legend(axes, sorted(last, reverse=True), unit)


def _legend(axes: Axes, last: list[tuple[float, float, str, str]], unit: str) -> None:
    shown = last[:MOST_IN_LEGEND]
    columns = 2 if len(shown) > 3 else 1
    for index, (value, most, name, color) in enumerate(shown):
        x = -0.08 if index % columns == 0 else 0.47
        y = -0.2 - 0.115 * (index // columns)
        text = f"{name[:38]}   {told(value, unit)}"
        if columns == 1:
            text += f"   (max {told(most, unit)})"
        axes.text(x, y, "■ ", transform=axes.transAxes, color=color, fontsize=6.5, va="top")
        x += 0.1 / axes.get_position().width / COLUMN / 24
        axes.text(x, y, text, transform=axes.transAxes, color=INK, fontsize=6.5, va="top")
    if len(last) > len(shown):
        more = f"and {len(last) - len(shown)} more"
        axes.text(1, 1.01, more, transform=axes.transAxes, color=FAINT, fontsize=6, ha="right")


def draw_number(axes: Axes, panel: dict[str, Any], source: Source) -> None:
    """Draw a panel of one number, or one for each series."""
    axes.set_axis_off()
    defaults, series = _defaults(panel), list(_all(panel, source))
    for index, (name, each) in enumerate(series):
        moments, values = _points(each, source.step)
        known = [value for value in values if not math.isnan(value)]
        value = known[-1] if known else math.nan
        word = _word(panel, value)
        text = word[0] if word else told(value, defaults["unit"], defaults.get("decimals"))
        color = word[1] if word else _step_color(panel, value)
        x = (index + 0.5) / len(series)
        axes.text(
            x,
            0.58,
            text,
            transform=axes.transAxes,
            color=color,
            fontsize=19,
            ha="center",
            va="center",
            fontweight="bold",
        )
        if len(series) > 1:
            axes.text(x, 0.2, name, transform=axes.transAxes, color=FAINT, fontsize=7, ha="center")
        if len(series) == 1 and len(known) > 2:
            spark = axes.inset_axes((0, 0, 1, 0.3))
            spark.set_axis_off()
            spark.fill_between(moments, values, min(known), color=color, alpha=0.25, lw=0)
            spark.plot(moments, values, color=color, linewidth=0.8)


def draw_bars(axes: Axes, panel: dict[str, Any], source: Source) -> None:
    """Draw a panel of horizontal bars."""
    defaults = _defaults(panel)
    values = []
    for target in panel["targets"]:
        found = source.now(target["expr"])
        values += [(legend_of(target, s["metric"]), float(s["value"][1])) for s in found]
    values.sort(reverse=True)
    most = defaults["max"]
    for index, (_, value) in enumerate(values):
        color = _step_color(panel, value)
        axes.barh(index, most, color=GRID, height=0.6)
        axes.barh(index, min(value, most), color=color, height=0.6)
        axes.text(
            most * 1.02, index, told(value, defaults["unit"]), color=color, fontsize=8, va="center"
        )
    axes.set_yticks(range(len(values)), [name for name, _ in values], fontsize=7.5)
    axes.set_xlim(0, most * 1.2)
    axes.set_xticks([])
    axes.grid(visible=False)


def draw_timeline(axes: Axes, panel: dict[str, Any], source: Source) -> None:
    """Draw a panel of states over time."""
    series = sorted(_all(panel, source), key=lambda each: each[0], reverse=True)
    words: dict[str, str] = {}
    for index, (_, each) in enumerate(series):
        moments, values = _points(each, source.step)
        begin = 0
        for at in range(1, len(values) + 1):
            if at < len(values) and values[at] == values[begin]:
                continue
            if math.isnan(values[begin]):
                begin = at
                continue
            end = moments[min(at, len(values) - 1)]
            word, color = _word(panel, values[begin]) or (f"{values[begin]:g}", COLORS["text"])
            words[word] = color
            axes.barh(
                index,
                end - moments[begin],
                left=moments[begin],
                color=color,
                height=0.75,
                alpha=0.75,
            )
            begin = at
    axes.set_yticks(range(len(series)), [name for name, _ in series], fontsize=7)
    axes.set_xlim(source.start / DAY, source.end / DAY)
    axes.grid(visible=False)
    for index, (word, color) in enumerate(words.items()):
        x = 0.12 * index
        axes.text(x, -0.12, "■ ", transform=axes.transAxes, color=color, fontsize=7, va="top")
        axes.text(x + 0.016, -0.12, word, transform=axes.transAxes, color=INK, fontsize=7, va="top")


def _clock(days: float) -> str:
    return datetime.fromtimestamp(days * DAY, UTC).strftime("%H:%M")


def draw_heat(axes: Axes, panel: dict[str, Any], source: Source) -> None:
    """Draw a panel of a histogram's buckets over time."""
    unit = panel["options"]["yAxis"].get("unit", "short")
    found = {}
    for name, series in _all(panel, source):
        found[float(name)] = dict(zip(*_points(series, source.step), strict=True))
    bounds = sorted(found)
    moments = sorted({moment for points in found.values() for moment in points})
    cells = []
    for lower, bound in zip([None, *bounds], bounds, strict=False):
        under = found[lower] if lower is not None else {}
        cells.append([max(0.0, found[bound].get(m, 0.0) - under.get(m, 0.0)) for m in moments])
    while cells and not any(cells[-1]):
        cells.pop()
    colors = LinearSegmentedColormap.from_list("oranges", [CARD, "#7a3b0c", "#ff9830", "#fff1d6"])
    axes.imshow(
        [[math.sqrt(value) for value in row] for row in cells],
        aspect="auto",
        origin="lower",
        cmap=colors,
        interpolation="nearest",
    )
    axes.set_yticks(
        range(len(cells)), [told(bound, unit) for bound in bounds[: len(cells)]], fontsize=6.5
    )
    places = range(0, len(moments), max(1, len(moments) // 5))
    axes.set_xticks(list(places), [_clock(moments[place]) for place in places])
    axes.grid(visible=False)


def draw_table(axes: Axes, panel: dict[str, Any], source: Source) -> None:
    """Draw a panel of rows, joined on a label as the panel's transformations say."""
    axes.set_axis_off()
    steps = {step["id"]: step["options"] for step in panel["transformations"]}
    organise = steps["organize"]
    key = steps.get("joinByField", {}).get("byField")
    units = {
        override["matcher"]["options"]: change["value"]
        for override in panel["fieldConfig"]["overrides"]
        for change in override["properties"]
        if change["id"] == "unit"
    }
    many = len(panel["targets"]) > 1
    joined: dict[str, list[dict[str, str]]] = {}
    rows: list[dict[str, str]] = []
    for target in panel["targets"]:
        field = f"Value #{target['refId']}" if many else "Value"
        heading = organise["renameByName"].get(field, "")
        for series in source.now(target["expr"]):
            row = dict(series["metric"])
            row[field] = told(float(series["value"][1]), units.get(heading, "short"))
            if not many:
                rows.append(row)
                continue
            of_key = joined.setdefault(row[key], [])
            same = [each for each in of_key if all(each.get(k, v) == v for k, v in row.items())]
            for each in same:
                each.update(row)
            if not same:
                of_key.append({**(of_key[0] if of_key else {}), **row})
    rows = rows or [row for of_key in joined.values() for row in of_key]
    hidden = organise["excludeByName"]
    order = sorted(organise["indexByName"], key=organise["indexByName"].__getitem__)
    columns = [name for name in order if not hidden.get(name)]
    columns = [name for name in columns if any(name in row for row in rows)]
    rows.sort(key=lambda row: tuple(row.get(column, "") for column in columns))
    widths = [
        max(len(organise["renameByName"][c]), *(len(r.get(c, "")) for r in rows)) for c in columns
    ]
    total, height = sum(widths) + 2 * len(widths), 1 / (len(rows) + 2)
    for line, row in enumerate([organise["renameByName"], *rows]):
        x, y = 0.0, 1 - (line + 0.6) * min(height, 0.12)
        for column, width in zip(columns, widths, strict=True):
            text, color = row.get(column, ""), FAINT if line == 0 else INK
            size = 7.5 if total < 90 else 6.5
            axes.text(x, y, text, transform=axes.transAxes, color=color, fontsize=size, va="center")
            x += (width + 2) / total


DRAW = {
    "timeseries": draw_lines,
    "stat": draw_number,
    "bargauge": draw_bars,
    "state-timeline": draw_timeline,
    "heatmap": draw_heat,
    "table": draw_table,
}
MARGINS = {"timeseries": (0.13, 0.36), "state-timeline": (0.13, 0.2), "bargauge": (0.22, 0.08)}
"""Shares of a panel's width and height, left and below, for what stands beside its axes."""


def draw(board: dict[str, Any], source: Source, file: Path) -> None:
    """Draw a whole dashboard into a picture."""
    lines = max(p["gridPos"]["y"] + p["gridPos"]["h"] for p in board["panels"])
    width, height = 24 * COLUMN, lines * LINE + 0.6
    figure = plt.figure(figsize=(width, height), facecolor=PAPER)
    figure.text(0.008, 1 - 0.3 / height, board["title"], color=INK, fontsize=13, va="center")
    span = f"last {(source.end - source.start) / 60:.0f} minutes, UTC"
    figure.text(0.992, 1 - 0.3 / height, span, color=FAINT, fontsize=9, va="center", ha="right")
    for panel in board["panels"]:
        grid = panel["gridPos"]
        x, w = grid["x"] / 24, grid["w"] / 24
        top = 1 - (0.6 + grid["y"] * LINE) / height
        h = grid["h"] * LINE / height
        if panel["type"] == "row":
            figure.text(
                x + 0.008, top - h / 2, f"▾ {panel['title']}", color=INK, fontsize=10, va="center"
            )
            continue
        gap, line = 0.003, 0.3 / height
        card = Rectangle(
            (x + gap, top - h + gap / 2),
            w - 2 * gap,
            h - gap,
            transform=figure.transFigure,
            facecolor=CARD,
            edgecolor=GRID,
            linewidth=0.6,
            zorder=-1,
        )
        figure.add_artist(card)
        figure.text(
            x + 0.008, top - 0.55 * line, panel["title"], color=INK, fontsize=8.5, va="center"
        )
        left, below = MARGINS.get(panel["type"], (0.04, 0.06))
        if panel["type"] == "heatmap":
            left, below = 0.1, 0.12
        if panel["type"] == "timeseries":
            left = min(0.13, 0.05 * 24 / grid["w"] * 0.85)
        if panel["type"] == "state-timeline":
            left = 0.24 * 12 / grid["w"]
        inner = h - line * 1.25
        place = (
            x + gap + left * w,
            top - h + gap + below * inner,
            w * (0.96 - left),
            inner * (0.97 - below),
        )
        axes = figure.add_axes(place, facecolor=CARD)
        axes.tick_params(colors=FAINT, labelsize=6.5, length=0)
        axes.grid(visible=True, color=GRID, linewidth=0.5)
        for spine in axes.spines.values():
            spine.set_visible(False)
        DRAW[panel["type"]](axes, panel, source)
        if panel["type"] in ("timeseries", "state-timeline"):
            axes.xaxis.set_major_locator(MaxNLocator(5))
            axes.xaxis.set_major_formatter(DateFormatter("%H:%M", tz=UTC))
    _write(figure, file)


def _write(figure: Any, file: Path) -> None:
    """Write it with 128 colours, which are enough for lines on a dark ground."""
    drawn = io.BytesIO()
    figure.savefig(drawn, dpi=90, facecolor=PAPER)
    plt.close(figure)
    drawn.seek(0)
    picture = Image.open(drawn).convert("RGB").quantize(128, dither=Image.Dither.NONE)
    picture.save(file, optimize=True)


def main() -> None:
    """Draw those that are asked for, or all."""
    parser = argparse.ArgumentParser(prog="python -m grafana.plots", description=__doc__)
    parser.add_argument("prometheus", help="its URL")
    parser.add_argument("boards", nargs="*", default=[file.stem for file in DASHBOARDS])
    parser.add_argument("--minutes", type=float, default=20)
    parser.add_argument("--to", type=Path, default=Path("docs/images"))
    asked = parser.parse_args()
    asked.to.mkdir(parents=True, exist_ok=True)
    for name in asked.boards:
        source = Source(asked.prometheus, asked.minutes * 60)
        draw(load(name), source, asked.to / f"dashboard-{name}.png")


if __name__ == "__main__":
    main()
