"""The clock of tests: time passes only as far as a test lets it, minutes in moments.

    clock = ManualClock()
    plane = DataPlane(mirrors, wheel=clock.wheel, clock=clock)
    answer = await clock.run(plane.ask(…))        # 30 s of silence pass in it

What `run` and `elapse` move must run in this event loop, on sockets of this machine: between two
steps of the clock the loop turns so often that what was sent has been read and answered.
"""

from __future__ import annotations

import asyncio
import heapq
import itertools
import time
from collections.abc import Coroutine
from typing import Any, TypeVar

from router.wire.timer_wheel import TimerWheel

T = TypeVar("T")
STEP = 0.1
"""Seconds; a tick of the wheel."""
TURN = 10
"""Ticks after which a wheel has looked at every deadline."""
LOOPS = 50
"""Turns of the loop between two steps: two attempts on new connections take about thirty."""


class ManualClock:
    """A monotonic clock, its wheel and its sleepers; `running`: it goes on by itself besides."""

    def __init__(self, now: float = 1000.0, *, running: bool = False) -> None:
        self._origin = time.monotonic if running else lambda: now
        self._ahead = 0.0
        self._sleepers: list[tuple[float, int, asyncio.Future[None]]] = []
        self._order = itertools.count()
        self.wheel = TimerWheel(self)

    def __call__(self) -> float:
        return self._origin() + self._ahead

    @property
    def now(self) -> float:
        """The time in seconds; it can be set."""
        return self()

    @now.setter
    def now(self, moment: float) -> None:
        self._ahead += moment - self()

    def advance(self, seconds: float, ticks: int = TURN) -> None:
        """Let so much time pass at once; every deadline in it is noticed."""
        self._ahead += seconds
        while self._sleepers and self._sleepers[0][0] <= self():
            _, _, woken = heapq.heappop(self._sleepers)
            if not woken.done():
                woken.set_result(None)
        for _ in range(ticks):
            self.wheel.tick()

    async def sleep(self, seconds: float) -> None:
        """Wait until so much of this time has passed."""
        woken: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        heapq.heappush(self._sleepers, (self() + seconds, next(self._order), woken))
        await woken

    async def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Let time pass step by step until the work is done, and return its result."""
        task = asyncio.ensure_future(work)
        try:
            while not await self._settled(task):
                self.advance(STEP, ticks=1)
        finally:
            task.cancel()
        return task.result()

    async def elapse(self, seconds: float) -> None:
        """Let so much time pass step by step."""
        await self.run(self.sleep(seconds))

    @staticmethod
    async def _settled(task: asyncio.Future[Any]) -> bool:
        for _ in range(LOOPS):
            if task.done():
                return True
            await asyncio.sleep(0)
        return task.done()
