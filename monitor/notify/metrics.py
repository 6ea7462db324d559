"""Metrics of notifications."""

from __future__ import annotations

from monitor.common.metric_registry import Family

RESULTS = ("sent", "failed", "dropped")
NOTIFICATIONS = Family(
    "mirrorgate_notifications",
    "counter",
    "Messages to receivers: sent; attempts that failed; given up or dropped",
    ("format", "result"),
)
FAMILIES = (NOTIFICATIONS,)
