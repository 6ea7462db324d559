"""The metrics of metering."""

from __future__ import annotations

from monitor.common.metric_registry import Family

TOKENS = Family(
    "mirrorgate_tokens",
    "counter",
    "Tokens of requests with an issued key or none, by model; cached ones are input too",
    ("model", "kind"),
)
CHARGES = Family(
    "mirrorgate_charges",
    "counter",
    "What issued keys were charged, in the unit of the prices, by model",
    ("model",),
)
KEYS = Family("mirrorgate_keys", "gauge", "Issued keys, by how they stand", ("state",))
UNMETERED = Family(
    "mirrorgate_unmetered_requests",
    "counter",
    "Such requests whose use was estimated or is not known, by reason",
    ("reason",),
)
