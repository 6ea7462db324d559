"""What is remembered of addresses between probes: their round trips, and which controls work."""

from __future__ import annotations

from collections import deque

from monitor.diagnosis.pace import Pace

_KEPT = 5
"""Connects whose least time is taken for the round trip."""
_MOST = 4096


class RoundTrips:
    """The least time of the last five connects to each address, in seconds."""

    def __init__(self) -> None:
        self._seconds: dict[str, deque[float]] = {}

    def add(self, address: str, seconds: float) -> None:
        """A connect has succeeded in this time."""
        kept = self._seconds.pop(address, None) or deque(maxlen=_KEPT)
        kept.append(seconds)
        self._seconds[address] = kept
        if len(self._seconds) > _MOST:
            del self._seconds[next(iter(self._seconds))]

    def of(self, address: str) -> float | None:
        """The round trip, None if nothing has connected yet."""
        return min(kept) if (kept := self._seconds.get(address)) else None


class Baseline:
    """Which control names have been answered at which addresses, and when.

    Some servers cut off names that they do not serve; such a control says nothing there.
    """

    def __init__(self, pace: Pace) -> None:
        self._pace = pace
        self._answered: dict[tuple[str, str], float | None] = {}

    def vouches(self, address: str, control: str, answered: bool, now: float) -> bool:
        """Take a result; whether it may be used: the first one, or within a day of a good one."""
        first = (address, control) not in self._answered
        last = now if answered else self._answered.pop((address, control), None)
        self._answered[address, control] = last
        if len(self._answered) > _MOST:
            del self._answered[next(iter(self._answered))]
        return first or (last is not None and now - last <= self._pace.control_baseline)
