"""The part of the control process that ejected mirrors need, for a plane without one."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Iterable

from router.balancing.breaker_messages import Word
from router.balancing.config import EjectionConfig
from router.balancing.trial_leases import Leases
from router.forwarding.context import WorkerContext

_LEASE_SECONDS = 124.0
_WORKER = "w0"


class PretendControl:
    """Hears the words of one worker and answers at its next turn."""

    def __init__(self, clock: Callable[[], float], mirrors: Iterable[str]) -> None:
        self._clock = clock
        names = list(mirrors)
        self.leases = Leases(EjectionConfig(), _LEASE_SECONDS, random.Random(1))
        self.leases.mirrors(dict.fromkeys(names, ""), names)
        self.context: WorkerContext | None = None
        """Whom it answers."""

    def hear(self, word: Word) -> None:
        """A word of the worker."""
        asyncio.get_running_loop().call_soon(self._answer, word)

    def _answer(self, word: Word) -> None:
        now = self._clock()
        for _, answer in self.leases.hear(_WORKER, word, now):
            assert self.context is not None
            self.context.pool.hear(answer, now)
