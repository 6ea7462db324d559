"""What was known before a start, and what was not."""

from __future__ import annotations

from monitor.health.board import State
from monitor.history.records import Transition
from monitor.history.store import Store

LONGEST_GAP = 300.0
"""Seconds without samples after which nobody can say what a mirror was in between."""


async def states_before(store: Store, now: float, vantage: str) -> dict[str, Transition]:
    """The last recorded state of each mirror; one that a long gap followed becomes unknown.

    That is recorded too, as of the last sample, so that the gap counts neither as up nor as down.
    """
    states = await store.last_states()
    probed = await store.last_samples()
    for mirror_id, last in list(states.items()):
        seen = max(probed.get(mirror_id, last.at), last.at)
        if now - seen > LONGEST_GAP and last.state is not State.unknown:
            states[mirror_id] = Transition(mirror_id, seen, State.unknown, vantage=vantage)
            store.record_transition(states[mirror_id])
    return states
