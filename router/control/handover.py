"""The file of the supervisor in which workers find the last lists when they start."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import NoReturn

from monitor.common.ipc import encoded
from router.control.ban_service import BanService
from router.control.key_service import KeyService
from router.process.last_lists import LastLists

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
