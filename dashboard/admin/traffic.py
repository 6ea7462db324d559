"""The traffic of the last hour for the desk, from the counters that /metrics shows."""

from __future__ import annotations

import asyncio
import time
from bisect import bisect_right
from collections import defaultdict, deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import accumulate
from typing import NamedTuple

from dashboard.common.sources import Sources
from monitor.common.metric_registry import Series

EVERY = 5.0
"""Seconds between two looks at the counters."""
KEPT = 721
"""Looks of which the sums are kept: the last hour."""
LATELY = 60.0
"""Seconds that the rates of a moment are of."""
_WHOLE = round(LATELY / EVERY) + 2
"""Looks that are kept whole, with every mirror."""
_GOOD = ("success", "client_error", "client_abort")
"""Ends that no mirror and no fault of ours is to blame for."""

Counted = Iterable[Series]


@dataclass(slots=True)
class _Look:
    """The counters at one moment."""

    at: float
    """On a monotonic clock."""
    requests: dict[str, float] = field(default_factory=lambda: defaultdict(float))
    """By mirror; "" where none answered."""
    failed: dict[str, float] = field(default_factory=lambda: defaultdict(float))
    first_byte: dict[str, list[float]] = field(default_factory=dict)
    """Requests by mirror and bucket of the time to the first byte."""
    in_flight: dict[str, float] = field(default_factory=lambda: defaultdict(float))
    rescued: float = 0.0
    rejected: float = 0.0
    queued: float = 0.0
    connections: float = 0.0
    bounds: tuple[float, ...] = ()


class _Sums(NamedTuple):
    """The counters of all mirrors together at one moment."""

    at: float
    requests: float
    failed: float
    rescued: float


class MirrorTraffic(NamedTuple):
    """One mirror's traffic lately."""

    mirror: str
    per_second: float
    failed_share: float
    """Of its requests, 0 to 1."""
    share: float
    """Of all requests, 0 to 1."""
    in_flight: int
    median: float | None
    """Seconds to the first byte; None where nothing was answered."""
    slow: float | None
    """Of the slowest twentieth, at least so many."""


class Now(NamedTuple):
    """The traffic of the last minute, rates per second."""

    per_second: float
    failed_share: float
    in_flight: int
    queued: int
    connections: int
    rejected_per_second: float
    mirrors: Sequence[MirrorTraffic]
    """The busiest first."""


class Point(NamedTuple):
    """The traffic of one minute, rates per second."""

    ago: float
    """Seconds from its end to now."""
    good: float
    failed: float
    rescued: float


class TrafficLog:
    """Looks at the counters every few seconds, and remembers an hour."""

    def __init__(self, sources: Sources, clock: Callable[[], float] = time.monotonic) -> None:
        self._sources = sources
        self._clock = clock
        self._looks: deque[_Look] = deque(maxlen=_WHOLE)
        self._sums: deque[_Sums] = deque(maxlen=KEPT)

    def __repr__(self) -> str:
        return f"<TrafficLog {len(self._sums)} looks>"

    async def run(self) -> None:
        """Look until cancelled, as long as there is a desk."""
        while True:
            if self._sources.admin().password_hash:
                series, now = self._sources.series(), self._clock()
                self._keep(await asyncio.to_thread(_look_at, series, now))
            await asyncio.sleep(EVERY)

    def take(self, series: Counted) -> None:
        """Look once."""
        self._keep(_look(series, self._clock()))

    def _keep(self, look: _Look) -> None:
        self._looks.append(look)
        requests, failed = sum(look.requests.values()), sum(look.failed.values())
        self._sums.append(_Sums(look.at, requests, failed, look.rescued))

    @property
    def seconds(self) -> float:
        """The time that is remembered."""
        return self._sums[-1].at - self._sums[0].at if self._sums else 0.0

    def now(self) -> Now:
        """The traffic of the last minute."""
        if len(self._looks) < 2:
            return Now(0.0, 0.0, 0, 0, 0, 0.0, ())
        last = self._looks[-1]
        first = self._before(last.at - LATELY)
        seconds = max(last.at - first.at, 1e-9)
        requests, failed = _more(first.requests, last.requests), _more(first.failed, last.failed)
        total = sum(requests.values())
        mirrors = [
            _of_mirror(name, first, last, requests[name], failed.get(name, 0.0), total, seconds)
            for name in requests
            if name
        ]
        mirrors.sort(key=lambda each: (-each.per_second, each.mirror))
        return Now(
            total / seconds,
            sum(failed.values()) / total if total else 0.0,
            round(sum(last.in_flight.values())),
            round(last.queued),
            round(last.connections),
            max(0.0, last.rejected - first.rejected) / seconds,
            mirrors,
        )

    def rescued(self) -> int:
        """Requests saved by another mirror in the time that is remembered."""
        if not self._sums:
            return 0
        return round(max(0.0, self._sums[-1].rescued - self._sums[0].rescued))

    def course(self, points: int = 60, length: float = 60.0) -> list[Point]:
        """The last hour minute by minute, the oldest first; minutes without a look are left out.

        The first one may be a part of a minute.
        """
        if len(self._sums) < 2:
            return []
        sums, found = list(self._sums), []
        times, newest = [each.at for each in sums], sums[-1].at
        for number in range(points, 0, -1):
            begin, end = newest - number * length, newest - (number - 1) * length
            first, last = bisect_right(times, begin) - 1, bisect_right(times, end) - 1
            if last > (first := max(0, first)):
                found.append(_point(sums[first], sums[last], newest - end))
        return found

    def _before(self, moment: float) -> _Look:
        """The last look until this moment, or the first there is."""
        return next((look for look in reversed(self._looks) if look.at <= moment), self._looks[0])


