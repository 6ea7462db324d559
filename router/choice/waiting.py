"""Callers in line while every mirror that could serve them is full: first come, first served.

Bounded in number and in time; of a full line the client with most places may have to give one to
another client. Whoever waits is known by a place, which is given back whatever ends
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

    __slots__ = ("_clients", "_counts", "_earliest", "_line", "max_wait", "max_waiting")

    def __init__(self, max_waiting: int, max_wait: float) -> None:
        self.max_waiting = max_waiting
        self.max_wait = max_wait
        self._line: OrderedDict[T, float] = OrderedDict()
        self._clients: dict[T, bytes] = {}
        self._counts: dict[bytes, int] = {}
        """Places of each client."""
        self._earliest = float("inf")
        """Nobody's time is over before this."""

    def __repr__(self) -> str:
        return f"<WaitingLine {len(self)} of {self.max_waiting}>"

    def __len__(self) -> int:
        return len(self._line)

    def __contains__(self, who: T) -> bool:
        return who in self._line

    def join(self, who: T, now: float, ends_at: float = float("inf"), client: bytes = b"") -> bool:
        """Stand at the end, until `ends_at` or for `max_wait`; False when the line is full."""
        if len(self._line) >= self.max_waiting:
            return False
        deadline = min(now + self.max_wait, ends_at)
        self._line[who] = deadline
        self._clients[who] = client
        self._counts[client] = self._counts.get(client, 0) + 1
        self._earliest = min(self._earliest, deadline)
        return True

    def leave(self, who: T) -> bool:
        """Stand in line no more; False if they did not."""
        if self._line.pop(who, None) is None:
            return False
        client = self._clients.pop(who)
        self._counts[client] -= 1
        if not self._counts[client]:
            del self._counts[client]
        return True

    def make_room(self, client: bytes) -> T | None:
        """Take out the newest of the client with most places, if that has two more than this one;
        so this one may join without having more than the other."""
        most = max(self._counts, key=self._counts.__getitem__, default=client)
        if self._counts.get(most, 0) < self._counts.get(client, 0) + 2:
            return None
        newest = next(who for who in reversed(self._line) if self._clients[who] == most)
        self.leave(newest)
        return newest

    def next(self, serve: Callable[[T], bool]) -> T | None:
        """Take out the first who could be served; who could not keeps the place."""
        for who in list(islice(self._line, LOOK)):
            if serve(who):
                self.leave(who)
                return who
        return None

    def expired(self, now: float) -> list[T]:
        """Take out those who have waited too long. Costs nothing while nobody has."""
        if now < self._earliest:
            return []
        over = [who for who, deadline in self._line.items() if deadline <= now]
        for who in over:
            self.leave(who)
        self._earliest = min(self._line.values(), default=float("inf"))
        return over
