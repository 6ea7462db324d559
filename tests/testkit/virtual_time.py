"""An event loop whose time passes only while nothing happens: minutes of waiting in moments.

    with virtual_time() as run:
        run(watch_for_an_hour())

Sockets of this machine are real, and served within the same loop: whatever can be read is read
before time goes on. So are threads: time stands still while one works for the loop. What takes
time by itself, as the way of a packet does, takes none here.
"""

from __future__ import annotations

import asyncio
import contextlib
import selectors
import time
from collections.abc import Callable, Coroutine, Iterator
from typing import Any, TypeVar
from unittest import mock

from monitor.probes.stream import PlainStream

T = TypeVar("T")
Ready = list[tuple[selectors.SelectorKey, int]]
START = 100_000.0
IDLE = 0.0005
"""Seconds of real time without an event after which there will be none: the loopback device hands
packets over within microseconds."""
BUSY = 0.01
"""Seconds for which a working thread is waited for at once."""


class _Selector(selectors.DefaultSelector):
    """Looks for events, and lets time pass when there are none."""

    def __init__(self) -> None:
        super().__init__()
        self.now = START
        self.threads = 0
        """How many work for the loop."""

    def select(self, timeout: float | None = None) -> Ready:
        ready: Ready = super().select(0)
        while not ready and (timeout is None or timeout > 0):
            ready = super().select(BUSY if self.threads or timeout is None else IDLE)
            if not ready and timeout is not None and not self.threads:
                self.now += timeout
                break
        return ready


class VirtualLoop(asyncio.SelectorEventLoop):
    """See the module."""

    def __init__(self) -> None:
        self._watched = _Selector()
        super().__init__(self._watched)

    def time(self) -> float:
        return self._watched.now

    def run_in_executor(  # type: ignore[override]
        self, executor: Any, func: Callable[..., T], *args: Any
    ) -> asyncio.Future[T]:
        self._watched.threads += 1
        future = super().run_in_executor(executor, func, *args)
        future.add_done_callback(self._returned)
        return future

    def _returned(self, future: asyncio.Future[Any]) -> None:
        self._watched.threads -= 1


@contextlib.contextmanager
def virtual_time() -> Iterator[Callable[[Coroutine[Any, Any, T]], T]]:
    """Run coroutines in such a loop; what is measured with `time.perf_counter` is its time too.

    The kernel keeps its own: an acknowledgement that it puts off is not one that is lost.
    """
    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        clock = mock.patch.object(time, "perf_counter", runner.get_loop().time)
        with clock, mock.patch.object(PlainStream, "unacknowledged", return_value=0):
            yield runner.run