def _point(first: _Sums, last: _Sums, ago: float) -> Point:
    """Counters of a removed mirror go: a minute in which they do is as if nothing came."""
    at, requests, failed, rescued = (b - a for a, b in zip(first, last, strict=True))
    seconds, failed = max(at, 1e-9), max(0.0, failed)
    good = max(0.0, requests - failed)
    return Point(ago, good / seconds, failed / seconds, max(0.0, rescued) / seconds)


def _of_mirror(
    name: str,
    first: _Look,
    last: _Look,
    requests: float,
    failed: float,
    total: float,
    seconds: float,
) -> MirrorTraffic:
    cells, before = last.first_byte.get(name, []), first.first_byte.get(name, [])
    counts = [max(0.0, c - (before[i] if i < len(before) else 0.0)) for i, c in enumerate(cells)]
    return MirrorTraffic(
        name,
        requests / seconds,
        failed / requests if requests else 0.0,
        requests / total if total else 0.0,
        round(last.in_flight.get(name, 0.0)),
        quantile(counts, last.bounds, 0.5),
        quantile(counts, last.bounds, 0.95),
    )


def quantile(counts: Sequence[float], bounds: Sequence[float], part: float) -> float | None:
    """The value that this part stays under, as Prometheus' `histogram_quantile` estimates it.

    `counts` has one more item than `bounds`: what is above the last. None where nothing is counted.
    """
    total = sum(counts)
    if not total:
        return None
    sums = list(accumulate(counts))
    place = next(i for i, reached in enumerate(sums) if reached >= part * total)
    if place >= len(bounds):
        return bounds[-1] if bounds else None
    low = bounds[place - 1] if place else 0.0
    missing = part * total - (sums[place - 1] if place else 0.0)
    return low + (bounds[place] - low) * missing / counts[place]


def _more(first: Mapping[str, float], last: Mapping[str, float]) -> dict[str, float]:
    """The growth of counters; those of a removed mirror begin anew."""
    return {name: max(0.0, value - first.get(name, 0.0)) for name, value in last.items()}


def _look_at(series: Callable[[], Counted], at: float) -> _Look:
    return _look(series(), at)


def _look(series: Counted, at: float) -> _Look:
    look = _Look(at)
    for family, labels, cells, _ in series:
        name, values = family.name, dict(zip(family.labels, labels, strict=True))
        mirror = values.get("mirror", "")
        if name == "mirrorgate_requests":
            look.requests[mirror] += cells[0]
            if values["outcome"] not in _GOOD:
                look.failed[mirror] += cells[0]
        elif name == "mirrorgate_time_to_first_byte_seconds":
            known = look.first_byte.get(mirror, [0.0] * (len(cells) - 1))
            look.first_byte[mirror] = [a + b for a, b in zip(known, cells[:-1], strict=True)]
            look.bounds = family.buckets
        elif name == "mirrorgate_requests_in_flight":
            look.in_flight[mirror] += cells[0]
        elif name == "mirrorgate_requests_rescued":
            look.rescued += cells[0]
        elif name == "mirrorgate_rejected_requests":
            look.rejected += cells[0]
        elif name == "mirrorgate_requests_queued":
            look.queued += cells[0]
        elif name == "mirrorgate_client_connections":
            look.connections += cells[0]
    return look
