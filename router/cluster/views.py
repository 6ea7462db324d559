"""Views of the mirrors, exchanged with the other instances of a store.

What is seen here is written with the history (`monitor/engine/recorder.py`); what others see is
read here. It is shown, and settles whether a failure here is a block; it changes no routing, and no
request waits for it.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Mapping

from monitor.health.snapshot import HealthSnapshot
from monitor.health.vantages import Elsewhere, Instances
from monitor.store.queries import views
from monitor.store.store import Store, StoreError

log = logging.getLogger("control")

READ_EVERY = 2.0


class Views:
    """The views of other instances; owns what is known of them."""

    def __init__(
        self,
        store: Store,
        vantage: str,
        snapshot: Callable[[], HealthSnapshot],
        show: Callable[[Mapping[str, Mapping[str, Elsewhere]]], None],
        *,
        clock: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        """`vantage` is this instance's; `show` takes, by instance and mirror, how others see them,
        whenever they have been read."""
        self._store = store
        self._vantage = vantage
        self._snapshot = snapshot
        self._show = show
        self._clock = clock
        self._monotonic = monotonic
        self._instances = Instances()

    def __repr__(self) -> str:
        return f"<Views of {self._instances!r}>"

    async def run(self) -> None:
        """Read and show them, until cancelled."""
        while True:
            await self.turn()
            await asyncio.sleep(READ_EVERY)

    async def turn(self) -> None:
        """Read and show what is new; where the store does not answer, others fall silent."""
        self._instances.see_here(self._snapshot(), self._monotonic())
        known = self._instances.batches()
        try:
            found = await self._store.read(lambda s: views(s, self._vantage, known))
        except StoreError as error:
            log.debug("the views of other instances cannot be read: %s", error)
        else:
            now = self._monotonic()
            for each in found:
                self._instances.hear(
                    each.vantage, each.holder, each.beat, each.batch, each.texts, now
                )
            self._instances.keep(each.vantage for each in found)
        self._show(self._instances.told(self._monotonic(), self._clock()))
