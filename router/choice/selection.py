"""Health and the request's own veto filter, then the policy picks one of what is left.

A policy knows nothing of health, keys or earlier attempts; it only says which of the candidates it
would rather have.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Sequence
from typing import Protocol, TypeVar


class Candidate(Protocol):
    """What a policy may look at."""

    weight: float
    in_flight: int


C = TypeVar("C", bound=Candidate)
Policy = Callable[[Sequence[C], random.Random], C]


def least_in_flight(candidates: Sequence[C], rng: random.Random) -> C:
    """The candidate with the fewest requests in flight for its weight; ties fall by chance.

    One is added to the load, so that an idle heavy mirror is preferred to an idle light one and
    weights hold from the first request on.
    """
    return min(candidates, key=lambda c: ((c.in_flight + 1) / c.weight, rng.random()))


def select(
    candidates: Iterable[C],
    accept: Callable[[C], bool],
    policy: Policy[C],
    rng: random.Random,
) -> C | None:
    """The policy's choice among the candidates that `accept` lets through, or None."""
    accepted = [candidate for candidate in candidates if accept(candidate)]
    if len(accepted) < 2:
        return accepted[0] if accepted else None
    return policy(accepted, rng)
