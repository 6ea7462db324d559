"""Cost of one choice, in real time."""

from __future__ import annotations

import random
import timeit

from benchmarks.simulation.mirrors import Mirror, Seat, healthy
from router.balancing.load import Kind
from router.balancing.pool import Pool
from router.forwarding.config import RouterConfig

_NUMBER, _REPEAT = 5000, 7
SITUATIONS = ((3, 0), (3, 1), (200, 0), (200, 100), (200, 190))
"""Mirrors, and how many of them are not eligible."""


def measure() -> list[tuple[int, int, float, float]]:
    """For every situation µs per choice, of `p2c` alone and with what an attempt takes and gives
    back: the best of seven rounds."""
    return [(count, out, *_measure(count, out)) for count, out in SITUATIONS]


def _measure(count: int, out: int) -> tuple[float, float]:
    config, rng = RouterConfig(), random.Random(1)
    seats = [Seat(Mirror(f"m{n}", (0.0, healthy())), config) for n in range(count)]
    pool: Pool[Seat] = Pool(config, rng, lambda word: None)
    pool.members(seats)
    baseline = pool.baselines.of(Kind("chat", stream=True), 0.0)
    for number, seat in enumerate(seats):
        seat.available = number >= out
        for waiting in range(1 + number % 3):
            seat.load.begin(baseline, 1.0 + waiting)
        seat.load.begin(baseline, 1.0).content(2.0)
    tried: set[str] = set()

    def accept(seat: Seat) -> bool:
        return seat.available and seat.id not in tried

    def attempt() -> None:
        chosen = pool.choose(accept, baseline, 10.0, repeatable=True)
        if chosen is not None:
            chosen.sent(10.0)
            chosen.content(10.5)
            chosen.succeeded(11.0)

    alone = timeit.repeat(lambda: pool._pick(accept, 10.0), number=_NUMBER, repeat=_REPEAT)
    whole = timeit.repeat(attempt, number=_NUMBER, repeat=_REPEAT)
    return min(alone) / _NUMBER * 1e6, min(whole) / _NUMBER * 1e6
