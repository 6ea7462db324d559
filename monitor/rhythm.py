"""How often a mirror is looked at, and how long that may take. Seconds."""

from __future__ import annotations

from dataclasses import dataclass

from monitor.config import MonitorConfig
from monitor.diagnosis.pace import NORMAL, Pace

SHORTEST_BUDGET = 5.0
"""Seconds that a probe may take at least, however short the interval is."""
STALE_INTERVALS = 3
"""Probe intervals that may pass without news."""


def stale_after(interval: float) -> float:
    """Seconds after which what is known of a mirror is too old to be believed."""
    return STALE_INTERVALS * interval + probe_budget(interval)


def probe_budget(interval: float) -> float:
    """Seconds for one probe: half the interval, so that three bad ones fit into three intervals."""
    return max(interval / 2, SHORTEST_BUDGET)


@dataclass(frozen=True, slots=True)
class Rhythm:
    """What one turn keeps to."""

    budget: float
    """For the whole of it."""
    spacing: float
    """Between handshakes over a path that works."""
    alternates: float
    """Between two questions about an alternate name."""

    @classmethod
    def of(cls, config: MonitorConfig, pace: Pace) -> Rhythm:
        """The rhythm of a configuration."""
        interval = config.interval
        return cls(
            budget=probe_budget(interval),
            spacing=min(pace.target_interval, 2 * interval),
            alternates=min(pace.dns_retest, 20 * interval),
        )


def paced(config: MonitorConfig, pace: Pace) -> Pace:
    """The pace of this configuration."""
    return pace if config.residual == NORMAL.residual_hold else pace.shortened(config.residual)
