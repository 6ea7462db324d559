"""Says what is being done, as soon as it has taken longer than somebody waits without wondering."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from monitor.common.languages import Text
from monitor.diagnosis.evidence import Evidence

PATIENCE = 2.0
"""Seconds."""
REPEAT = 60.0
"""Seconds between two lines about one wait where the line cannot be redrawn."""
_WAIT = Text(
    "{doing}；还须等待 {left}，让它可能触发的余波过去（Ctrl-C：显示目前的结果）",
    "{doing}; {left} left to wait until what that may have set off is over "
    "(Ctrl-C: what is known so far)",
)


class Progress:
    """Keeps the current activity to itself for a moment, then tells it and all that follow."""

    def __init__(
        self,
        tell: Callable[[str], None],
        language: str = "en",
        *,
        redraw: Callable[[str], None] | None = None,
        patience: float = PATIENCE,
    ) -> None:
        """`redraw` replaces the last line that it drew, where there is a terminal to do so."""
        self._tell = tell
        self._language = language
        self._redraw = redraw
        self._patience = patience
        self._begun = time.monotonic()
        self._current = ""
        self._told = ""

    def say(self, doing: Evidence) -> None:
        """This is done now."""
        self._current = doing.said(self._language)
        if time.monotonic() - self._begun >= self._patience:
            self._out()

    async def sleep(self, seconds: float) -> None:
        """Wait; of longer waits it is told how much is left."""
        if seconds < self._patience:
            await asyncio.sleep(seconds)
            return
        end = time.monotonic() + seconds
        step = 1.0 if self._redraw else REPEAT
        try:
            while (left := end - time.monotonic()) > 0:
                minutes, rest = divmod(round(left), 60)
                wait = _WAIT.said(self._language)
                line = f"… {wait.format(doing=self._current, left=f'{minutes}:{rest:02d}')}"
                (self._redraw or self._tell)(line)
                await asyncio.sleep(min(step, left))
        finally:
            if self._redraw:
                self._redraw("")

    async def tick(self) -> None:
        """Tell what is being done once it has taken too long."""
        await asyncio.sleep(self._patience)
        self._out()

    def _out(self) -> None:
        if self._current and self._current != self._told:
            self._told = self._current
            self._tell(f"… {self._current}")


@asynccontextmanager
async def progress(
    tell: Callable[[str], None],
    language: str = "en",
    redraw: Callable[[str], None] | None = None,
) -> AsyncIterator[Progress]:
    """A progress that speaks up while something lasts."""
    shown = Progress(tell, language, redraw=redraw)
    ticking = asyncio.create_task(shown.tick())
    try:
        yield shown
    finally:
        ticking.cancel()
        await asyncio.gather(ticking, return_exceptions=True)
