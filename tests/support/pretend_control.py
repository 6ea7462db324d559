"""The part of the control process that ejected mirrors need, for a plane without one."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Iterable

from router.choice.config import EjectionConfig
from router.choice.leases import Leases
from router.choice.words import Word
from router.plane import Plane

_LEASE_SECONDS = 124.0
_WORKER = "w0"


class PretendControl:
    """Hears the words of one worker and answers at its next turn."""

    def __init__(self, clock: Callable[[], float], mirrors: Iterable[str]) -> None:
        self._clock = clock
        names = list(mirrors)
        self.leases = Leases(EjectionConfig(), _LEASE_SECONDS, random.Random(1))
        self.leases.mirrors(dict.fromkeys(names, ""), names)
        self.plane: Plane | None = None
        """Whom it answers."""

    def hear(self, word: Word) -> None:
        """A word of the worker."""
        asyncio.get_running_loop().call_soon(self._answer, word)

    def _answer(self, word: Word) -> None:
        now = self._clock()
        for _, answer in self.leases.hear(_WORKER, word, now):
            assert self.plane is not None
            self.plane.pool.hear(answer, now)
