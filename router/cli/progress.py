"""Says what is being done, as soon as it has taken longer than somebody waits without wondering."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

PATIENCE = 2.0
"""Seconds."""


class Progress:
    """Keeps the current activity to itself for a moment, then tells it and all that follow."""

    def __init__(self, tell: Callable[[str], None], patience: float = PATIENCE) -> None:
        self._tell = tell
        self._patience = patience
        self._begun = time.monotonic()
        self._current = ""
        self._told = ""

    def say(self, text: str) -> None:
        """This is done now."""
        self._current = text
        if time.monotonic() - self._begun >= self._patience:
            self._out()

    async def sleep(self, seconds: float) -> None:
        """Wait; longer waits are announced."""
        if seconds >= self._patience:
            self.say(f"waiting {seconds:.0f} s for what a handshake may have set off to be over")
        await asyncio.sleep(seconds)

    async def tick(self) -> None:
        """Tell what is being done once it has taken too long."""
        await asyncio.sleep(self._patience)
        self._out()

    def _out(self) -> None:
        if self._current and self._current != self._told:
            self._told = self._current
            self._tell(f"… {self._current}")


@asynccontextmanager
async def progress(tell: Callable[[str], None]) -> AsyncIterator[Progress]:
    """A progress that speaks up while something lasts."""
    shown = Progress(tell)
    ticking = asyncio.create_task(shown.tick())
    try:
        yield shown
    finally:
        ticking.cancel()
        await asyncio.gather(ticking, return_exceptions=True)
