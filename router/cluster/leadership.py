"""The one instance that does what is to be done once, by a lease in the common store."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable

from monitor.common.metric_registry import MetricRegistry
from monitor.store.lease import EXPIRES_AFTER, RENEW_EVERY, Holder, lead, resign
from monitor.store.store import Store, StoreError
from router.cluster import metrics

log = logging.getLogger("control")

LEADS_FOR = EXPIRES_AFTER - RENEW_EVERY
"""Seconds after the last renewal in which the leader takes itself for it: less than others wait,
however long the store keeps its answer."""
WATCHED_WITHIN = EXPIRES_AFTER / 2
"""Seconds between two looks at a leader's row, at most, for it to stand still: while the store does
not answer us the leader cannot renew either, and nobody else knows what it told but could not
keep."""


class Leadership:
    """This instance's claim."""

    def __init__(
        self,
        store: Store,
        holder: Holder,
        take_over: Callable[[], Awaitable[None]],
        totals: MetricRegistry,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`take_over` is done before this instance leads."""
        self._store = store
        self._holder = holder
        self._take_over = take_over
        self._totals = totals
        self._clock = clock
        self._until = float("-inf")
        self._seen: tuple[int, float] = (-1, 0.0)
        """The beat of another leader, and since when it stands still."""
        self._looked = float("-inf")
        """When the store answered last."""
        self._renewed: int | None = None
        """The beat of our last renewal."""

    def leads(self) -> bool:
        """True if this instance does what is to be done once."""
        return self._clock() < self._until

    async def run(self) -> None:
        """Claim it again and again, until cancelled; then let the next one have it at once."""
        try:
            while True:
                await self.turn()
                await asyncio.sleep(RENEW_EVERY)
        finally:
            if self.leads():
                self._until = float("-inf")
                try:
                    await self._store.decide(lambda s: resign(s.connection(), self._holder))
                except StoreError as error:
                    log.debug("the leader lease cannot be released: %s", error)

    async def turn(self) -> None:
        """Claim or renew it once."""
        now, led = self._clock(), self.leads()
        beat, since = self._seen
        still = now - since >= EXPIRES_AFTER and now - self._looked <= WATCHED_WITHIN
        passed = beat if still else None
        try:
            leads, told = await self._store.decide(
                lambda s: lead(s.connection(), self._holder, passed, time.time())
            )
            if leads and not led and told - 1 != self._renewed:  # somebody else led meanwhile
                await self._take_over()
        except StoreError as error:
            log.debug("the leader lease cannot be read: %s", error)
        else:
            self._take(leads, led, told, now)
        self._totals.set(metrics.LEADER.name, float(self.leads()))

    def _take(self, leads: bool, led: bool, beat: int, asked: float) -> None:
        """Take the store's answer to a claim."""
        now = self._clock()
        if leads:
            self._until, self._renewed = asked + LEADS_FOR, beat
            if not led:
                log.info("this instance is the leader: it notifies and prunes")
        elif beat != self._seen[0] or now - self._looked > WATCHED_WITHIN:
            self._seen = (beat, now)
        self._looked = now
