"""The published past: uptime by window and by day, and incidents; held in memory for pages.

It is read anew every minute. What is shown of the present never waits for it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from monitor.health.incidents import Incident
from monitor.health.latency import Curve
from monitor.health.uptime import Known

QUANTILES = (0.5, 0.95)


@dataclass(frozen=True, slots=True)
class Day:
    """A day of a mirror."""

    date: str
    """As `2026-11-21`."""
    known: Known


@dataclass(frozen=True, slots=True)
class Past:
    """The past at one moment."""

    windows: Mapping[str, Mapping[str, Known]] = field(default_factory=dict)
    """By mirror, by the names in WINDOWS."""
    days: Mapping[str, Sequence[Day]] = field(default_factory=dict)
    """By mirror, oldest first, today last."""
    zone: str = "UTC"
    """Whose days they are."""
    incidents: Sequence[Incident] = ()
    """Newest first."""
    curves: Mapping[str, Mapping[str, Curve]] = field(default_factory=dict)
    """Latency by mirror, by the names in `latency.STEPS`."""
    first_bytes: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    """By mirror, the milliseconds that QUANTILES of the last 24 hours took at most."""
    read_at: float | None = None
    """When windows, days and curves were read; at first, since when that is tried."""

    def window(self, mirror_id: str, name: str) -> Known:
        """Uptime of a mirror in a window; nothing when it was never watched."""
        return self.windows.get(mirror_id, {}).get(name, Known())
