"""Deadlines of everything that waits, looked at once a second: one timer per worker, not per byte.

Whoever waits has a `deadline` on the wheel's clock and may move it at no cost: activity is one
attribute store, with `wheel.now`, which is at most a tick old. A deadline is noticed up to one
turn (1 s) late.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Set
from typing import Final, Protocol

from router.wire.faults import guarded

NEVER: Final = float("inf")
_TICK: Final = 0.1
_SLOTS: Final = 10


class Timed(Protocol):
    """Something with a deadline, in seconds of the wheel's clock."""

    @property
    def deadline(self) -> float:
        """The time by which it has to be looked at."""

    def expired(self) -> None:
        """The deadline has passed; called once per turn until it is moved or removed."""

    def abort(self) -> None:
        """End at once: `expired` has raised."""


class TimerWheel:
    """Keeps deadlines in ten slots and looks at one slot every 100 ms, at crowds once a turn."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self.now = clock()
        self.lag = 0.0
        """Seconds by which the last tick came late: how long the event loop was busy."""
        self.on_tick: Callable[[float], None] = lambda lag: None
        """Gets that of every tick."""
        self._slots: tuple[set[Timed], ...] = tuple(set() for _ in range(_SLOTS))
        self._crowds: list[Set[Timed]] = []
        self._turn = 0
        self._timer: asyncio.TimerHandle | None = None

    def __len__(self) -> int:
        return sum(map(len, (*self._slots, *self._crowds)))

    def start(self, loop: asyncio.AbstractEventLoop) -> None:
        """Begin to turn."""
        self._timer = loop.call_later(_TICK, self._run, loop)

    def stop(self) -> None:
        """Turn no more."""
        if self._timer is not None:
            self._timer.cancel()

    def add(self, item: Timed) -> None:
        """Watch the item's deadline."""
        self._slots[id(item) // 64 % _SLOTS].add(item)

    def remove(self, item: Timed) -> None:
        """Watch it no more; harmless when it is not watched."""
        self._slots[id(item) // 64 % _SLOTS].discard(item)

    def watch(self, crowd: Set[Timed]) -> None:
        """Watch whatever is in this set: for items that come and go with every request, which
        finding their slot would cost 1 µs."""
        self._crowds.append(crowd)

    def tick(self) -> None:
        """Look at the next slot."""
        self.now = self._clock()
        self._turn = (self._turn + 1) % _SLOTS
        self._look(self._slots[self._turn])
        if self._turn == 0:
            for crowd in self._crowds:
                self._look(crowd)

    def _look(self, slot: Set[Timed]) -> None:
        for item in [item for item in slot if item.deadline <= self.now]:
            if item.deadline <= self.now and item in slot:  # not if an earlier one ended it
                guarded("a deadline", item.expired, item.abort)

    def _run(self, loop: asyncio.AbstractEventLoop) -> None:
        before = self.now
        self._timer = loop.call_later(_TICK, self._run, loop)
        self.tick()
        self.lag = max(0.0, self.now - before - _TICK)
        self.on_tick(self.lag)
