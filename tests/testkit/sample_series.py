"""Every declared metric family with plausible series that grow from scrape to scrape."""

from collections.abc import Iterator
from itertools import product

import dashboard.common.metrics
import monitor.engine.metrics
import router.forwarding.metrics
from monitor.common.metric_registry import Family, Labels
from monitor.health.snapshot import State

FAMILIES: tuple[Family, ...] = (
    *router.forwarding.metrics.FAMILIES,
    *monitor.engine.metrics.FAMILIES,
    *dashboard.common.metrics.FAMILIES,
)

VALUES: dict[str, tuple[str, ...]] = {
    "mirror": ("hk", "jp", "sg"),
    "state": tuple(State),
    "phase": ("resolve", "connect", "tls", "first_byte"),
    "code": ("200", "502"),
    "outcome": ("success", "mirror_error"),
    "verdict": ("ok",),
    "version": ("0.1.0",),
    "window": ("24h", "90d"),
}
"""Label values; a label that is not here has one value."""


def exposed_name(family: Family) -> str:
    """The name as it stands in docs and queries."""
    return f"{family.name}_total" if family.type == "counter" else family.name


def sample_names(family: Family) -> set[str]:
    """The names of its series."""
    if family.type != "histogram":
        return {exposed_name(family)}
    return {f"{family.name}_{part}" for part in ("bucket", "sum", "count")}


def sample_series(round_: int, now: float) -> Iterator[tuple[Family, Labels, list[float]]]:
    """The series of the scrape number `round_`."""
    for family in FAMILIES:
        choices = [VALUES.get(label, ("some",)) for label in family.labels]
        for labels in product(*choices):
            yield family, labels, _cells(family, labels, round_, now)


def _cells(family: Family, labels: Labels, round_: int, now: float) -> list[float]:
    if family.type == "histogram":
        return [*(float(round_ + i % 3) for i in range(len(family.buckets) + 1)), 1.5 * round_]
    if family.type == "counter":
        return [7.0 * round_]
    if family.name.endswith("timestamp_seconds"):
        return [now - 30]
    if "state" in family.labels:
        return [float("up" in labels)]
    return [1.0]
