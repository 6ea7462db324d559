"""Records of history: plain values, independent of the database."""

from __future__ import annotations

from dataclasses import dataclass, field

from monitor.diagnosis.evidence import Evidence
from monitor.health.snapshot import Latency, State


@dataclass(frozen=True, slots=True)
class Sample:
    """Result of one probe, and the state of the mirror after it."""

    mirror_id: str
    at: float
    """Seconds since the epoch; kept to the millisecond."""
    ok: bool
    state: State
    verdict: str
    """Of this probe; the mirror's own changes only when it is repeated."""
    latency: Latency = field(default_factory=Latency)
    vantage: str = ""


@dataclass(frozen=True, slots=True)
class Transition:
    """From `at` on (seconds since the epoch) a mirror was in this state."""

    mirror_id: str
    at: float
    state: State
    verdict: str = ""
    detail: Evidence | None = None
    vantage: str = ""


@dataclass(frozen=True, slots=True)
class View:
    """A mirror as one vantage sees it now, for the other instances of a store."""

    mirror_id: str
    at: float
    """Seconds since the epoch."""
    text: str
    """Of `monitor.health.vantages.view_of`; empty: it is not watched any more."""
    vantage: str = ""


@dataclass(slots=True)
class InstanceViews:
    """An instance of the store, and those of its views that are new."""

    vantage: str
    holder: str
    beat: int
    """Counts on with every renewal of its lease, so while it runs."""
    batch: int = -1
    """Of the newest of these views; -1: there are none."""
    texts: dict[str, str] = field(default_factory=dict)
    """By mirror."""
