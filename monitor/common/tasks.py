"""Supervised tasks of one process: none of them ends unnoticed.

A *service* runs for as long as its owner: after a crash it is started again, after a pause that
grows with crashes in a row. A *job* ends by itself: after a crash its owner goes on without it.
Every crash, and every exception that a callback leaves to the event loop, is logged with its
traceback and counted.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

from monitor.common.metric_registry import Family, MetricRegistry

log = logging.getLogger(__name__)

CRASHES = Family(
    "mirrorgate_task_crashes",
    "counter",
    "Crashes of tasks, which are started again where they have to go on",
    ("task",),
)
UNHANDLED = Family(
    "mirrorgate_unhandled_errors",
    "counter",
    "Exceptions that callbacks of the event loops left unhandled, by kind of process",
    ("process",),
)
FAMILIES = (CRASHES, UNHANDLED)

FIRST_PAUSE = 0.1
LONGEST_PAUSE = 30.0
STEADY = 60.0
"""Seconds after which a crash is not counted as in a row with the one before."""
STOP_WITHIN = 5.0
"""Seconds that cancelled tasks have to end; half of what the supervisor grants a process."""
LOGGED_AT_ONCE = 20
"""Unexpected errors that are logged within `LOG_WINDOW`; more are counted only, so that a client
who can provoke one cannot fill the disk."""
LOG_WINDOW = 60.0

T = TypeVar("T")
Work = Callable[[], Awaitable[None]]


def pause_after(crashes: int, longest: float = LONGEST_PAUSE) -> float:
    """Seconds until the restart after so many crashes in a row, at least one."""
    return float(min(FIRST_PAUSE * 4 ** min(crashes - 1, 10), longest))


class Tasks:
    """Starts tasks, keeps them, and notices how they end."""

    def __init__(
        self,
        totals: MetricRegistry | None = None,
        process: str = "",
        *,
        monotonic: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        """`totals`: where crashes are counted; `process`: the kind of process, a label there."""
        self._totals = totals
        self._process = process
        self._monotonic = monotonic
        self._sleep = sleep
        self._running: set[asyncio.Task[None]] = set()
        self._window = float("-inf")
        self._logged = 0

    def __repr__(self) -> str:
        return f"<Tasks {', '.join(sorted(task.get_name() for task in self._running))}>"

    def service(
        self, name: str, work: Work, *, about: str = "", longest: float = LONGEST_PAUSE
    ) -> asyncio.Task[None]:
        """Run `work` until it returns or the task is cancelled; start it again after a crash.

        `name` is a label of metrics, `about` names the task further; `longest`: seconds between
        two starts.
        """
        if self._totals is not None:
            self._totals.cells(CRASHES.name, (name,))
        return self._start(self._again_and_again(name, work, longest), name, about)

    def job(self, name: str, work: Work, *, about: str = "") -> asyncio.Task[None]:
        """Run `work` once; the task itself never fails."""
        return self._start(self._once(name, work), name, about)

    def crashed(self, name: str, error: BaseException, then: str = "") -> None:
        """Log and count an unexpected exception; `then`: what happens next."""
        if self._totals is not None:
            self._totals.add(CRASHES.name, (name,))
        self._tell(f"{name}: unexpected error{then}", error)

    @contextmanager
    def guarded(self, name: str) -> Iterator[None]:
        """Keep an exception of the block from whoever comes after it."""
        try:
            yield
        except Exception as error:
            self.crashed(name, error)

    def watch(self, loop: asyncio.AbstractEventLoop) -> None:
        """Log and count exceptions that callbacks of this loop leave unhandled."""
        if self._totals is not None:
            self._totals.cells(UNHANDLED.name, (self._process,))
        loop.set_exception_handler(self._unhandled)

    async def stop(self) -> None:
        """Cancel what still runs, and wait for its end, but not for long."""
        await cancelled(self._running)

    def _start(self, work: Coroutine[Any, Any, None], name: str, about: str) -> asyncio.Task[None]:
        task = asyncio.get_running_loop().create_task(work, name=f"{name} {about}".rstrip())
        self._running.add(task)
        task.add_done_callback(self._running.discard)
        return task

    async def _once(self, name: str, work: Work) -> None:
        error = await _run(work)
        if error is not None:
            self.crashed(name, error)

    async def _again_and_again(self, name: str, work: Work, longest: float) -> None:
        crashes = 0
        while True:
            began = self._monotonic()
            error = await _run(work)
            if error is None:
                return
            crashes = crashes + 1 if self._monotonic() - began < STEADY else 1
            pause = pause_after(crashes, longest)
            self.crashed(name, error, f"; it starts again in {pause:.1f} s")
            await self._sleep(pause)

    def _unhandled(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        if self._totals is not None:
            self._totals.add(UNHANDLED.name, (self._process,))
        # What follows "(" are the callback's arguments, which may be bytes of a request.
        what = str(context.get("message", "")).partition("(")[0].strip()
        self._tell(f"event loop: {what or 'error'}", context.get("exception"))

    def _tell(self, what: str, error: BaseException | None) -> None:
        now = self._monotonic()
        if now - self._window >= LOG_WINDOW:
            self._window, self._logged = now, 0
        self._logged += 1
        if self._logged <= LOGGED_AT_ONCE:
            log.error("%s", what, exc_info=error)
        elif self._logged == LOGGED_AT_ONCE + 1:
            log.error("further unexpected errors of this minute are only counted")


async def _run(work: Work) -> BaseException | None:
    """Run to the end; the exception that ended it. A cancellation that nobody asked this task for,
    as of a future that it awaited, is such an exception."""
    try:
        await work()
    except Exception as error:
        return error
    except asyncio.CancelledError as error:
        task = asyncio.current_task()
        if task is None or task.cancelling():
            raise
        return error
    return None


async def cancelled(tasks: Iterable[asyncio.Task[None]], within: float = STOP_WITHIN) -> None:
    """Cancel tasks and wait for their end, at most for so many seconds."""
    waiting = [task for task in tasks if not task.done()]
    for task in waiting:
        task.cancel()
    if waiting:
        _, left = await asyncio.wait(waiting, timeout=within)
        for task in left:
            log.error("%s did not stop", task.get_name())


async def acting_meanwhile(act: Callable[[], object], every: float, step: Awaitable[T]) -> T:
    """Wait for a step, and act at once and every so many seconds until it has ended.

    An exception of `act` ends the acting, and not the step.
    """

    async def go_on() -> None:
        while True:
            act()
            await asyncio.sleep(every)

    acting = asyncio.create_task(go_on())
    try:
        return await step
    finally:
        acting.cancel()
        await asyncio.gather(acting, return_exceptions=True)
