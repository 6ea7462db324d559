"""Operators' words on incidents, and maintenance that is planned. Pure values.

An incident is drafted by the monitor (`incidents.py`), and what operators say of it stands beside
it, so that neither overwrites the other; or an operator opens it by hand, for what no probe sees.
That one ends with an update that says so, and counts in no uptime.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from zlib import crc32

from monitor.common.languages import Text

INCIDENT_STATUSES = ("investigating", "identified", "monitoring", "resolved")
"""Statuses of an update of an incident, in Statuspage's words."""
MAINTENANCE_STATUSES = ("scheduled", "in_progress", "verifying", "completed")
"""Statuses of an update of a maintenance, in Statuspage's words."""


@dataclass(frozen=True, slots=True)
class IncidentEdit:
    """An operator's words in place of what the monitor says of an incident."""

    incident: str
    title: Text
    """Either language may be empty: then the other one, or the monitor's own words."""
    impact: str
    """One of `incidents.IMPACTS`; empty: as the monitor has it."""


@dataclass(frozen=True, slots=True)
class Update:
    """A message about an incident or a maintenance. Times are seconds since the epoch."""

    id: int
    about: str
    """The id of the incident or of the maintenance."""
    at: float
    status: str
    text: Text
    """Either language may be empty, not both."""


@dataclass(frozen=True, slots=True)
class ManualIncident:
    """An incident that an operator opened. Times are seconds since the epoch."""

    id: str
    """Random and stable."""
    title: Text
    """Either language may be empty, not both."""
    impact: str
    """One of `incidents.IMPACTS`, here as a measure of how bad it is."""
    mirrors: tuple[str, ...]
    """Those concerned; empty: no one in particular."""
    started_at: float
    created_at: float
    resolved_at: float | None = None
    """When an update said that it is resolved; a later one that says otherwise opens it again."""


@dataclass(frozen=True, slots=True)
class Maintenance:
    """Maintenance of some mirrors from one moment to another (seconds since the epoch)."""

    id: str
    """Random and stable."""
    title: Text
    mirrors: tuple[str, ...]
    starts_at: float
    ends_at: float
    created_at: float
    updated_at: float
    began_at: float | None = None
    """When its mirrors were taken out of use."""
    ended_at: float | None = None
    """When an operator ended it before its time, or called it off."""

    def status(self, now: float) -> str:
        """ "scheduled", "in_progress", "completed", or "cancelled" before it began."""
        if self.ended_at is not None:
            return "cancelled" if self.ended_at < self.starts_at else "completed"
        if now < self.starts_at:
            return "scheduled"
        return "in_progress" if now < self.ends_at else "completed"

    def is_due(self, now: float) -> bool:
        """True if its mirrors have still to be taken out of use."""
        return self.began_at is None and self.status(now) == "in_progress"


@dataclass(frozen=True, slots=True)
class Announced:
    """All that operators have announced."""

    edits: Mapping[str, IncidentEdit] = field(default_factory=dict)
    """By the id of the incident."""
    updates: Mapping[str, tuple[Update, ...]] = field(default_factory=dict)
    """By the id of the incident or maintenance, newest first."""
    maintenances: tuple[Maintenance, ...] = ()
    """The one that starts last comes first."""
    manual: tuple[ManualIncident, ...] = ()
    """The one that began last comes first."""

    def find(self, maintenance: str) -> Maintenance | None:
        """The maintenance of this id."""
        return next((each for each in self.maintenances if each.id == maintenance), None)

    def opened(self, incident: str) -> ManualIncident | None:
        """The incident of this id, if an operator opened it."""
        return next((each for each in self.manual if each.id == incident), None)

    def mark(self, about: str) -> str:
        """A text that changes with what operators say of an incident or maintenance."""
        newest = next((update.id for update in self.updates.get(about, ())), 0)
        edit = self.edits.get(about)
        return f"{newest}-{crc32(repr(edit).encode()):08x}" if edit else f"{newest}"
