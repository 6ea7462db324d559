"""Writes bans, allowances and issued keys to where a worker that starts finds them."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import NoReturn

from monitor.feed import encoded
from router.admission.last_lists import LastLists
from router.main.guard import Guard
from router.main.keyring import Keyring

_LOOK_EVERY = 1.0
_SHARE = 20
"""At most this part of control's time goes into writing, however long the lists are."""


class ListKeeper:
    """Keeps the file of last lists up to date."""

    def __init__(
        self,
        guard: Guard,
        keyring: Keyring,
        lists: LastLists,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        self._guard = guard
        self._keyring = keyring
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
        allowed = encoded(self._guard.allowed())
        now = (self._guard.version, self._keyring.version, allowed)
        if now != self._written:
            self._lists.write([*self._guard.bans(), *self._keyring.messages(), allowed])
            self._written = now
