"""Writes into the audit log what is changed outside of the store, as the configuration is.

What is changed in the store is noted there, in the same transaction. The rest is noted here as it
happens, written in order, and waits while the store does not take it.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress

from monitor.common.audit import Actor
from monitor.store.store import Store, StoreError

log = logging.getLogger("control")

MOST_WAITING = 1_000
PATIENCE = 2.0
"""Seconds that an operator waits for the note of a change, which has happened already."""
TRY_AGAIN_AFTER = 5.0


class AuditTrail:
    """Audit entries on their way into the store."""

    def __init__(self, store: Store, clock: Callable[[], float] = time.time) -> None:
        self._store = store
        self._clock = clock
        self._waiting: deque[tuple[Actor, str, float]] = deque()
        self._woken = asyncio.Event()
        self._written = asyncio.Event()
        self._written.set()

    def __repr__(self) -> str:
        return f"<AuditTrail {len(self._waiting)} waiting>"

    def note(self, by: Actor, what: str) -> None:
        """Somebody has changed something."""
        if len(self._waiting) >= MOST_WAITING:
            return _lost(by, what)
        self._waiting.append((by, what, self._clock()))
        self._written.clear()
        self._woken.set()

    async def written(self) -> None:
        """Wait for what was noted to be on disk, but not for long: it will be, or the log says."""
        with suppress(TimeoutError):
            await asyncio.wait_for(self._written.wait(), PATIENCE)

    async def close(self) -> None:
        """Wait the same way for the last time; what the store did not take is in the log then."""
        await self.written()
        for by, what, _ in self._waiting:
            _lost(by, what)

    async def run(self) -> None:
        """Write, until cancelled. An entry that makes writing crash is in the log instead."""
        while True:
            self._woken.clear()
            while self._waiting:
                by, what, at = self._waiting[0]
                try:
                    await self._write(by, what, at)
                except Exception:
                    self._waiting.popleft()
                    _lost(by, what)
                    raise
                self._waiting.popleft()
            self._written.set()
            await self._woken.wait()

    async def _write(self, by: Actor, what: str, at: float) -> None:
        complained = False
        while True:
            try:
                return await self._store.audit(by, what, at)
            except StoreError as error:
                if not complained:
                    log.error("the audit log cannot be written, it waits in memory: %s", error)
                complained = True
            await asyncio.sleep(TRY_AGAIN_AFTER)


def _lost(by: Actor, what: str) -> None:
    log.error("not recorded in the audit log (%s): %s", by.who, what)
