"""Uptime: accounts of time by state, and their arithmetic. Pure."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta, tzinfo
from zoneinfo import ZoneInfo

from monitor.health.snapshot import State

HOUR = 3600
FIVE_MINUTES = 300
DAY = 86400

WINDOWS = {"24h": DAY, "7d": 7 * DAY, "30d": 30 * DAY, "90d": 90 * DAY}
"""The windows of uptime, in seconds."""

KNOWN_STATES = (State.up, State.degraded, State.down, State.maintenance)
ENOUGH_COVERAGE = 10
"""Percent of a window that must be known before a percentage is told of it: less says nothing."""
SLACK = 1000
"""A bucket that lacks at most a 1000th is whole: lengths come from a clock that is not adjusted,
bounds from one that is, by up to 500 ppm (NTP's slew, RFC 5905 section 11.3)."""


@dataclass(frozen=True, slots=True)
class Known:
    """Known time of a mirror in a stretch of time, in milliseconds."""

    up: int = 0
    degraded: int = 0
    down: int = 0
    maintenance: int = 0
    covered: int = 0
    """How much of the calendar is known: never more than `total`, wherever the clock jumped."""
    total: int = 0
    """The length of the stretch by the calendar."""

    def __add__(self, other: Known) -> Known:
        return Known(
            self.up + other.up,
            self.degraded + other.degraded,
            self.down + other.down,
            self.maintenance + other.maintenance,
            self.covered + other.covered,
            self.total + other.total,
        )

    @property
    def unknown(self) -> int:
        """The milliseconds that nobody can say anything about."""
        return self.total - self.covered

    @property
    def uptime(self) -> str | None:
        """The share of time up, in percent; None when nothing is known."""
        good = self.up + self.degraded
        return percent(good, good + self.down)

    @property
    def told(self) -> str | None:
        """The uptime of a window as people are told it; None where too little of it is known."""
        return self.uptime if 100 * self.covered >= ENOUGH_COVERAGE * self.total else None

    @property
    def coverage(self) -> str | None:
        """The share of time known, in percent; None for no time at all."""
        return percent(self.covered, self.total)


def percent(part: int, whole: int) -> str | None:
    """`part` of `whole` in percent with two decimals, rounded down; None without a whole.

    "100" only when nothing is missing, "0" only when there is nothing.
    """
    if whole <= 0:
        return None
    part = min(max(part, 0), whole)
    if part in (0, whole):
        return "100" if part else "0"
    hundredths = 10_000 * part // whole
    return f"{hundredths // 100}.{hundredths % 100:02}" if hundredths else "<0.01"


def covered(known: int, length: int) -> int:
    """Part of a bucket of `length` that so many known milliseconds cover."""
    return length if known >= enough(length) else max(known, 0)


def enough(length: int) -> int:
    """Milliseconds known that make a bucket of this length whole."""
    return length - length // SLACK


def of_bucket(times: Sequence[int], length: int) -> Known:
    """One bucket of `length`: `times` are those of KNOWN_STATES."""
    up, degraded, down, maintenance = times
    return Known(up, degraded, down, maintenance, covered(sum(times), length), length)


def total(parts: Iterable[Known]) -> Known:
    """All of them together."""
    return sum(parts, Known())


def begin_of_window(name: str, now: float) -> int:
    """The beginning of a window that ends now: at the first whole bucket in it."""
    size = FIVE_MINUTES if name == "24h" else HOUR
    return -(-int(now - WINDOWS[name]) // size) * size


def day_starts(now: float, zone: str, count: int) -> tuple[str, list[int]]:
    """The bounds of the last `count` days, today last, and the zone that they are days of.

    Hours are kept, so days can be told for a zone whose midnights are on one; else for UTC.
    """
    starts = _midnights(now, ZoneInfo(zone), count)
    if any(start % HOUR for start in starts):
        return "UTC", _midnights(now, UTC, count)
    return zone, starts


def _midnights(now: float, zone: tzinfo, count: int) -> list[int]:
    today = datetime.fromtimestamp(now, zone).date()
    days = (today - timedelta(days=count - 1 - n) for n in range(count + 1))
    return [int(datetime(d.year, d.month, d.day, tzinfo=zone).timestamp()) for d in days]


LONGEST_SILENCE = 30.0
"""Seconds without a look after which nobody can say what was in between."""
REMEMBERED = 1800.0
"""Seconds for which stretches can still be booked over."""
SAME_MOMENT = 0.5
"""Seconds by which the two clocks may drift apart within one stretch without it being a jump."""


@dataclass(frozen=True, slots=True)
class Credit:
    """So many milliseconds of a state, from a moment on; negative where they are taken back."""

    mirror_id: str
    vantage: str
    start: float
    """Seconds since the epoch."""
    milliseconds: int
    state: State

    def by_bucket(self, size: int) -> Iterator[tuple[int, int]]:
        """The buckets of `size` seconds that it falls into, and its milliseconds in each."""
        at, end = round(self.start * 1000), round(self.start * 1000) + abs(self.milliseconds)
        sign = 1 if self.milliseconds >= 0 else -1
        while at < end:
            bucket = at // (size * 1000) * size
            until = min(end, (bucket + size) * 1000)
            yield bucket, sign * (until - at)
            at = until


@dataclass(frozen=True, slots=True)
class _Stretch:
    start: float
    seconds: float
    state: State

    @property
    def end(self) -> float:
        return self.start + self.seconds


class Account:
    """The time of one mirror since it is watched."""

    def __init__(
        self, mirror_id: str, vantage: str, state: State, now: float, monotonic: float
    ) -> None:
        self._mirror_id = mirror_id
        self._vantage = vantage
        self.state = state
        self._now = now
        self._monotonic = monotonic
        self._past: deque[_Stretch] = deque()
        self._remembered = 0.0

    def __repr__(self) -> str:
        return f"<Account {self._mirror_id} {self.state}>"

    def credit(self, now: float, monotonic: float) -> list[Credit]:
        """The time since the last look goes to the state that held."""
        seconds = min(max(0.0, monotonic - self._monotonic), LONGEST_SILENCE)
        stretch = _Stretch(self._now, seconds, self.state)
        self._now, self._monotonic = now, monotonic
        self._remember(stretch)
        return self._booked(stretch)

    def change(self, state: State, since: float, now: float, monotonic: float) -> list[Credit]:
        """Another state holds from `since` on, at the earliest from where the last one began."""
        credits = self.credit(now, monotonic)
        old, self.state = self.state, state
        moved: list[_Stretch] = []
        while (last := self._last_of(old, moved)) is not None and last.end > since:
            self._past.pop()
            if last.start < since:
                self._past.append(replace(last, seconds=since - last.start))
                last = _Stretch(since, last.end - since, old)
            moved.append(last)
        for stretch in reversed(moved):
            self._past.append(replace(stretch, state=state))
            credits.extend(self._booked(stretch, -1))
            credits.extend(self._booked(replace(stretch, state=state)))
        return credits

    def _last_of(self, state: State, moved: list[_Stretch]) -> _Stretch | None:
        """The newest stretch that is left, if it is of this state and the clock did not jump."""
        last = self._past[-1] if self._past else None
        if last is None or last.state is not state:
            return None
        following = moved[-1].start if moved else self._now
        return last if abs(following - last.end) <= SAME_MOMENT else None

    def _remember(self, stretch: _Stretch) -> None:
        if stretch.seconds > 0:
            self._past.append(stretch)
        self._remembered += stretch.seconds
        while self._remembered > REMEMBERED and len(self._past) > 1:
            self._remembered -= self._past.popleft().seconds

    def _booked(self, stretch: _Stretch, sign: int = 1) -> list[Credit]:
        """Milliseconds, from bound to bound, so that what is taken back is what was given."""
        length = round(stretch.end * 1000) - round(stretch.start * 1000)
        if stretch.state is State.unknown or length <= 0:
            return []
        return [Credit(self._mirror_id, self._vantage, stretch.start, sign * length, stretch.state)]
