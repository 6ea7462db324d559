"""Diagnoses that operators asked for: one at a time for a mirror, and a few in all."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from functools import partial

from dashboard.common.sources import CommandError, Inspected
from dashboard.i18n.faults import Fault
from monitor.common.config import MirrorConfig, MonitorConfig
from monitor.common.tasks import Tasks
from monitor.diagnosis.timing import NORMAL
from monitor.engine.diagnose import inspector

MOST = 4
"""Diagnoses at a time."""
WITHIN = 120.0
"""Seconds that one may take, the test for a block included."""
KEPT = 200


class Inspections:
    """The last diagnosis of each mirror."""

    def __init__(self, tasks: Tasks, clock: Callable[[], float] = time.time) -> None:
        self.known: dict[str, Inspected] = {}
        self._tasks = tasks
        self._clock = clock

    def __repr__(self) -> str:
        return f"<Inspections {len(self.known)} known>"

    def begin(self, mirror: MirrorConfig, config: MonitorConfig) -> None:
        """Diagnose a mirror; `known` has the steps as they arrive. Raises CommandError."""
        running = [each for each in self.known.values() if each.ended is None]
        if any(each.mirror == mirror.id for each in running):
            raise CommandError("probed", mirror=mirror.id)
        if len(running) >= MOST:
            raise CommandError("probing", count=MOST)
        self.known.pop(mirror.id, None)
        while len(self.known) >= KEPT:
            del self.known[next(iter(self.known))]
        seen = self.known[mirror.id] = Inspected(mirror.id, self._clock())
        self._tasks.job("an inspection", partial(self._inspect, seen, mirror, config))

    async def _inspect(self, seen: Inspected, mirror: MirrorConfig, config: MonitorConfig) -> None:
        seen.problem = Fault("failed")
        try:
            async with (
                asyncio.timeout(WITHIN),
                inspector(config, NORMAL, seen.said.append, saw=seen.steps.append) as by,
            ):
                seen.found = await by.inspect(mirror)
            seen.problem = None
        except TimeoutError:
            seen.problem = Fault("late", seconds=f"{WITHIN:g}")
        finally:
            seen.ended = self._clock()
