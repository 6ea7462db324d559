"""The queue of requests while every mirror that fits is full: fair between clients, bounded."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Callable
from itertools import islice
from typing import Generic, Protocol, TypeVar

from router.balancing.config import QueueConfig
from router.upstream.limiter import RECHECK
from router.wire.faults import contained, guarded, report_fault

T = TypeVar("T")

_WEIGHT = 0.1
"""Of the newest wait, in what waiting usually takes."""
LOOK = 64
"""Requests that are tried when a mirror has room: those in front may fit other mirrors only, and
must not hold up all others."""


class FairQueue(Generic[T]):
    """A queue that is fair between clients."""

    __slots__ = (
        "_clients",
        "_counts",
        "_earliest",
        "_line",
        "_since",
        "_usual",
        "max_wait",
        "max_waiting",
    )

    def __init__(self, max_waiting: int, max_wait: float) -> None:
        self.max_waiting = max_waiting
        self.max_wait = max_wait
        self._line: OrderedDict[T, float] = OrderedDict()
        self._since: dict[T, float] = {}
        """When each came."""
        self._usual: float | None = None
        """Seconds that those who left it last have waited, the newest weighing most."""
        self._clients: dict[T, bytes] = {}
        self._counts: dict[bytes, int] = {}
        """Places of each client."""
        self._earliest = float("inf")
        """No request has waited too long before this."""

    def __repr__(self) -> str:
        return f"<FairQueue {len(self)} of {self.max_waiting}>"

    def __len__(self) -> int:
        return len(self._line)

    def __contains__(self, who: T) -> bool:
        return who in self._line

    def join(self, who: T, now: float, client: bytes = b"") -> bool:
        """Stand at the end, for `max_wait` as it is now; False when the line is full."""
        if len(self._line) >= self.max_waiting:
            return False
        deadline = now + self.max_wait
        self._line[who] = deadline
        self._since[who] = now
        self._clients[who] = client
        self._counts[client] = self._counts.get(client, 0) + 1
        self._earliest = min(self._earliest, deadline)
        return True

    def leave(self, who: T) -> bool:
        """Remove a request; False if it was not in the queue."""
        if self._line.pop(who, None) is None:
            return False
        del self._since[who]
        client = self._clients.pop(who)
        self._counts[client] -= 1
        if not self._counts[client]:
            del self._counts[client]
        return True

    def place(self, who: T) -> int:
        """The place of one of them, from 1; 0 for who is not there."""
        if who not in self._line:
            return 0
        return next(at for at, other in enumerate(self._line, 1) if other == who)

    def wait(self, now: float) -> float:
        """Seconds that waiting takes, as far as that is known: what it took lately, and not less
        than the first has waited; 0 if nobody has."""
        first = next(iter(self._line), None)
        waited = now - self._since[first] if first is not None else 0.0
        return max(waited, self._usual or 0.0)

    def _waited(self, waited: float) -> None:
        """One has come to the end of the wait, with or without room."""
        usual = waited if self._usual is None else self._usual
        self._usual = usual + _WEIGHT * (waited - usual)

    def make_room(self, client: bytes) -> T | None:
        """Take out the newest of the client with most places, if that has two more than this one;
        so this one may join without having more than the other."""
        most = max(self._counts, key=self._counts.__getitem__, default=client)
        if self._counts.get(most, 0) < self._counts.get(client, 0) + 2:
            return None
        newest = next(who for who in reversed(self._line) if self._clients[who] == most)
        self.leave(newest)
        return newest

    def next(self, serve: Callable[[T], bool], now: float) -> T | None:
        """Take out the first that can be served; those before it keep their places."""
        for who in list(islice(self._line, LOOK)):
            since = self._since.get(who, now)
            if serve(who):
                self._waited(now - since)
                self.leave(who)
                return who
        return None

    def expired(self, now: float) -> list[T]:
        """Take out those who have waited too long. Costs nothing while nobody has."""
        if now < self._earliest:
            return []
        over = [who for who, deadline in self._line.items() if deadline <= now]
        for who in over:
            self._waited(now - self._since[who])
            self.leave(who)
        self._earliest = min(self._line.values(), default=float("inf"))
        return over


class QueuedRequest(Protocol):
    """A request that waits."""

    def go_on(self) -> bool:
        """Ask for room again; False if there is none yet."""

    def waited_too_long(self) -> None:
        """There was no room in time."""

    def abort(self) -> None:
        """End at once: one of the others has raised."""


class RequestQueue:
    """The queue of one worker."""

    def __init__(self, queue: QueueConfig) -> None:
        self._waiting: FairQueue[QueuedRequest] = FairQueue(queue.max_waiting, queue.max_wait)
        self._timer: asyncio.TimerHandle | None = None

    def __repr__(self) -> str:
        return f"<RequestQueue of {len(self)}>"

    def __len__(self) -> int:
        return len(self._waiting)

    def configure(self, queue: QueueConfig) -> None:
        """Take new settings; requests that wait already keep their time."""
        self._waiting.max_waiting, self._waiting.max_wait = queue.max_waiting, queue.max_wait

    def join(self, who: QueuedRequest, client: bytes) -> bool:
        """Add a request of a client (`Client.key`) at the end; False when the queue is full and no
        other has to give way."""
        loop = asyncio.get_running_loop()
        if not self._waiting.join(who, loop.time(), client=client):
            other = self._waiting.make_room(client)
            if other is None:
                return False
            other.waited_too_long()
            self._waiting.join(who, loop.time(), client=client)
        if self._timer is None:
            self._timer = loop.call_later(RECHECK, self._look)
        return True

    def leave(self, who: QueuedRequest) -> None:
        """Remove a request."""
        self._waiting.leave(who)

    def place(self, who: QueuedRequest) -> int:
        """The place of a request, from 1; 0 if it does not wait."""
        return self._waiting.place(who)

    @property
    def wait(self) -> float:
        """Seconds that waiting takes, as it was lately; 0 if nobody has waited."""
        return self._waiting.wait(asyncio.get_running_loop().time())

    def _look(self) -> None:
        loop = asyncio.get_running_loop()
        self._timer = None
        for who in self._waiting.expired(loop.time()):
            guarded("the queue", who.waited_too_long, who.abort)
        while self._waiting.next(_go_on, loop.time()) is not None:
            pass
        if self._waiting and self._timer is None:
            self._timer = loop.call_later(RECHECK, self._look)


def _go_on(who: QueuedRequest) -> bool:
    try:
        return who.go_on()
    except Exception as error:  # it must not hold up those behind it
        report_fault("the queue", error)
        contained("the queue", who.abort)
        return True
