"""All numbers of an instance: those of control, added to what the workers report.

Prometheus takes a counter that falls for one that began anew, and counts all of it again: so what
has been exposed is kept before, in a file of the supervisor, and a successor goes on from there.
Living workers tell theirs again; those of ended ones, and of control, are nowhere else.
"""

from __future__ import annotations

import asyncio
import logging
import os
import time
from collections.abc import Callable, Collection, Iterable, Sequence
from threading import Lock
from typing import NoReturn

import msgspec

from dashboard.common.metrics import BANS, LOOP_DELAY, RELOAD_SUCCESSFUL, RELOADED_AT, RELOADS
from dashboard.common.metrics import FAMILIES as DASHBOARD_FAMILIES
from monitor.common.log_writer import dropped_lines
from monitor.common.machine import FAMILIES as MACHINE_FAMILIES
from monitor.common.metric_registry import Frozen, MergedMetrics, MetricRegistry, Series
from monitor.common.process_metrics import FAMILIES as PROCESS_FAMILIES
from monitor.common.process_metrics import RESTARTS, show_process
from monitor.engine.metrics import FAMILIES as MONITOR_FAMILIES
from monitor.notify.metrics import FAMILIES as NOTIFY_FAMILIES
from router.admission.rejection_reports import RULES
from router.cluster.metrics import FAMILIES as CLUSTER_FAMILIES
from router.control.ban_service import BY_OPERATOR
from router.forwarding.metrics import FAMILIES as ROUTER_FAMILIES
from router.forwarding.metrics import LOG_DROPPED, TASKS, begin_at_zero
from router.metering.metrics import KEYS
from router.process.last_lists import LastLists

log = logging.getLogger("control")

FAMILIES = (
    *ROUTER_FAMILIES,
    KEYS,
    *PROCESS_FAMILIES,
    *MACHINE_FAMILIES,
    *MONITOR_FAMILIES,
    *NOTIFY_FAMILIES,
    *CLUSTER_FAMILIES,
    *DASHBOARD_FAMILIES,
)
KEEP_EVERY = 5.0
MEASURE_EVERY = 0.05
"""Seconds between two looks at how late the event loop is."""


class InstanceMetrics:
    """The numbers of control and of all workers, as Prometheus gets them."""

    def __init__(
        self,
        own: MetricRegistry,
        kept: KeptTotals,
        mirrors: Sequence[str],
        count: Callable[[MetricRegistry], None],
    ) -> None:
        """`count` adds what is counted only when somebody asks."""
        self.own = own
        """Of control; its parts write into it."""
        self.merged = MergedMetrics(FAMILIES)
        """Of all processes, as they were told last."""
        self.process = f"control-{os.getpid()}-{time.time_ns()}"
        """Name of this control process among all."""
        self._kept = kept
        self._count = count
        self.succeeds = kept.restore(self.merged, mirrors)
        """True if there was another control process before this one."""
        if self.succeeds:
            self.merged.succeed("control", self.process)
            own.add(RESTARTS.name, ("control",))
        self._begin_at_zero(mirrors)

    def configure(self, mirrors: Sequence[str], removed: Iterable[str]) -> None:
        """Begin series of new mirrors, and drop those of removed ones."""
        for mirror_id in removed:
            self.own.remove("mirror", mirror_id)
        self.merged.keep_mirrors(mirrors)
        self._begin_at_zero(mirrors)

    def _begin_at_zero(self, mirrors: Sequence[str]) -> None:
        begin_at_zero(self.own, mirrors)
        for family, values in (
            (BANS, (*RULES, BY_OPERATOR)),
            (RELOADS, ("success", "failure")),
            (RESTARTS, ("worker", "control")),
        ):
            for value in values:
                self.own.cells(family.name, (value,))

    def reloaded(self, good: bool) -> None:
        """Count a configuration that was taken over, or refused."""
        self.own.set(RELOAD_SUCCESSFUL.name, float(good))
        if good:
            self.own.set(RELOADED_AT.name, time.time())
        self.own.add(RELOADS.name, ("success" if good else "failure",))

    def series(self) -> Callable[[], Iterable[Series]]:
        """Read the numbers of this moment; what is returned makes their series, in any thread."""
        self._refresh()
        return lambda: self._kept.write(self.merged).series()

    def lost_lines(self) -> float:
        """Lines that no log has taken, of all processes."""
        return self.merged.total(LOG_DROPPED, ("worker",)) + dropped_lines()

    def keep(self) -> None:
        """Leave them to a successor."""
        self._refresh()
        self._kept.write(self.merged)

    async def keep_now_and_then(self) -> NoReturn:
        """Where nobody scrapes, a successor should know what has been counted all the same."""
        while True:
            await asyncio.sleep(KEEP_EVERY)
            self._refresh()
            await asyncio.to_thread(self._kept.write, self.merged)

    async def measure_delay(self) -> NoReturn:
        """Measure how late the event loop is, until cancelled."""
        loop = asyncio.get_running_loop()
        while True:
            due = loop.time() + MEASURE_EVERY
            await asyncio.sleep(MEASURE_EVERY)
            self.own.observe(LOOP_DELAY.name, max(0.0, loop.time() - due))

    def _refresh(self) -> None:
        self.own.set(TASKS.name, len(asyncio.all_tasks()), ("control",))
        self.own.set(LOG_DROPPED.name, dropped_lines(), ("control",))
        show_process(self.own, "control")
        self._count(self.own)
        self.merged.update(self.process, self.own.to_json())


class KeptTotals:
    """The file of all counters, written by one thread at a time."""

    def __init__(self, file: LastLists) -> None:
        self._file = file
        self._lock = Lock()

    def restore(self, merged: MergedMetrics, mirrors: Collection[str]) -> bool:
        """Go on from what a predecessor kept; False if there was none. `mirrors`: those that there
        are, as series of others are forgotten."""
        messages = self._file.read()
        merged.restore(messages, mirrors)
        return bool(messages)

    def write(self, merged: MergedMetrics) -> Frozen:
        """Keep the numbers of this moment, and return them. May be called in any thread."""
        with self._lock:  # or an older moment might be kept after a newer one was exposed
            frozen = merged.frozen()
            try:
                self._file.write([msgspec.json.encode(message) for message in frozen.to_json()])
            except OSError as error:
                log.error(
                    "counters cannot be saved, the next control process starts from 0: %s", error
                )
        return frozen
