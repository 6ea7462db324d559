"""Opening of a path to a mirror: connected, and verified where there is TLS."""

from __future__ import annotations

import contextlib
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass

from monitor.common.config import MirrorConfig, MonitorTimeouts
from monitor.probes.connect import Dial, connect
from monitor.probes.results import StepResult, Way
from monitor.probes.stream import PlainStream, Stream
from monitor.probes.tls import Shake, TlsContexts, handshake, unprepared


@dataclass(slots=True)
class Budget:
    """The time that a whole probe may take; each step gets the less of its own and the rest."""

    ends: float

    @classmethod
    def of(cls, seconds: float) -> Budget:
        """A budget that begins now."""
        return cls(time.perf_counter() + seconds)

    def limit(self, timeout: float) -> float:
        """Seconds that a step may take."""
        return max(min(timeout, self.ends - time.perf_counter()), 0.0)

    def is_over(self) -> bool:
        """True if nothing is left of it."""
        return time.perf_counter() >= self.ends


@dataclass(frozen=True, slots=True)
class Opened:
    """A path, as far as it could be opened."""

    steps: tuple[StepResult, ...]
    stream: Stream | None
    """None after a failure."""

    @property
    def verified(self) -> bool:
        """True if the server has proven to be the mirror: only then a key may be sent."""
        last = self.steps[-1]
        return self.stream is not None and last.tls is not None and last.tls.verified

    @property
    def failure(self) -> str | None:
        """Failure of the trial, if it failed."""
        return self.steps[-1].failure


@contextlib.asynccontextmanager
async def open_path(
    mirror: MirrorConfig,
    way: Way,
    contexts: TlsContexts,
    timeouts: MonitorTimeouts,
    budget: Budget,
    dial: Dial = connect,
) -> AsyncIterator[Opened]:
    """Open a path to a mirror, and close it in the end."""
    limit = budget.limit(timeouts.connect)
    connection, connected = await dial(way.address, mirror.port, limit, way.hostname)
    if connection is None:
        yield Opened((connected,), None)
        return
    with connection:
        if mirror.scheme != "https":
            yield Opened((connected,), PlainStream(connection))
            return
        shake = Shake.as_itself(way.address, way.hostname)
        try:
            context = await contexts.get(mirror.ca_file)
        except OSError:
            yield Opened((connected, unprepared(shake)), None)
            return
        limit = budget.limit(timeouts.handshake)
        stream, shaken = await handshake(connection, context, shake, limit)
        yield Opened((connected, shaken), stream)
