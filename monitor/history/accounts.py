"""Whose time was spent how: the account of one mirror. Pure, with both clocks handed in.

Lengths come from the monotonic clock, so a jump of the wall clock neither makes time nor loses
any; the wall clock only says where in the calendar a stretch belongs. A stretch that nobody
watched, as while the process was stopped, is credited to nothing: it is unknown.

A failure counts from its first bad probe, though it is believed only later. So what was credited
meanwhile is booked over: `change` takes it from the old state and gives it to the new one.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, replace

from monitor.health.board import State

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
