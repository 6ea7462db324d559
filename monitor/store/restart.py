"""States that were known before a start."""

from __future__ import annotations

from sqlmodel import Session

from monitor.health.snapshot import State
from monitor.store import queries
from monitor.store.records import Transition

States = dict[str, Transition]
"""By mirror."""

LONGEST_GAP = 300.0
"""Seconds without samples after which nobody can say what a mirror was in between."""


def states_before(session: Session, now: float, vantage: str) -> tuple[States, list[Transition]]:
    """The last state of each mirror, and the changes to unknown that nobody recorded.

    A mirror that a long gap followed is unknown as of its last sample, so that the gap counts
    neither as up nor as down.
    """
    states = queries.last_states(session, vantage)
    lost = []
    for mirror_id, last in states.items():
        seen = max(queries.last_sample(session, mirror_id, vantage) or last.at, last.at)
        if now - seen > LONGEST_GAP and last.state is not State.unknown:
            lost.append(Transition(mirror_id, seen, State.unknown, vantage=vantage))
    return states | {change.mirror_id: change for change in lost}, lost
