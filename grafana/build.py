"""Writes the Grafana dashboard: `python grafana/build.py` after a change here.

Plain dictionaries in Grafana's JSON model, schemaVersion 42, with nothing but panels that every
installation has; the same input gives the same bytes. A test holds the written file to this one.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

TARGET = Path(__file__).parent / "dashboards" / "mirrorgate.json"

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
    """What holds now, one row a series."""
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


def overview() -> list[Panel]:
    """What a glance should tell."""
    good = [(None, "green"), (0.01, "yellow"), (0.05, "red")]
    return [
        row("Overview"),
        number(
            "Mirrors in rotation",
            "sum(mirrorgate_mirror_in_rotation) or vector(0)",
            steps=[(None, "red"), (1, "yellow"), (2, "green")],
        ),
        number(
            "Requests per second",
            f"sum(rate(mirrorgate_requests_total[{RATE}])) or vector(0)",
            unit="reqps",
            steps=[(None, "blue")],
        ),
        number("Error ratio", error_ratio(""), unit="percentunit", steps=good),
        number(
            "In flight",
            "sum(mirrorgate_requests_in_flight) or vector(0)",
            steps=[(None, "blue")],
        ),
        number(
            "Bans in force",
            "sum(mirrorgate_bans_active) or vector(0)",
            steps=[(None, "blue")],
        ),
        number(
            "Configuration in use",
            "min(mirrorgate_config_last_reload_successful)",
            steps=[(None, "red"), (1, "green")],
            help="1: the newest file is in use. 0: it is bad, the last good one serves.",
        ),
        timeline(),
    ]


def error_ratio(by: str) -> str:
    """Requests that ended with a server error, of all."""
    group = f"sum by ({by}) " if by else "sum"
    chosen = 'mirror=~"$mirror"'
    failed = f'{group}(rate(mirrorgate_requests_total{{{chosen},code=~"5.."}}[{RATE}]))'
    everything = f"{group}(rate(mirrorgate_requests_total{{{chosen}}}[{RATE}]))"
    return f"({failed} or 0 * {everything}) / ({everything} > 0)"


def traffic() -> list[Panel]:
    """What clients see."""
    chosen = 'mirror=~"$mirror"'
    first_byte = "mirrorgate_time_to_first_byte_seconds"
    return [
        row("Traffic"),
        lines(
            "Requests by outcome",
            (
                f"sum by (outcome) (rate(mirrorgate_requests_total{{{chosen}}}[{RATE}]))",
                "{{outcome}}",
            ),
            stack=True,
            unit="reqps",
        ),
        lines(
            "Error ratio by mirror",
            (error_ratio("mirror"), "{{mirror}}"),
            unit="percentunit",
            help="Answers with a 5xx status, of all answers.",
        ),
        lines(
            "Time to first byte",
            (quantile(0.5, first_byte, "mirror"), "p50 {{mirror}}"),
            (quantile(0.95, first_byte, "mirror"), "p95 {{mirror}}"),
            unit="s",
        ),
        lines(
            "Request duration",
            (quantile(0.5, "mirrorgate_request_duration_seconds", "mirror"), "p50 {{mirror}}"),
            (quantile(0.95, "mirrorgate_request_duration_seconds", "mirror"), "p95 {{mirror}}"),
            unit="s",
        ),
        lines(
            "Requests in flight",
            (f"sum by (mirror) (mirrorgate_requests_in_flight{{{chosen}}})", "{{mirror}}"),
            stack=True,
        ),
        lines(
            "Attempts by outcome",
            (
                f"sum by (mirror, outcome) (rate(mirrorgate_attempts_total{{{chosen}}}[{RATE}]))",
                "{{mirror}} {{outcome}}",
            ),
            unit="reqps",
        ),
        lines(
            "Retries and rescues",
            (f"sum by (reason) (rate(mirrorgate_retries_total[{RATE}]))", "retry: {{reason}}"),
            (f"sum(rate(mirrorgate_requests_rescued_total[{RATE}]))", "rescued"),
            (f"sum(rate(mirrorgate_ambiguous_retries_total[{RATE}]))", "perhaps done twice"),
            (f"sum(rate(mirrorgate_requests_moved_total[{RATE}]))", "moved to a ready connection"),
            unit="reqps",
            help="Rescued: answered after at least one failed attempt. Perhaps done twice: "
            "the first mirror may have billed the request too.",
        ),
        lines(
            "Ejections",
            (
                "sum by (mirror, cause) "
                f"(increase(mirrorgate_ejections_total{{{chosen}}}[{RATE}]))",
                "{{mirror}} {{cause}}",
            ),
            help="How often failing traffic took a mirror out of rotation.",
        ),
        lines(
            "Requests that wait for room on a mirror",
            ("sum(mirrorgate_requests_queued)", "waiting"),
        ),
        lines(
            "First content of streams, 95th percentile",
            (
                "histogram_quantile(0.95, sum by (mirror, le) (rate("
                f"mirrorgate_time_to_first_token_seconds_bucket{{{chosen}}}[{RATE}])))",
                "{{mirror}}",
            ),
            unit="s",
        ),
        lines(
            "Streams interrupted",
            (
                "sum by (mirror, reason) "
                f"(rate(mirrorgate_stream_interruptions_total{{{chosen}}}[{RATE}]))",
                "{{mirror}} {{reason}}",
            ),
            unit="reqps",
        ),
    ]


def mirrors() -> list[Panel]:
    """What the monitor sees."""
    chosen = 'mirror=~"$mirror"'
    return [
        row("Mirrors"),
        now_table(
            "State and verdict now",
            f"(mirrorgate_verdict{{{chosen}}} == 1) "
            "* on (job, instance, mirror) group_left (state) "
            f"(mirrorgate_mirror_state{{{chosen}}} == 1)",
            ("Value", "instance", "job", "__name__"),
        ),
        lines(
            "Paths by how they stand",
            (
                f"sum by (mirror, standing) (mirrorgate_mirror_paths{{{chosen}}}) > 0",
                "{{mirror}} {{standing}}",
            ),
            help="A path is one name of a mirror over one of its addresses.",
        ),
        lines(
            "Endpoints left alone",
            ("max(mirrorgate_quarantined_endpoints)", "quarantined"),
            help="After a suspected block nobody connects to an address and port for a while.",
        ),
        lines(
            "Experiments by finding",
            (
                "sum by (mirror, verdict, level) "
                f"(increase(mirrorgate_experiments_total{{{chosen}}}[1h]))",
                "{{mirror}} {{verdict}} ({{level}})",
            ),
            help="On suspected paths, ended within an hour.",
        ),
        now_table(
            "Mirrors as configured and detected",
            f"mirrorgate_mirror_info{{{chosen}}}",
            ("Value", "instance", "job", "__name__"),
        ),
        lines(
            "Probe duration by phase",
            (
                quantile(0.5, "mirrorgate_probe_duration_seconds", "mirror, phase"),
                "{{mirror}} {{phase}}",
            ),
            unit="s",
            help="Median of the phases of good probes.",
        ),
        lines(
            "Probes begin late by",
            (
                "histogram_quantile(0.99, sum by (le) "
                f"(rate(mirrorgate_probe_late_seconds_bucket[{RATE}])))",
                "p99",
            ),
            unit="s",
            help="Grows when the monitor has more to do than it can.",
        ),
        lines(
            "Failed probe steps",
            (
                "sum by (mirror, operation, failure) "
                f"(rate(mirrorgate_probe_failures_total{{{chosen}}}[{RATE}]))",
                "{{mirror}} {{operation}}: {{failure}}",
            ),
            unit="cps",
        ),
        lines(
            "Probes by result",
            (
                f"sum by (mirror, result) (rate(mirrorgate_probes_total{{{chosen}}}[{RATE}]))",
                "{{mirror}} {{result}}",
            ),
            unit="cps",
        ),
        lines(
            "Tokens of canaries in a day",
            (
                f"sum by (mirror) (increase(mirrorgate_canary_tokens_total{{{chosen}}}[1d]))",
                "{{mirror}}",
            ),
            help="Real completions of the monitor, off by default.",
        ),
        lines(
            "Since the last probe",
            (
                f"time() - max by (mirror) (mirrorgate_last_probe_timestamp_seconds{{{chosen}}})",
                "{{mirror}}",
            ),
            unit="s",
            help="Grows when the monitor is blind.",
        ),
        lines(
            "Uptime of 24 h",
            (f'min by (mirror) (mirrorgate_uptime_ratio{{{chosen},window="24h"}})', "{{mirror}}"),
            unit="percentunit",
            help="Share of the known time; maintenance and unknown time are left out.",
        ),
        lines(
            "Uptime of 90 d, and its coverage",
            (f'min by (mirror) (mirrorgate_uptime_ratio{{{chosen},window="90d"}})', "{{mirror}}"),
            (
                f'min by (mirror) (mirrorgate_uptime_coverage_ratio{{{chosen},window="90d"}})',
                "{{mirror}}: watched",
            ),
            unit="percentunit",
        ),
        lines(
            "Open incidents",
            ("sum(mirrorgate_incidents_open)", "incidents"),
        ),
        lines(
            "Certificates end in",
            (
                "min by (mirror) "
                f"(mirrorgate_tls_not_after_timestamp_seconds{{{chosen}}}) - time()",
                "{{mirror}}",
            ),
            unit="s",
        ),
    ]


def guard() -> list[Panel]:
    """Who is kept out."""
    return [
        row("Limits and bans"),
        lines(
            "Refused requests by reason",
            (
                f"sum by (reason) (rate(mirrorgate_rejected_requests_total[{RATE}]))",
                "{{reason}}",
            ),
            stack=True,
            unit="reqps",
        ),
        lines(
            "Bans",
            ("sum(mirrorgate_bans_active)", "in force"),
            ("sum by (reason) (increase(mirrorgate_bans_total[1h]))", "new in 1 h: {{reason}}"),
        ),
        lines(
            "Clients that cannot be told apart, or were not counted",
            (
                f"sum by (setting) (rate(mirrorgate_unbelieved_clients_total[{RATE}]))",
                "router.{{setting}} is missing",
            ),
            (
                f"sum by (cause) (rate(mirrorgate_limits_uncounted_total[{RATE}]))",
                "not counted: the table is {{cause}}",
            ),
            unit="reqps",
            help="Requests from proxies that are not believed count as one client's.",
        ),
    ]


def service() -> list[Panel]:
    """mirrorgate itself."""
    return [
        row("Service"),
        lines("Workers", ("sum(mirrorgate_workers)", "workers"), width=6),
        lines(
            "Snapshot age",
            ("max(mirrorgate_snapshot_age_seconds)", "oldest in a worker"),
            unit="s",
            width=6,
            help="Age of the health snapshot that a worker decides by.",
        ),
        lines(
            "Event loop lag",
            ("max(mirrorgate_event_loop_lag_seconds)", "busiest worker"),
            unit="s",
            width=6,
        ),
        lines(
            "Tasks of event loops",
            ("sum by (process) (mirrorgate_event_loop_tasks)", "{{process}}"),
            width=6,
            help="Flat unless something leaks.",
        ),
        lines(
            "Client connections",
            ("sum(mirrorgate_client_connections)", "open"),
            width=6,
        ),
        lines(
            "Bytes relayed",
            (f"sum by (direction) (rate(mirrorgate_bytes_total[{RATE}]))", "{{direction}}"),
            unit="Bps",
        ),
        lines(
            "Opening connections to mirrors",
            (quantile(0.95, "mirrorgate_connect_duration_seconds", "mirror"), "p95 {{mirror}}"),
            unit="s",
        ),
        lines(
            "Configuration reloads",
            (
                "sum by (result) (increase(mirrorgate_config_reloads_total[1h]))",
                "{{result}} in 1 h",
            ),
            (
                "time() - max(mirrorgate_config_last_reload_success_timestamp_seconds)",
                "seconds since the last good one",
            ),
        ),
        lines(
            "History dropped",
            (f"sum(rate(mirrorgate_store_dropped_writes_total[{RATE}]))", "writes"),
            unit="wps",
            width=6,
        ),
        now_table(
            "Version",
            "mirrorgate_build_info",
            ("Value", "job", "__name__"),
            width=6,
        ),
    ]


def layout(panels: Iterable[Panel]) -> list[Panel]:
    """Give each panel its number and place: left to right, then the next line."""
    x = y = line_height = 0
    placed = []
    for number_, item in enumerate(panels, 1):
        width = item["gridPos"].get("w", WIDTH)
        if x + width > WIDTH:
            x, y, line_height = 0, y + line_height, 0
        grid = {"x": x, "y": y, "w": width, "h": item["gridPos"]["h"]}
        placed.append({"id": number_, **item, "gridPos": grid})
        x, line_height = x + width, max(line_height, grid["h"])
    return placed


def variables() -> list[dict[str, Any]]:
    """What the reader chooses."""
    return [
        {
            "name": "datasource",
            "label": "Data source",
            "type": "datasource",
            "query": "prometheus",
            "hide": 0,
            "refresh": 1,
        },
        {
            "name": "mirror",
            "label": "Mirror",
            "type": "query",
            "datasource": SOURCE,
            "definition": "label_values(mirrorgate_mirror_state, mirror)",
            "query": {
                "query": "label_values(mirrorgate_mirror_state, mirror)",
                "refId": "StandardVariableQuery",
            },
            "includeAll": True,
            "allValue": ".*",
            "multi": True,
            "current": {"text": "All", "value": "$__all"},
            "hide": 0,
            "refresh": 2,
            "sort": 1,
        },
    ]


def dashboard() -> dict[str, Any]:
    """The whole dashboard."""
    panels = [*overview(), *traffic(), *mirrors(), *guard(), *service()]
    return {
        "uid": "mirrorgate",
        "title": "mirrorgate",
        "description": "Requests, mirrors, probes, bans and the service itself.",
        "tags": ["mirrorgate"],
        "schemaVersion": 42,
        "version": 1,
        "editable": True,
        "graphTooltip": 1,
        "refresh": "30s",
        "time": {"from": "now-6h", "to": "now"},
        "timezone": "browser",
        "annotations": {"list": []},
        "links": [],
        "templating": {"list": variables()},
        "panels": layout(panels),
    }


def render() -> str:
    """The file as it is written."""
    return json.dumps(dashboard(), indent=2, ensure_ascii=False, sort_keys=True) + "\n"


if __name__ == "__main__":
    TARGET.write_text(render(), encoding="utf-8")
