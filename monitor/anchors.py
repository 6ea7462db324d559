"""Others on the network that tell whether we are online ourselves.

They are asked with a TCP connection and nothing else, and only when mirrors fail.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

from monitor.diagnosis.pace import Pace
from monitor.probes.connect import connect
from monitor.probes.dns.system import SystemResolver
from monitor.probes.resolve import as_address

TIMEOUT = 3.0


class Anchors:
    """The operator's anchors, and when something of the world was heard last (monotonic clock)."""

    def __init__(self, pace: Pace, monotonic: Callable[[], float]) -> None:
        self._pace = pace
        self._monotonic = monotonic
        self._system = SystemResolver()
        self._places: tuple[str, ...] = ()
        self._heard = float("-inf")
        self._asked = float("-inf")
        self._asking = asyncio.Lock()
        self.failing = 0.0
        """The share of them that did not answer the last time."""

    def configure(self, places: Sequence[str]) -> None:
        """Use these, as "host:port"."""
        self._places = tuple(places)

    def __bool__(self) -> bool:
        return bool(self._places)

    def heard(self) -> None:
        """Something out there has answered: a mirror, whatever it said."""
        self._heard = self._monotonic()

    @property
    def online(self) -> bool:
        """Whether our own network is known to work."""
        return self._monotonic() - self._heard <= self._pace.anchors_fresh

    @property
    def silent(self) -> bool:
        """Whether not one of them answered when they were asked a moment ago."""
        fresh = self._monotonic() - self._asked <= self._pace.anchors_fresh
        return bool(self._places) and fresh and self.failing >= 1.0

    async def ask(self) -> bool:
        """Whether any of them answers now; asked again at the earliest after a second.

        Whoever asks meanwhile waits for the same answers: what was before would be too old.
        """
        async with self._asking:
            if self._monotonic() - self._asked >= 1.0:
                answers = await asyncio.gather(*map(self._answers, self._places))
                self._asked = self._monotonic()
                self.failing = answers.count(False) / max(len(answers), 1)
                if any(answers):
                    self.heard()
        return self.failing < 1.0

    async def _answers(self, place: str) -> bool:
        host, _, port = place.rpartition(":")
        try:
            async with asyncio.timeout(TIMEOUT):
                for address in await self._addresses(host.strip("[]")):
                    connection, _ = await connect(address, int(port), TIMEOUT)
                    if connection is not None:
                        connection.close()
                        return True
        except (OSError, UnicodeError):
            pass
        return False

    async def _addresses(self, host: str) -> Sequence[str]:
        literal = as_address(host)
        return [str(literal)] if literal else await self._system.addresses(host, TIMEOUT)
