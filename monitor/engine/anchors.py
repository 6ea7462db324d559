"""Checks of our own network: anchors, resolvers, and the clocks and certificates of others."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable, Sequence

from monitor.diagnosis.finding import Finding
from monitor.diagnosis.timing import DiagnosisTiming
from monitor.diagnosis.witnesses import Surroundings
from monitor.probes.connect import as_address, connect
from monitor.probes.results import StepResult, Way, Witness
from monitor.probes.system_resolver import SystemResolver
from monitor.probes.tls import TlsContexts
from monitor.probes.witness import hear

TIMEOUT = 3.0


class Anchors:
    """The operator's anchors, and when something of the world was heard last (monotonic clock)."""

    def __init__(self, pace: DiagnosisTiming, monotonic: Callable[[], float]) -> None:
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
        """True if our own network is known to work."""
        return self._monotonic() - self._heard <= self._pace.anchors_fresh

    @property
    def silent(self) -> bool:
        """True if not one of them answered when they were asked a moment ago."""
        fresh = self._monotonic() - self._asked <= self._pace.anchors_fresh
        return bool(self._places) and fresh and self.failing >= 1.0

    async def ask(self) -> bool:
        """True if any of them answers now; asked again at the earliest after a second.

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


_PAUSE = 1.0
"""Seconds between two questions, however many mirrors get no answer."""

log = logging.getLogger(__name__)


class ResolverWitness:
    """The control names, and what became of the last question about them."""

    def __init__(
        self,
        answers: Callable[[str, float], Awaitable[bool]],
        pace: DiagnosisTiming,
        monotonic: Callable[[], float],
    ) -> None:
        """`answers`: whether any resolver answers about a name within so many seconds."""
        self._answers = answers
        self._pace = pace
        self._monotonic = monotonic
        self._asked = float("-inf")
        self._asking = asyncio.Lock()
        self._silent = False
        self._names: Sequence[str] = ()

    def __repr__(self) -> str:
        return f"<ResolverWitness {', '.join(self._names)}>"

    def configure(self, names: Sequence[str]) -> None:
        """Ask about these control names."""
        self._names = names

    @property
    def silent(self) -> bool:
        """True if no resolver answered when they were asked a moment ago."""
        return self._silent and self._monotonic() - self._asked <= self._pace.anchors_fresh

    def heard(self) -> None:
        """A resolver has answered, whatever it was asked."""
        if self._silent:
            log.warning("the local resolver answers again")
        self._silent = False

    async def ask(self) -> None:
        """Ask now, unless that was done within a second; whoever asks meanwhile waits for it."""
        async with self._asking:
            if not self._names or self._monotonic() - self._asked < _PAUSE:
                return
            told = await asyncio.gather(*(self._answers(name, TIMEOUT) for name in self._names))
            self._asked = self._monotonic()
            if any(told):
                self.heard()
            elif not self._silent:
                self._silent = True
                log.error(
                    "the local resolver does not answer, not even about %s: mirrors whose names "
                    "it should resolve are unknown",
                    ", ".join(self._names),
                )


MOST_WITNESSES = 4
"""Others that are asked beside the mirror; more would say the same."""
_TLS_PORT = 443


class Witnesses:
    """Others that are asked when certificates do not verify: it may be our own surroundings.

    They are the anchors, else the control names, and the mirror itself.
    """

    def __init__(
        self,
        contexts: TlsContexts,
        pace: DiagnosisTiming,
        agent: str,
        monotonic: Callable[[], float],
    ) -> None:
        self._contexts = contexts
        self._pace = pace
        self._agent = agent
        self._monotonic = monotonic
        self._system = SystemResolver()
        self._places: tuple[str, ...] = ()
        self._asked = float("-inf")
        self._asking = asyncio.Lock()
        self._found = Surroundings()

    def configure(self, anchors: Sequence[str], controls: Sequence[str]) -> None:
        """Ask these anchors, as "host:port", or where there are none these control names."""
        names = tuple(f"{name}:{_TLS_PORT}" for name in controls)
        self._places = (tuple(anchors) or names)[:MOST_WITNESSES]

    async def ask(self, way: Way, port: int) -> None:
        """Ask them and the mirror over this path, unless that was done within a second."""
        async with self._asking:
            if self._monotonic() - self._asked < _PAUSE:
                return
            ways = [(way, port), *(await self._others(way.address))]
            heard = await asyncio.gather(*(self._hear(*each) for each in ways))
            self._found = Surroundings.of([each for each in heard if each is not None])
            self._asked = self._monotonic()

    def explain(self, step: StepResult, now: float) -> Finding | None:
        """The finding on a failed step that is no fault of the mirror; `now`: our wall clock."""
        fresh = self._monotonic() - self._asked <= self._pace.anchors_fresh
        return self._found.explain(step, now) if fresh else None

    async def _hear(self, way: Way, port: int) -> Witness | None:
        return await hear(way, port, self._contexts, self._agent, TIMEOUT)

    async def _others(self, address: str) -> list[tuple[Way, int]]:
        """One address of each, other than this one."""
        found: list[tuple[Way, int]] = []
        for place in self._places:
            host, _, port = place.rpartition(":")
            host = host.strip("[]")
            with contextlib.suppress(OSError, UnicodeError):
                literal = as_address(host)
                known = [str(literal)] if literal else await self._system.addresses(host, TIMEOUT)
                others = [each for each in known if each != address]
                found += [(Way(host, each), int(port)) for each in others[:1]]
        return found
