"""Files of the supervisor that processes find when they start: lists for workers, all counters for
control.

Prometheus takes a counter that falls for one that began anew, and counts all of it again: so what
has been exposed is kept before, and a successor goes on from there. Living workers tell theirs
again; those of ended ones, and of control, are nowhere else.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Collection
from threading import Lock
from typing import NoReturn

import msgspec

from monitor.common.ipc import encoded
from monitor.common.metric_registry import Frozen, MergedMetrics
from router.control.ban_service import BanService
from router.control.key_service import KeyService
from router.process.last_lists import LastLists

log = logging.getLogger("control")

_LOOK_EVERY = 1.0
_SHARE = 20
"""At most this part of control's time goes into writing, however long the lists are."""


class ListKeeper:
    """Keeps the file of last lists up to date."""

    def __init__(
        self,
        ban_service: BanService,
        key_service: KeyService,
        lists: LastLists,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        self._ban_service = ban_service
        self._key_service = key_service
        self._lists = lists
        self._clock = clock
        self._written: tuple[int, int, bytes] = (-1, -1, b"")

    async def run(self) -> NoReturn:
        """Write whenever something has changed, until cancelled."""
        while True:
            began = self._clock()
            self.write()
            await asyncio.sleep(max(_LOOK_EVERY, _SHARE * (self._clock() - began)))

    def write(self) -> None:
        """Write what there is now, if it is not what was written last. Raises OSError."""
        allowed = encoded(self._ban_service.allowed())
        now = (self._ban_service.version, self._key_service.version, allowed)
        if now != self._written:
            self._lists.write([*self._ban_service.bans(), *self._key_service.messages(), allowed])
            self._written = now


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
                log.error("counters would begin anew with the next control process: %s", error)
        return frozen
