"""Troubles of the machine that an instance feels as a whole: a clock that is set, logs that are
full.

A clock that is set makes nothing old: what is kept for a time is not deleted because of it.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable

from monitor.common.durations import roughly
from monitor.common.metric_registry import Family, MetricRegistry

log = logging.getLogger("control")

SMALLEST_STEP = 60.0
"""Seconds; what is less is the work of a time daemon."""
LONGEST_BREAK = 30 * 86400.0
"""Seconds between the last entry of a store and a start, beyond which the clock is doubted."""
STEADY_AFTER = 86400.0
"""Seconds without a step after which the clock is believed again."""
LOOK_EVERY = 1.0
LATELY = 60.0
"""Seconds for which the loss of lines of a log is told."""

CLOCK_STEPS = Family(
    "mirrorgate_clock_steps",
    "counter",
    "Times that the clock of the machine was set by more than a minute",
)
FAMILIES = (CLOCK_STEPS,)


def _since_boot() -> float:
    """Seconds since the machine started, its sleep included."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


class ClockSteps:
    """Compares the wall clock with one that nobody sets, which goes on while a machine sleeps."""

    def __init__(
        self,
        wall: Callable[[], float] = time.time,
        elapsed: Callable[[], float] = _since_boot,
    ) -> None:
        self._wall = wall
        self._elapsed = elapsed
        self._ahead = wall() - elapsed()
        self._doubted_at = float("-inf")
        self._reason = ""

    def recall(self, last: float) -> None:
        """Compare with the newest entry of the store; seconds since the epoch."""
        gone = self._wall() - last
        if not -SMALLEST_STEP <= gone <= LONGEST_BREAK:
            where = f"{roughly(abs(gone))} {'after' if gone > 0 else 'before'}"
            self._doubt(f"this machine's clock is {where} the last entry of the store")

    def look(self) -> float:
        """The seconds that the clock was set by since the last look; 0.0: it was not."""
        step = self._wall() - self._elapsed() - self._ahead
        if abs(step) < SMALLEST_STEP:
            return 0.0
        self._ahead += step
        self._doubt(f"this machine's clock was set {in_words(step)}")
        return step

    @property
    def steady(self) -> bool:
        """True if the clock may be believed to tell how old something is."""
        return self._elapsed() - self._doubted_at >= STEADY_AFTER

    @property
    def doubt(self) -> str:
        """A sentence for the operator; empty while the clock is steady."""
        if self.steady:
            return ""
        left = roughly(self._doubted_at + STEADY_AFTER - self._elapsed())
        return f"{self._reason}: nothing is deleted for its age for {left}; check it (timedatectl)"

    def _doubt(self, reason: str) -> None:
        self._doubted_at, self._reason = self._elapsed(), reason
        log.warning("%s", self.doubt)


class MachineWatch:
    """Looks at the clock and at what logs have lost."""

    def __init__(
        self,
        clock: ClockSteps,
        lost_lines: Callable[[], float],
        on_step: Callable[[], Awaitable[bool]],
        totals: MetricRegistry,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        """`on_step` is called after each step of the clock, until it returns True."""
        self._clock = clock
        self._lost_lines = lost_lines
        self._on_step = on_step
        self._totals = totals
        self._monotonic = monotonic
        self._stepped = False
        self._lost = lost_lines()
        self._lost_at = float("-inf")
        totals.cells(CLOCK_STEPS.name)

    async def run(self) -> None:
        """Look every second, until cancelled."""
        while True:
            await self.look()
            await asyncio.sleep(LOOK_EVERY)

    async def look(self) -> None:
        """Look once."""
        lost = self._lost_lines()
        if lost > self._lost:
            self._lost_at = self._monotonic()
        self._lost = lost
        if self._clock.look():
            self._totals.add(CLOCK_STEPS.name)
            self._stepped = True
        if self._stepped:
            self._stepped = not await self._on_step()

    def sentences(self) -> list[str]:
        """Each says what an operator should look after."""
        found = [self._clock.doubt] if self._clock.doubt else []
        if self._monotonic() - self._lost_at < LATELY:
            found.append(
                f"lines of the log are lost ({self._lost:.0f} so far): they cannot be written, or "
                "not fast enough: look at the disk of log.access and at who reads standard error"
            )
        return found


def in_words(step: float) -> str:
    """A step of a clock: "forward by 1d 2h"."""
    return f"{'forward' if step > 0 else 'back'} by {roughly(abs(step))}"
