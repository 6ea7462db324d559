"""Writes the Grafana dashboard: `python grafana/build.py` after a change in this folder.

Plain dictionaries in Grafana's JSON model, schemaVersion 42, with nothing but panels that every
installation has; the same input gives the same bytes. A test holds the written file to this one.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from keys_rows import keys
from panels import SOURCE, WIDTH, Panel
from requests_rows import overview, traffic
from service_rows import guard, mirrors, service

TARGET = Path(__file__).parent / "dashboards" / "mirrorgate.json"


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
    """Variables that the reader chooses."""
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
    panels = [*overview(), *traffic(), *mirrors(), *guard(), *keys(), *service()]
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
