"""A clock that jumps to the next thing that happens."""

from __future__ import annotations

import heapq
from collections.abc import Callable


class World:
    """Virtual time, and what is to happen in it."""

    def __init__(self) -> None:
        self.now = 0.0
        self._agenda: list[tuple[float, int, Callable[[], None]]] = []
        self._count = 0

    def after(self, seconds: float, what: Callable[[], None]) -> None:
        """Let something happen in so many seconds; what is simultaneous keeps its order."""
        self._count += 1
        heapq.heappush(self._agenda, (self.now + seconds, self._count, what))

    def run(self, until: float = float("inf")) -> None:
        """Let everything happen up to this time, or until nothing is left."""
        while self._agenda and self._agenda[0][0] <= until:
            self.now, _, what = heapq.heappop(self._agenda)
            what()
        self.now = max(self.now, until) if until < float("inf") else self.now
