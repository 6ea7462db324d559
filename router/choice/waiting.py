"""Callers in line while every mirror that could serve them is full: first come, first served.

Bounded in number and in time. Whoever waits is known by a place, which is given back whatever ends
the wait; so nobody is served who has left.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from itertools import islice
from typing import Generic, TypeVar

T = TypeVar("T")

LOOK = 64
"""How many of the line are asked when a mirror has room: those in front may fit other mirrors only,
and must not hold up everybody else."""


class WaitingLine(Generic[T]):
    """One worker's line."""

    __slots__ = ("_earliest", "_line", "max_wait", "max_waiting")

    def __init__(self, max_waiting: int, max_wait: float) -> None:
        self.max_waiting = max_waiting
        self.max_wait = max_wait
        self._line: OrderedDict[T, float] = OrderedDict()
        self._earliest = float("inf")
        """Nobody's time is over before this."""

    def __repr__(self) -> str:
        return f"<WaitingLine {len(self)} of {self.max_waiting}>"

    def __len__(self) -> int:
        return len(self._line)

    def __contains__(self, who: T) -> bool:
        return who in self._line

    def join(self, who: T, now: float, ends_at: float = float("inf")) -> bool:
        """Stand at the end, until `ends_at` or for `max_wait`; False when the line is full."""
        if len(self._line) >= self.max_waiting:
            return False
        deadline = min(now + self.max_wait, ends_at)
        self._line[who] = deadline
        self._earliest = min(self._earliest, deadline)
        return True

    def leave(self, who: T) -> bool:
        """Stand in line no more; False if they did not."""
        return self._line.pop(who, None) is not None

    def next(self, serve: Callable[[T], bool]) -> T | None:
        """Take out the first who could be served; who could not keeps the place."""
        for who in list(islice(self._line, LOOK)):
            if serve(who):
                self._line.pop(who, None)
                return who
        return None

    def expired(self, now: float) -> list[T]:
        """Take out those who have waited too long. Costs nothing while nobody has."""
        if now < self._earliest:
            return []
        over = [who for who, deadline in self._line.items() if deadline <= now]
        for who in over:
            del self._line[who]
        self._earliest = min(self._line.values(), default=float("inf"))
        return over
