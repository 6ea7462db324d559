"""Reports of a worker to control: its metrics once a second, failures of mirrors sooner.

A name that was cut off is reported at once: control might be about to show it at another address.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable, Iterable

from monitor.common.compiled import form
from monitor.common.ipc import Message
from monitor.common.log_writer import dropped_lines
from monitor.common.metric_registry import MetricRegistry
from monitor.common.process_metrics import show_process
from router.admission.capacity import Trimmer
from router.balancing.load import STREAMING
from router.balancing.pool import Explained
from router.forwarding import metrics
from router.forwarding.context import WorkerContext
from router.metering.batches import UsageBatches

log = logging.getLogger("worker")

TOTALS_EVERY = 1.0
_FAILURES_EVERY = 0.25
_SETTLE_WITHIN = 8.0
"""Seconds; a store that somebody locks is given up after five, and less than the `GRACE` of the
supervisor."""
_LOOK_EVERY = 0.02


class Reports:
    """Collects and sends what one worker has to tell."""

    def __init__(
        self,
        process: str,
        totals: MetricRegistry,
        uses: UsageBatches,
        tell: Callable[[Message], None],
    ) -> None:
        """`process` names one start of the worker, and begins with the number of its slot."""
        self._process = process
        self._totals = totals
        self._uses = uses
        self._tell = tell
        self._failures: set[str] = set()
        self._refusals: set[str] = set()
        self._removed: dict[str, float] = {}
        self._trimmer = Trimmer()

    def failure(self, mirror: str) -> None:
        """Traffic failed on a mirror."""
        self._failures.add(mirror)

    def refusal(self, mirror: str) -> None:
        """A mirror has refused its own key."""
        self._refusals.add(mirror)

    def removed(self, mirrors: Iterable[str], still: float, known: Iterable[str]) -> None:
        """These mirrors are gone: their series end, also those of requests that run on.

        `still` is how many seconds such requests may take; `known` are the mirrors that there are.
        """
        until = time.monotonic() + still
        self._removed.update(dict.fromkeys(mirrors, until))
        for mirror in known:
            self._removed.pop(mirror, None)

    async def run(self, context: WorkerContext) -> None:
        """Tell until cancelled."""
        due = 0.0
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_FAILURES_EVERY):
                    await context.traffic.noticed.wait()
            self._tell_failures(context)
            self._tell_alerts(context)
            self._tell_uses()
            if time.monotonic() >= due:
                due = time.monotonic() + TOTALS_EVERY
                tasks = len(asyncio.all_tasks())
                self._totals.set(metrics.TASKS.name, tasks, ("worker",))
                show_process(self._totals, f"worker-{self._process.partition('-')[0]}")
                self.send_totals(context)
                self._tell_traffic(context)
                context.upstreams.settle(context.wall())

    async def settle_uses(self) -> None:
        """Say the last of what keys have used, and wait a moment until it is written."""
        deadline = time.monotonic() + _SETTLE_WITHIN
        while self._uses and time.monotonic() < deadline:
            self._tell_uses()
            await asyncio.sleep(_LOOK_EVERY)
        if self._uses:
            lost = self._uses.requests
            log.error(
                "the store cannot be written: %d usage records of issued keys may be missing", lost
            )
        else:
            self._tell({"type": "use", "process": self._process, "ends": True})

    def _tell_uses(self) -> None:
        message = self._uses.due(time.monotonic())
        if message is not None:
            self._tell({**message, "process": self._process})

    def _tell_failures(self, context: WorkerContext) -> None:
        paths = context.traffic.take_failed()
        if self._failures or self._refusals or paths:
            mirrors, keys = sorted(self._failures), sorted(self._refusals)
            self._tell({"type": "failures", "mirrors": mirrors, "keys": keys, "paths": paths})
            self._failures.clear()
            self._refusals.clear()

    def meet_control(self, context: WorkerContext) -> None:
        """Send a new control process "met": the paths that fail here, which it must know before it
        probes any."""
        context.traffic.tell_again()
        paths = context.traffic.take_failed()
        self._tell({"type": "met", "process": self._process, "paths": paths})

    def _tell_alerts(self, context: WorkerContext) -> None:
        alerts = context.alerts.take()
        if alerts:
            self._tell({"type": "alerts", "rows": alerts})

    def _tell_traffic(self, context: WorkerContext) -> None:
        traffic = context.traffic
        news = {
            "opened": traffic.take_opened(),
            "transfers": traffic.take_transfers(),
            "served": traffic.take_served(),
        }
        if any(news.values()):
            self._tell({"type": "traffic", "sent": time.monotonic(), **news})

    def send_totals(self, context: WorkerContext) -> None:
        """Send every number of this process since its start."""
        totals = self._totals
        self._trimmer.look(len(context.connections))
        self._forget_removed()
        for upstream in context.upstreams:
            totals.set(metrics.IN_FLIGHT.name, upstream.in_flight, (upstream.id,))
        for explained in context.pool.explain(context.clock()):
            _show_cost(totals, explained)
        totals.set(metrics.CLIENTS.name, len(context.connections))
        totals.set(metrics.CLIENTS_LIMIT.name, context.connections.limit)
        totals.set(metrics.BODIES.name, context.memory.used)
        totals.set(metrics.BODIES_LIMIT.name, context.memory.limit)
        totals.set(metrics.QUEUED.name, len(context.queue))
        totals.set(metrics.QUEUE_LIMIT.name, context.router.queue.max_waiting)
        totals.set(metrics.QUEUE_WAIT.name, context.queue.wait if len(context.queue) else 0.0)
        totals.set(metrics.WORKERS.name, 1)
        totals.set(metrics.LOG_DROPPED.name, dropped_lines(), ("worker",))
        totals.set(metrics.LAG.name, context.wheel.lag)
        for cause, count in context.limits.uncounted().items():
            totals.set(metrics.UNCOUNTED.name, count, (cause,))
        if context.snapshot.created_at:
            age = max(0.0, context.wall() - context.snapshot.created_at)
            totals.set(metrics.SNAPSHOT_AGE.name, age)
        told = {"type": "totals", "process": self._process, "form": form.name}
        self._tell({**told, "rows": totals.to_json()})

    def _forget_removed(self) -> None:
        now = time.monotonic()
        for mirror in self._removed:
            self._totals.remove("mirror", mirror)
        self._removed = {m: until for m, until in self._removed.items() if now < until}


def _show_cost(totals: MetricRegistry, explained: Explained) -> None:
    """Set what a mirror costs here; of the terms, those that make it dearer when they grow."""
    terms = explained.terms
    for term, value in (
        ("cost", terms.cost),
        ("latency", max(terms.latency, terms.oldest)),
        ("network", terms.network),
        ("queue", terms.waiting + STREAMING * terms.streaming),
        ("failing", 1.0 - terms.success),
    ):
        totals.set(metrics.COST.name, round(value, 4), (explained.mirror, term))
