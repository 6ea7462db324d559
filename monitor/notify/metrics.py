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
FAILING = Family(
    "mirrorgate_notification_receiver_failing",
    "gauge",
    "1 while the last attempt on a receiver has failed",
    ("receiver",),
)
WAITING = Family(
    "mirrorgate_notification_receiver_waiting",
    "gauge",
    "Changes that a receiver has not got yet",
    ("receiver",),
)
OF_RECEIVERS = (FAILING.name, WAITING.name)
FAMILIES = (NOTIFICATIONS, FAILING, WAITING)
