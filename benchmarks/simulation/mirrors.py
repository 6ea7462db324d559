"""Scripted mirrors: how each attempt on them goes."""

from __future__ import annotations

import random
from bisect import bisect_right
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from router.balancing.breaker import Breaker
from router.balancing.ejection import FailureWatch
from router.balancing.failure import Failure
from router.balancing.load import Load
from router.balancing.retry import Commit
from router.forwarding.config import RouterConfig

NEVER = float("inf")


@dataclass(frozen=True, slots=True)
class Course:
    """Course of one attempt. Times are seconds from its beginning."""

    first: float
    """To the first content, or to the failure; `NEVER` when nothing comes."""
    failure: Failure | None = None
    """Instead of content."""
    commit: Commit = Commit.head_received
    """How far things have come when it fails."""
    head: float = NEVER
    """To the response head, where that comes before the content."""
    cut: Failure | None = None
    """After content, when half of it has come."""
    retry_after: float | None = None


Behaviour = Callable[[random.Random, int], Course]
"""Chance and the number of requests on the mirror give the course of one more."""


def healthy(median: float = 1.0, spread: float = 0.4, capacity: float = NEVER) -> Behaviour:
    """Log-normal times to first content, longer the more of its capacity is in use."""

    def course(rng: random.Random, in_flight: int) -> Course:
        return Course(median * rng.lognormvariate(0.0, spread) * (1.0 + in_flight / capacity))

    return course


def failing(failure: Failure, seconds: float, commit: Commit = Commit.head_received) -> Behaviour:
    """Every attempt fails after this time."""
    return lambda rng, in_flight: Course(seconds, failure, commit)


def flaky(share: float, otherwise: Behaviour | None = None) -> Behaviour:
    """A share of the attempts gets a 500, soon."""
    well = otherwise or healthy()

    def course(rng: random.Random, in_flight: int) -> Course:
        if rng.random() < share:
            return Course(0.05, Failure.server_error)
        return well(rng, in_flight)

    return course


def limited(most: int, retry_after: float | None = 2.0) -> Behaviour:
    """429 for everything beyond so many requests at a time."""
    well = healthy()

    def course(rng: random.Random, in_flight: int) -> Course:
        if in_flight >= most:
            return Course(0.05, Failure.limited, retry_after=retry_after)
        return well(rng, in_flight)

    return course


def cutting(share: float) -> Behaviour:
    """A share of the streams is cut half-way."""

    def course(rng: random.Random, in_flight: int) -> Course:
        cut = Failure.cut if rng.random() < share else None
        return Course(rng.lognormvariate(0.0, 0.4), cut=cut)

    return course


refused = failing(Failure.connect, 0.001, Commit.nothing_sent)
blackhole = failing(Failure.connect, 3.0, Commit.nothing_sent)
reset = failing(Failure.broken, 0.02, Commit.request_sent)
fast_500 = failing(Failure.server_error, 0.005)
fast_503 = failing(Failure.overloaded, 0.005)
error_in_200 = failing(Failure.error_event, 0.2, Commit.comments_sent)
hung = failing(Failure.timeout, NEVER, Commit.request_sent)
slow = healthy(3.0)


def hung_after_head(rng: random.Random, in_flight: int) -> Course:
    """A head at once, then silence."""
    return Course(NEVER, head=0.1)


UNREACHABLE = frozenset((refused, blackhole))
"""What a probe that opens a connection would see too."""


class Mirror:
    """One scripted mirror, for all workers: from each time on, another behaviour."""

    def __init__(self, name: str, *script: tuple[float, Behaviour]) -> None:
        self.name = name
        self.in_flight = 0
        self._times = [time for time, _ in script]
        self._behaviours = [behaviour for _, behaviour in script]

    def behaviour(self, now: float) -> Behaviour:
        """The behaviour at present."""
        return self._behaviours[max(0, bisect_right(self._times, now) - 1)]

    def course(self, rng: random.Random, now: float) -> Course:
        """Return the course of an attempt that begins now."""
        return self.behaviour(now)(rng, self.in_flight)

    def reachable(self, now: float) -> bool:
        """True if a probe gets a connection."""
        return self.behaviour(now) not in UNREACHABLE


class Seat:
    """A mirror as one worker sees it."""

    def __init__(self, mirror: Mirror, config: RouterConfig) -> None:
        self.id = mirror.name
        self.mirror = mirror
        self.priority = 0
        self.available = True
        self.load = Load(1.0, config.balance, 0.0)
        self.breaker = Breaker(mirror.name)
        self.watch = FailureWatch(config.ejection)


def flapping(every: float, until: float, bad: Behaviour) -> Sequence[tuple[float, Behaviour]]:
    """A script that goes bad and well again in turns."""
    count = int(until / every) + 1
    return [(n * every, bad if n % 2 else healthy()) for n in range(count)]
