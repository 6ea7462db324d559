"""Curves of latency and state by window, and quantiles of the first byte. Pure."""

from __future__ import annotations

import math
from collections import Counter, deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from operator import add

from monitor.health.uptime import DAY, HOUR, KNOWN_STATES

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
    """Latency and states of a mirror over time, point by point."""

    start: int
    """Seconds since the epoch."""
    step: int
    """Seconds from one point to the next."""
    points: Sequence[tuple[int, ...] | None]
    """Mean milliseconds of PHASES; None where no probe succeeded."""
    times: Sequence[tuple[int, ...]]
    """Milliseconds in each of `uptime.KNOWN_STATES`."""


@dataclass(frozen=True, slots=True)
class Sums:
    """The sums of a stretch of time."""

    probes: int = 0
    """Good ones."""
    phases: tuple[int, ...] = (0,) * len(PHASES)
    """Microseconds that their phases took together."""
    times: tuple[int, ...] = (0,) * len(KNOWN_STATES)
    """Milliseconds in each of `uptime.KNOWN_STATES`."""

    def __add__(self, other: Sums) -> Sums:
        return Sums(
            self.probes + other.probes,
            tuple(map(add, self.phases, other.phases)),
            tuple(map(add, self.times, other.times)),
        )

    @property
    def means(self) -> tuple[int, ...] | None:
        """The mean milliseconds of each phase."""
        if not self.probes:
            return None
        return tuple(round(us / self.probes / 1000) for us in self.phases)


_NOTHING = Sums()


def curve(name: str, now: float, known: Mapping[int, Sums]) -> Curve:
    """The curve of a window that ends now; `known` is by the beginning of whole buckets."""
    length, step = STEPS[name]
    end = (int(now) // step + 1) * step
    start = end - length
    found: dict[int, Sums] = {}
    for bucket, sums in known.items():
        if start <= bucket < end:
            place = (bucket - start) // step
            found[place] = found[place] + sums if place in found else sums
    whole = [found.get(place, _NOTHING) for place in range(length // step)]
    return Curve(start, step, [each.means for each in whole], [each.times for each in whole])


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
