"""Reports to control which limits a worker had too small a share of."""

from __future__ import annotations

import time
from collections.abc import Callable

from monitor.common.ipc import Message

EVERY = 0.02
"""Seconds between two reports of one limit: a refused request is looked at again after as long."""
MOST = 4096


class Shortages:
    """Reports of one worker."""

    def __init__(
        self, tell: Callable[[Message], None], clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._tell = tell
        self._clock = clock
        self._told: dict[tuple[bytes, bool], float] = {}

    def note(self, key: bytes, limit: int, tolerance: float) -> None:
        """A request was refused (`Table.on_short`)."""
        now, name = self._clock(), (key, limit > 0)
        if now - self._told.get(name, float("-inf")) < EVERY:
            return
        if len(self._told) >= MOST:
            self._told.clear()
        self._told[name] = now
        row = {"key": key.hex(), "limit": limit, "tolerance": tolerance}
        self._tell({"type": "short", **row})
