"""Renderings of pages: kept by canonical form, made one at a time and beside all other work.

Pages are made on the event loop that also runs probes, bans and the feeds of workers. So a page is
made in short steps, and after each the loop is left alone for some times as long: whatever visitors
ask for, pages take a fixed share of the process, and nothing else waits longer than one step.
"""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Any, TypeVar, cast

from dashboard.common.answers import Answer
from dashboard.common.steps import STEP, Steps

T = TypeVar("T")

KEPT = 256
"""Answers kept: pages times languages, one for every node, and pages of long lists."""
MOST_WAITING = 64
"""Answers that are made or wait for that."""
PATIENCE = 15.0
"""Seconds that a reader waits for one: the first of a long page took six where fourteen processes
wanted each of two cores."""
REST = 3.0
"""Times as long as a step took that the loop is left alone after it: pages get a quarter of it."""


class Busy(Exception):
    """An answer cannot be made now; the reader should come back later."""


class Renderings:
    """Renderings, or their prepared parts: made once a second at most."""

    def __init__(
        self, clock: Callable[[], float], pace: Callable[[], float] = time.perf_counter
    ) -> None:
        """`pace`: measures how long steps take."""
        self.clock = clock
        self._pace = pace
        self._answers: OrderedDict[Hashable, tuple[int, Answer]] = OrderedDict()
        self._values: dict[Hashable, tuple[object, Any]] = {}
        self._making: dict[Hashable, asyncio.Task[Answer]] = {}
        self._turn = asyncio.Lock()
        self._free_at = 0.0

    def __repr__(self) -> str:
        return f"<Renderings {len(self._answers)} kept, {len(self._making)} in the making>"

    def value(self, key: str, state: Hashable, make: Callable[[], T]) -> T:
        """Return a part that all pages need, made anew when `state` is another. `key` is one of a
        few."""
        known = self._values.get(key)
        if known is None or known[0] != state:
            known = self._values[key] = (state, make())
        return cast(T, known[1])

    def at_once(self, key: Hashable, make: Callable[[float], Answer]) -> Answer:
        """A small answer, which nobody has to wait for."""
        now = self.clock()
        kept = self._kept(key)
        if kept is None or kept[0] != int(now):
            kept = self._keep(key, int(now), make(now))
        return kept[1]

    async def get(self, key: Hashable, make: Callable[[float], Steps[Answer]]) -> Answer:
        """The answer of this second; the last one where too many others are made. Raises Busy.

        `key` is the canonical form of what is asked: all that the answer depends on, and nothing
        that a visitor can vary without changing it.
        """
        kept = self._kept(key)
        if kept is not None and kept[0] == int(self.clock()):
            return kept[1]
        try:
            return await self._made(key, make)
        except Busy:
            if kept is None:
                raise
            return kept[1]

    async def close(self) -> None:
        """Make nothing more."""
        tasks = list(self._making.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _made(self, key: Hashable, make: Callable[[float], Steps[Answer]]) -> Answer:
        """Several readers wait for the same one, and it is finished even if they leave."""
        task = self._making.get(key)
        if task is None:
            if len(self._making) >= MOST_WAITING:
                raise Busy
            task = asyncio.create_task(self._make(key, make), name="page")
            self._making[key] = task
            task.add_done_callback(lambda done: self._finished(key, done))
        try:
            return await asyncio.wait_for(asyncio.shield(task), PATIENCE)
        except TimeoutError:
            raise Busy from None

    def _finished(self, key: Hashable, task: asyncio.Task[Answer]) -> None:
        del self._making[key]
        if not task.cancelled():
            task.exception()  # told to those who wait; there may be none left

    async def _make(self, key: Hashable, make: Callable[[float], Steps[Answer]]) -> Answer:
        async with self._turn:
            now = self.clock()
            steps = make(now)
            while True:
                await asyncio.sleep(max(0.0, self._free_at - self._pace()))
                began = self._pace()
                try:
                    while self._pace() - began < STEP:
                        next(steps)
                except StopIteration as done:
                    return self._keep(key, int(now), done.value)[1]
                finally:
                    ended = self._pace()
                    self._free_at = ended + REST * (ended - began)

    def _kept(self, key: Hashable) -> tuple[int, Answer] | None:
        kept = self._answers.get(key)
        if kept is not None:
            self._answers.move_to_end(key)
        return kept

    def _keep(self, key: Hashable, second: int, answer: Answer) -> tuple[int, Answer]:
        self._answers[key] = kept = (second, answer)
        self._answers.move_to_end(key)
        if len(self._answers) > KEPT:
            self._answers.popitem(last=False)
        return kept
