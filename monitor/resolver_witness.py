"""Tells whether our resolvers answer at all, when the names of mirrors get no answer.

They are asked about the control names, which have nothing to do with any mirror, and only then. Any
answer counts, also that there is no such name.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence

from monitor.diagnosis.pace import Pace

TIMEOUT = 3.0
_PAUSE = 1.0
"""Seconds between two questions, however many mirrors get no answer."""

log = logging.getLogger(__name__)


class ResolverWitness:
    """The control names, and what became of the last question about them."""

    def __init__(
        self,
        answers: Callable[[str, float], Awaitable[bool]],
        pace: Pace,
        monotonic: Callable[[], float],
    ) -> None:
        """`answers`: whether any resolver answers about a name within so many seconds."""
        self._answers = answers
        self._pace = pace
        self._monotonic = monotonic
        self._asked = float("-inf")
        self._asking = asyncio.Lock()
        self._silent = False
        self.names: Sequence[str] = ()

    def __repr__(self) -> str:
        return f"<ResolverWitness {', '.join(self.names)}>"

    @property
    def silent(self) -> bool:
        """Whether no resolver answered when they were asked a moment ago."""
        return self._silent and self._monotonic() - self._asked <= self._pace.anchors_fresh

    def heard(self) -> None:
        """A resolver has answered, whatever it was asked."""
        if self._silent:
            log.warning("the local resolver answers again")
        self._silent = False

    async def ask(self) -> None:
        """Ask now, unless that was done within a second; whoever asks meanwhile waits for it."""
        async with self._asking:
            if not self.names or self._monotonic() - self._asked < _PAUSE:
                return
            told = await asyncio.gather(*(self._answers(name, TIMEOUT) for name in self.names))
            self._asked = self._monotonic()
            if any(told):
                self.heard()
            elif not self._silent:
                self._silent = True
                log.error(
                    "the local resolver does not answer, not even about %s: mirrors whose names "
                    "it should resolve are unknown",
                    ", ".join(self.names),
                )
