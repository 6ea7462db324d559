"""For how long is left alone what failed: growing, with a limit, and never all at once."""

from __future__ import annotations

from random import Random

from monitor.diagnosis.measures import Reaction
from monitor.diagnosis.pace import Pace

MOST_RETRY_AFTER = 900.0
"""Seconds; a server that asks for longer is asked again then."""


def hold_after(
    reaction: Reaction, repeats: int, rng: Random, pace: Pace, retry_after: float | None = None
) -> float:
    """Seconds to hold for the verdict's `repeats`-th time in a row (from 1).

    Doubled each time up to its maximum, then varied a little to either side, so that what failed
    together is not tried again together. What a server asks for in Retry-After is obeyed instead.
    """
    if retry_after is not None and reaction.hold_max:
        return min(max(retry_after, 0.0), max(reaction.hold_max, MOST_RETRY_AFTER))
    grown = grow(reaction.hold, 2.0, repeats, reaction.hold_max)
    return grown * rng.uniform(1.0 - pace.backoff_jitter, 1.0 + pace.backoff_jitter)


def grow(first: float, growth: float, repeats: int, most: float) -> float:
    """`first` times `growth` for every repetition after the first, at most `most`."""
    doublings = min(max(repeats, 1) - 1, 64)
    return min(first * growth**doublings, most)
