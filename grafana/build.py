"""Writes dashboards and rules for Kubernetes: `python -m grafana.build` after a change here.

The same input gives the same bytes; a test holds the written files to this.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from textwrap import indent
from typing import Any

from grafana_foundation_sdk.cog.encoder import JSONEncoder

from grafana.boards.clients import clients
from grafana.boards.keys import keys
from grafana.boards.mirrors import mirrors
from grafana.boards.monitor import monitor
from grafana.boards.overview import overview
from grafana.boards.router import router
from grafana.boards.service import service

DASHBOARDS = Path(__file__).parent / "dashboards"
RULES = Path(__file__).parent / "rules"
PROMETHEUS_RULE = Path(__file__).parents[1] / "deploy/kubernetes/monitoring/prometheusrule.yaml"
_RESOURCE = """\
# The rules of grafana/rules for the Prometheus operator, written by `python -m grafana.build`.
apiVersion: monitoring.coreos.com/v1
kind: PrometheusRule
metadata:
  name: mirrorgate
  labels:
    app.kubernetes.io/name: mirrorgate
spec:
  groups:
"""
BOARDS: dict[str, Callable[[], Any]] = {
    "overview": overview,
    "router": router,
    "mirrors": mirrors,
    "monitor": monitor,
    "clients": clients,
    "keys": keys,
    "service": service,
}
"""By the name of the file."""


def render(name: str) -> str:
    """Return the JSON of a dashboard, as Grafana imports it."""
    made = tidied(json.loads(json.dumps(BOARDS[name](), cls=JSONEncoder)))
    return json.dumps(made, indent=1, sort_keys=True) + "\n"


def tidied(board: dict[str, Any]) -> dict[str, Any]:
    """Drop from a dashboard what the SDK writes unasked and Grafana 13 does not know."""
    for shown in (*board["annotations"]["list"], *board["links"]):
        shown.pop("placement", None)  # the SDK knows no other than hidden in a menu
    for variable in board["templating"]["list"]:
        for of_intervals in ("auto", "auto_count", "auto_min"):
            variable.pop(of_intervals, None)
    for panel in board["panels"]:
        if panel["type"] == "table":
            panel["options"].pop("footer", None)
    return board


def prometheus_rule() -> str:
    """Return the groups of all files of rules as one object of Kubernetes."""
    texts = (file.read_text(encoding="utf-8") for file in sorted(RULES.glob("*.yaml")))
    return _RESOURCE + "".join(indent(text.partition("groups:\n")[2], "  ") for text in texts)


def main() -> None:
    """Write all of them."""
    PROMETHEUS_RULE.write_text(prometheus_rule(), encoding="utf-8")
    DASHBOARDS.mkdir(exist_ok=True)
    for name in BOARDS:
        (DASHBOARDS / f"{name}.json").write_text(render(name), encoding="utf-8")


if __name__ == "__main__":
    main()
