"""What the monitor tells history, in one place: samples, changes of state, and what is shown.

The monitor says what it sees; what time that makes, which incident it belongs to and when old
things go is decided here and below. Nothing of it stops the monitor: a store that fails costs
history, never a probe.
"""

from __future__ import annotations

import logging
from collections.abc import Callable

from monitor import metrics
from monitor.config import MonitorRetention
from monitor.health.board import HealthSnapshot
from monitor.history.records import Sample, Transition
from monitor.history.restart import states_before
from monitor.history.store import Store, StoreError
from monitor.totals import Totals

log = logging.getLogger(__name__)

PRUNE_EVERY = 3600.0


class History:
    """The past of all mirrors as one vantage saw it."""

    def __init__(
        self, store: Store, vantage: str, totals: Totals, monotonic: Callable[[], float]
    ) -> None:
        self._store = store
        self._vantage = vantage
        self._totals = totals
        self._monotonic = monotonic
        self._dropped = 0
        self._pruned_at = float("-inf")

    async def start(self, now: float) -> dict[str, Transition]:
        """Read what was before; the last known state of each mirror. Raises StoreError."""
        return await states_before(self._store, now, self._vantage)

    def stop(self, now: float) -> None:
        """Nothing is seen any more from now on."""

    def sample(self, sample: Sample) -> None:
        """Take what one probe found."""
        self._store.record_sample(sample)

    def changed(self, change: Transition) -> None:
        """Take a change of state."""
        self._store.record_transition(change)

    def see(self, snapshot: HealthSnapshot, now: float) -> None:
        """Take what is shown from now on: call it whenever a snapshot is published."""

    async def keep(self, snapshot: HealthSnapshot, now: float, retention: MonitorRetention) -> None:
        """What has to be done every second or so."""
        self._count_dropped()
        try:
            await self._prune(now, retention)
        except StoreError as error:
            log.warning("old samples were not deleted: %s", error)

    def _count_dropped(self) -> None:
        self._totals.add(metrics.DROPPED, (), self._store.dropped - self._dropped)
        self._dropped = self._store.dropped

    async def _prune(self, now: float, retention: MonitorRetention) -> None:
        if self._monotonic() - self._pruned_at > PRUNE_EVERY:
            self._pruned_at = self._monotonic()
            await self._store.prune_samples(now - retention.samples)
