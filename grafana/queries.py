"""The queries of the dashboards, as Grafana sends them to Prometheus."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

DASHBOARDS = tuple(sorted((Path(__file__).parent / "dashboards").glob("*.json")))


def load(name: str) -> dict[str, Any]:
    """A dashboard by the name of its file."""
    file = Path(__file__).parent / "dashboards" / f"{name}.json"
    board: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    return board


def panels(board: dict[str, Any]) -> list[dict[str, Any]]:
    """Its panels without the headings."""
    return [panel for panel in board["panels"] if panel["type"] != "row"]


def filled(expr: str, interval: float, shown: float) -> str:
    """A query with everything chosen; `interval` and `shown`: seconds of `$__rate_interval` and of
    the time that is looked at."""
    values = {
        "__rate_interval": f"{interval:.0f}s",
        "__range": f"{shown:.0f}s",
        "instance": ".*",
        "mirror": ".*",
    }
    return re.sub(r"\$(\w+)", lambda found: values[found[1]], expr)


def legend_of(target: dict[str, Any], labels: dict[str, str]) -> str:
    """The name of a series in the legend."""
    template = target.get("legendFormat", "")
    return re.sub(r"\{\{(\w+)\}\}", lambda found: labels.get(found[1], ""), template).strip()
