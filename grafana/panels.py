"""Building blocks of Grafana panels: few settings, and the same look for all."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

Panel = dict[str, Any]
SOURCE = {"type": "prometheus", "uid": "${datasource}"}
WIDTH = 24
RATE = "$__rate_interval"

STATES = {
    "up": "green",
    "degraded": "yellow",
    "down": "red",
    "maintenance": "blue",
    "unknown": "text",
}


def target(expr: str, legend: str = "", *, instant: bool = False, ref: str = "A") -> dict[str, Any]:
    """One query of a panel."""
    return {
        "datasource": SOURCE,
        "editorMode": "code",
        "expr": expr,
        "format": "table" if instant else "time_series",
        "instant": instant,
        "legendFormat": legend,
        "range": not instant,
        "refId": ref,
    }


def panel(
    kind: str,
    title: str,
    queries: Iterable[tuple[str, str]],
    *,
    unit: str = "short",
    help: str = "",
    width: int = 12,
    height: int = 8,
    defaults: dict[str, Any] | None = None,
    options: dict[str, Any] | None = None,
) -> Panel:
    """A panel of one or more queries; its place is given by `layout`."""
    return {
        "type": kind,
        "title": title,
        "description": help,
        "datasource": SOURCE,
        "gridPos": {"w": width, "h": height},
        "targets": [
            target(expr, legend, ref=chr(ord("A") + i)) for i, (expr, legend) in enumerate(queries)
        ],
        "fieldConfig": {"defaults": {"unit": unit, **(defaults or {})}, "overrides": []},
        "options": options or {},
    }


def lines(title: str, *queries: tuple[str, str], stack: bool = False, **more: Any) -> Panel:
    """Series over time."""
    custom = {
        "drawStyle": "line",
        "fillOpacity": 25 if stack else 8,
        "lineWidth": 1,
        "showPoints": "never",
        "spanNulls": False,
        "stacking": {"mode": "normal" if stack else "none", "group": "A"},
    }
    options = {
        "legend": {
            "calcs": ["lastNotNull", "max"],
            "displayMode": "table",
            "placement": "bottom",
            "showLegend": True,
        },
        "tooltip": {"mode": "multi", "sort": "desc"},
    }
    return panel(
        "timeseries", title, queries, defaults={"custom": custom, "min": 0}, options=options, **more
    )


def number(
    title: str, expr: str, *, steps: Iterable[tuple[float | None, str]], **more: Any
) -> Panel:
    """One number with thresholds."""
    thresholds = {"mode": "absolute", "steps": [{"value": v, "color": c} for v, c in steps]}
    options = {
        "colorMode": "value",
        "graphMode": "area",
        "justifyMode": "auto",
        "orientation": "auto",
        "reduceOptions": {"calcs": ["lastNotNull"], "fields": "", "values": False},
        "textMode": "auto",
    }
    return panel(
        "stat",
        title,
        [(expr, "")],
        width=4,
        height=4,
        defaults={"color": {"mode": "thresholds"}, "thresholds": thresholds},
        options=options,
        **more,
    )


def timeline() -> Panel:
    """The states of mirrors as coloured bars over time."""
    codes = {state: str(index) for index, state in enumerate(STATES)}
    expr = " or ".join(
        f'(mirrorgate_mirror_state{{mirror=~"$mirror",state="{state}"}} == 1) * {code}'
        for state, code in codes.items()
    )
    mapping = {
        code: {"text": state, "color": STATES[state], "index": int(code)}
        for state, code in codes.items()
    }
    return panel(
        "state-timeline",
        "Mirror states",
        [(f"max by (mirror) ({expr})", "{{mirror}}")],
        width=WIDTH,
        defaults={
            "color": {"mode": "thresholds"},
            "custom": {"fillOpacity": 75, "lineWidth": 0},
            "mappings": [{"type": "value", "options": mapping}],
            "thresholds": {"mode": "absolute", "steps": [{"value": None, "color": "text"}]},
        },
        options={
            "legend": {"displayMode": "list", "placement": "bottom", "showLegend": True},
            "mergeValues": True,
            "rowHeight": 0.85,
            "showValue": "auto",
            "tooltip": {"mode": "single", "sort": "none"},
        },
        help="What the monitor thinks of every mirror; unknown means that it was blind.",
    )


def now_table(title: str, expr: str, hidden: tuple[str, ...], **more: Any) -> Panel:
    """Table of present values, one row a series."""
    made = panel(
        "table", title, [], options={"cellHeight": "sm", "showHeader": True, "footer": {}}, **more
    )
    made["targets"] = [target(expr, instant=True)]
    made["transformations"] = [
        {"id": "organize", "options": {"excludeByName": dict.fromkeys(("Time", *hidden), True)}}
    ]
    return made


def row(title: str) -> Panel:
    """A heading; the panels after it belong to it."""
    return {"type": "row", "title": title, "collapsed": False, "panels": [], "gridPos": {"h": 1}}


def quantile(q: float, family: str, by: str) -> str:
    """A quantile of a histogram over the selected mirrors."""
    rate = f'rate({family}_bucket{{mirror=~"$mirror"}}[{RATE}])'
    return f"histogram_quantile({q}, sum by (le, {by}) ({rate}))"
