"""Health and the request's own veto filter, then the policy picks one of what is left.

A policy knows nothing of health, keys or earlier attempts; it only says which of the candidates it
would rather have. Power of two choices (Mitzenmacher 2001): of two drawn by chance the one that
costs less, which needs no look at the others and does not send everybody to the same best one.

Measured with CPython 3.11 on one core, `accept` being two lookups: 2.0 µs with three candidates;
with 200 of which all, half or ten are eligible 2.0, 2.3 and 5.7 µs (`python -m
benchmarks.simulation --selection`).
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Sequence
from math import gcd
from typing import Final, Protocol, TypeVar

from router.balancing.load import Load

DRAWS: Final = 8
"""Draws before all are looked at: enough unless few are eligible or weights are far apart."""
FEW = 16
"""Up to so many are then drawn from exactly by their weights; of more the first two found do."""
ALIKE: Final = 1.1
"""Costs within this ratio are the same; then fewer waiting requests decide."""


class Loaded(Protocol):
    """The properties of a mirror that policies over cost use."""

    @property
    def load(self) -> Load:
        """Its load and quality."""


L = TypeVar("L", bound=Loaded)


def p2c(
    candidates: Sequence[L],
    accept: Callable[[L], bool],
    rng: random.Random,
    now: float,
    heaviest: float = 1.0,
) -> L | None:
    """The cheaper of two eligible candidates, drawn in proportion to their weight and ramp.

    `heaviest` is the largest weight among the candidates: a draw is kept with the probability of
    its share over that, so nothing is added up and no list is built.
    """
    count = len(candidates)
    if count == 1:
        return candidates[0] if accept(candidates[0]) else None
    chance = rng.random
    first: L | None = None
    for _ in range(DRAWS if count > 2 else 0):
        drawn = candidates[int(chance() * count)]
        if drawn is first or not accept(drawn):
            continue
        share = drawn.load.share(now)
        if share < heaviest and chance() * heaviest >= share:
            continue
        if first is not None:
            return cheaper(first, drawn, now)
        first = drawn
    if count > FEW:
        return _sought(candidates, accept, rng, now)
    return _of_all(candidates, accept, rng, now)


def _sought(
    candidates: Sequence[L], accept: Callable[[L], bool], rng: random.Random, now: float
) -> L | None:
    """The cheaper of the first two eligible ones, going through all in a random order: from
    anywhere, in steps that meet each one once."""
    count = len(candidates)
    place = int(rng.random() * count)
    step = 1 + int(rng.random() * (count - 1))
    while gcd(step, count) > 1:
        step = step % (count - 1) + 1
    first: L | None = None
    for _ in range(count):
        place = (place + step) % count
        found = candidates[place]
        if accept(found):
            if first is not None:
                return cheaper(first, found, now)
            first = found
    return first


def _of_all(
    candidates: Sequence[L], accept: Callable[[L], bool], rng: random.Random, now: float
) -> L | None:
    accepted = [candidate for candidate in candidates if accept(candidate)]
    if len(accepted) < 2:
        return accepted[0] if accepted else None
    if len(accepted) == 2:
        first, second = accepted if rng.random() < 0.5 else accepted[::-1]
        if _sits_out(first, rng, now):
            return second
        if _sits_out(second, rng, now):
            return first
    else:
        first = _drawn(accepted, rng, now)
        accepted.remove(first)
        second = _drawn(accepted, rng, now)
    return cheaper(first, second, now)


def _sits_out(candidate: L, rng: random.Random, now: float) -> bool:
    """True if it recovers, and this request is not of its part."""
    ramp = candidate.load.ramp(now)
    return ramp < 1.0 and rng.random() >= ramp


def _drawn(accepted: Sequence[L], rng: random.Random, now: float) -> L:
    shares = [candidate.load.share(now) for candidate in accepted]
    place = rng.random() * sum(shares)
    for candidate, share in zip(accepted, shares, strict=True):
        place -= share
        if place < 0.0:
            return candidate
    return accepted[-1]


def cheaper(first: L, second: L, now: float) -> L:
    """The one that costs less; of two alike the one where fewer wait, else the first."""
    a, b = first.load.cost(now), second.load.cost(now)
    if a > b * ALIKE:
        return second
    if b > a * ALIKE:
        return first
    return second if second.load.waiting < first.load.waiting else first


def by_priority(
    tiers: Iterable[Sequence[L]],
    accept: Callable[[L], bool],
    rng: random.Random,
    now: float,
    heaviest: float = 1.0,
) -> L | None:
    """`p2c` among the first tier that has an eligible candidate."""
    for tier in tiers:
        chosen = p2c(tier, accept, rng, now, heaviest)
        if chosen is not None:
            return chosen
    return None
