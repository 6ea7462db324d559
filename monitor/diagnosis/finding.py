"""Finding of trials or observations: a verdict, how sure it is, and why."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from monitor.diagnosis.evidence import Evidence


class Level(StrEnum):
    """Certainty of a finding (`confidence.py`)."""

    none = "none"
    suspected = "suspected"
    confirmed = "confirmed"
    cleared = "cleared"


@dataclass(frozen=True, slots=True)
class Finding:
    """Finding of trials or observations about a path, with the reasons.

    The three weights follow OONI's analysis (https://github.com/ooni/data, `rules.py`): how much
    speaks for interference, for an outage and for a working path; each 0 to 1. They are not a
    probability of being blocked when all three are 0: then there is nothing to say.
    """

    verdict: str
    level: Level = Level.none
    blocked: float = 0.0
    down: float = 0.0
    ok: float = 0.0
    rule: str = ""
    """Which rule decided, as documented in docs/diagnosis.md."""
    evidence: tuple[Evidence, ...] = ()
    """Observations for people, without keys."""
    residual: bool = False
    """True if the block was seen to outlast its trigger on this address and port."""
    is_open: bool = False
    """True if other names were answered there right after the trigger: nothing else is shut."""
