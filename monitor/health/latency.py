"""Latency over time: curves of the phases by window, and quantiles of the first byte. Pure."""

from __future__ import annotations

import math
from collections import Counter, deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate

from monitor.health.uptime import DAY, HOUR

PHASES = ("resolve", "connect", "tls", "first_byte")

STEPS = {"24h": (DAY, 900), "7d": (7 * DAY, HOUR), "30d": (30 * DAY, 6 * HOUR)}
"""The windows of curves, and how long one point of each is: about a hundred points, in seconds."""

SLOT = 900
"""Seconds after which first bytes are counted anew; whole slots are forgotten."""
GROWTH = 1.04
"""Each class of durations is so many times as long as the last: quantiles are 2 % off at most."""
_LOG_GROWTH = math.log(GROWTH)


@dataclass(frozen=True, slots=True)
class Curve:
    """Mean milliseconds of PHASES, point by point; None where no probe succeeded."""

    start: int
    """Seconds since the epoch."""
    step: int
    """Seconds from one point to the next."""
    points: Sequence[tuple[int, ...] | None]


@dataclass(frozen=True, slots=True)
class Sums:
    """Good probes in a stretch of time, and the microseconds that their phases took together."""

    probes: int = 0
    phases: tuple[int, ...] = (0,) * len(PHASES)


def curve(name: str, now: float, known: Mapping[int, Sums]) -> Curve:
    """The curve of a window that ends now; `known` is by the beginning of whole buckets."""
    length, step = STEPS[name]
    end = (int(now) // step + 1) * step
    start = end - length
    probes: Counter[int] = Counter()
    phases: dict[int, tuple[int, ...]] = {}
    for bucket, sums in known.items():
        if start <= bucket < end and sums.probes:
            place = (bucket - start) // step
            probes[place] += sums.probes
            former = phases.get(place)
            phases[place] = (
                sums.phases
                if former is None
                else tuple(a + b for a, b in zip(former, sums.phases, strict=True))
            )
    points = [
        tuple(round(us / probes[place] / 1000) for us in phases[place]) if place in phases else None
        for place in range(length // step)
    ]
    return Curve(start, step, points)


class FirstBytes:
    """Times to the first byte of one mirror's answers in the last 24 hours, as a histogram."""

    def __init__(self) -> None:
        self._slots: deque[tuple[int, Counter[int]]] = deque()

    def add(self, at: float, milliseconds: float) -> None:
        """Take one; they come about in the order of time."""
        slot = int(at // SLOT)
        if not self._slots or self._slots[-1][0] < slot:
            self._slots.append((slot, Counter()))
            while self._slots[0][0] <= slot - DAY // SLOT:
                self._slots.popleft()
        self._slots[-1][1][_class(milliseconds)] += 1

    def join(self, later: FirstBytes | None) -> None:
        """Take those of a later time too."""
        for slot, found in later._slots if later else ():
            if self._slots and self._slots[-1][0] == slot:
                self._slots[-1][1].update(found)
            else:
                self._slots.append((slot, found))

    def quantiles(self, now: float, shares: Sequence[float]) -> tuple[int, ...] | None:
        """The milliseconds that these shares of them took at most; None without any."""
        oldest = int(now // SLOT) - DAY // SLOT
        counts: Counter[int] = Counter()
        for slot, found in self._slots:
            if slot > oldest:
                counts.update(found)
        if not counts:
            return None
        classes = sorted(counts)
        below = list(accumulate(counts[each] for each in classes))
        return tuple(
            _typical(next(c for c, n in zip(classes, below, strict=True) if n >= share * below[-1]))
            for share in shares
        )


def _class(milliseconds: float) -> int:
    return round(math.log(max(milliseconds, 0.5)) / _LOG_GROWTH)


def _typical(number: int) -> int:
    return max(1, round(GROWTH**number))
