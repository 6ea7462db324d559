"""Time that passes only as far as a test lets it: a catalogue's minutes in moments, to the second.

    time = PassingTime()
    road = Road(mirrors, wheel=time.wheel, clock=time.now)
    answer = await time.through(road.ask(…))        # 30 s of silence pass in it

Everything must run in this event loop, on sockets of this machine: between two steps of the clock
the loop turns so often that what was sent has been read and answered.
"""

from __future__ import annotations

import asyncio
import heapq
import itertools
from collections.abc import Coroutine
from typing import Any, TypeVar

from router.wire.timer_wheel import TimerWheel

T = TypeVar("T")
STEP = 0.1
"""Seconds; a tick of the wheel."""
TURNS = 50
"""Of the loop, between two steps: two attempts on new connections take about thirty."""


class PassingTime:
    """A monotonic clock with its wheel and its sleepers."""

    def __init__(self, begins: float = 1000.0) -> None:
        self._now = begins
        self._sleepers: list[tuple[float, int, asyncio.Future[None]]] = []
        self._order = itertools.count()
        self.wheel = TimerWheel(self.now)

    def now(self) -> float:
        """Seconds."""
        return self._now

    async def sleep(self, seconds: float) -> None:
        """Wait until so much of this time has passed."""
        woken: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        heapq.heappush(self._sleepers, (self._now + seconds, next(self._order), woken))
        await woken

    async def through(self, work: Coroutine[Any, Any, T]) -> T:
        """The result of what takes this time."""
        task = asyncio.ensure_future(work)
        try:
            while not await self._settled(task):
                self._step()
        finally:
            task.cancel()
        return task.result()

    async def pass_by(self, seconds: float) -> None:
        """Let so much of it pass."""
        await self.through(self.sleep(seconds))

    @staticmethod
    async def _settled(task: asyncio.Future[Any]) -> bool:
        for _ in range(TURNS):
            if task.done():
                return True
            await asyncio.sleep(0)
        return task.done()

    def _step(self) -> None:
        self._now += STEP
        while self._sleepers and self._sleepers[0][0] <= self._now:
            _, _, woken = heapq.heappop(self._sleepers)
            if not woken.done():
                woken.set_result(None)
        self.wheel.tick()
