"""Ejected mirrors, from control's side: hears workers and probes, answers, tells all workers.

The decisions are those of `router/balancing/trial_leases.py`; here are the messages, the clock, the
metrics, and what pages show.
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import Callable, Mapping, Sequence

from dashboard.common.sources import Ejection
from monitor.common.config import MirrorConfig
from monitor.common.ipc import Message
from monitor.common.metric_registry import MetricRegistry
from monitor.engine.metrics import IN_ROTATION
from monitor.health.snapshot import HealthSnapshot
from router.balancing.breaker import Phase, Standing
from router.balancing.breaker_messages import (
    Begun,
    Ended,
    Granted,
    Recalled,
    Word,
    from_message,
    to_message,
)
from router.balancing.config import EjectionConfig
from router.balancing.ejection import Cause
from router.balancing.timeouts import Classes
from router.balancing.trial_leases import Leases
from router.forwarding.config import RouterConfig
from router.forwarding.metrics import EJECTIONS

log = logging.getLogger("control")

EXPIRE_EVERY = 1.0
_ADDRESSES = 3
"""Of a mirror, as many are tried for one connection."""


class BreakerCoordinator:
    """Where the mirrors of one instance stand."""

    def __init__(
        self,
        broadcast: Callable[[Message], None],
        tell: Callable[[str, Message], None],
        totals: MetricRegistry,
        *,
        clock: Callable[[], float] = time.monotonic,
        rng: random.Random | None = None,
    ) -> None:
        """`tell` reaches one worker process; `clock` is the one that workers have."""
        self._broadcast = broadcast
        self._tell = tell
        self._totals = totals
        self._clock = clock
        first_token = time.monotonic_ns()
        self.leases = Leases(EjectionConfig(), 0.0, rng or random.Random(), first_token)
        self._mirrors: tuple[MirrorConfig, ...] = ()
        self._snapshot = HealthSnapshot()

    def configure(self, router: RouterConfig, mirrors: tuple[MirrorConfig, ...]) -> None:
        """Take new settings."""
        self._mirrors = mirrors
        self.leases.configure(router.ejection, lease_seconds(router))
        self.see(self._snapshot)

    def see(self, snapshot: HealthSnapshot) -> None:
        """Take what is known of the mirrors now."""
        self._snapshot = snapshot
        enabled = [mirror.id for mirror in self._mirrors if mirror.enabled]
        usable = [mirror for mirror in enabled if snapshot.of(mirror).in_rotation]
        self.leases.mirrors({mirror.id: _place(mirror) for mirror in self._mirrors}, usable)
        for mirror in enabled:
            self._show(mirror)

    def state(self) -> list[Message]:
        """For a worker that knows nothing."""
        return [to_message(standing) for standing in self.leases.news()]

    # What comes in

    def hear(self, message: Mapping[str, object]) -> None:
        """Take a worker's word on its breakers."""
        process, word = str(message["process"]), from_message(message)
        adopted = isinstance(word, Standing)
        before = self.leases.standing(_mirror_of(word))
        answers = self.leases.hear(process, word, self._clock())
        self._note(before, counted=not adopted)
        self._answer(answers)

    def probed(self, mirror: str, ok: bool) -> None:
        """A probe of this mirror has ended; `ok`: it has answered."""
        before = self.leases.standing(mirror)
        standing = self.leases.probed(mirror, ok, self._clock())
        if standing is not None:
            self._note(before)
            self._answer([(None, standing)])

    def left(self, process: str) -> None:
        """A worker process has ended."""
        self.leases.worker_left(process)

    async def run(self) -> None:
        """Take back leases whose time is over, until cancelled."""
        while True:
            await asyncio.sleep(EXPIRE_EVERY)
            self.leases.expire(self._clock())

    def _answer(self, answers: Sequence[tuple[str | None, Word]]) -> None:
        for to, word in answers:
            if to is None:
                self._broadcast(to_message(word))
            else:
                self._tell(to, to_message(word))

    # For pages and metrics

    def ejections(self) -> dict[str, Ejection]:
        """The mirrors that are out of rotation because their traffic failed."""
        ahead = time.time() - self._clock()
        return {
            standing.mirror: Ejection(
                cause=(standing.cause or Cause.failing).value,
                since=standing.since + ahead,
                until=standing.until + ahead if self._lasts(standing) else None,
                count=standing.count,
            )
            for standing in self.leases.standings()
            if standing.phase is not Phase.closed
        }

    def _lasts(self, standing: Standing) -> bool:
        return standing.phase is Phase.open and self._clock() < standing.until

    def _note(self, before: Standing, *, counted: bool = True) -> None:
        """Count and log what has become of a mirror's standing."""
        mirror, now = before.mirror, self.leases.standing(before.mirror)
        newly = before.phase is not Phase.open or before.since != now.since
        if now.phase is Phase.open and newly and counted:
            seconds = now.until - self._clock()
            self._totals.add(EJECTIONS.name, (mirror, str(now.cause)))
            log.warning("%s is ejected for %.0f s: %s", mirror, seconds, now.cause)
        elif now.phase is Phase.closed is not before.phase:
            log.warning("%s is back in rotation", mirror)
        if now.phase is not before.phase:
            self._show(mirror)

    def _show(self, mirror: str) -> None:
        """The one place that knows both what probes and what traffic say of it."""
        known = self._snapshot.mirrors.get(mirror)
        if known is not None:
            closed = self.leases.standing(mirror).phase is Phase.closed
            self._totals.set(IN_ROTATION, float(known.in_rotation and closed), (mirror,))


def _mirror_of(word: Word) -> str:
    if isinstance(word, Granted | Recalled | Begun | Ended):
        return word.lease.mirror
    return word.mirror


def _place(mirror: MirrorConfig) -> str:
    """Return the properties that make it another mirror to workers
    (`router/upstream/upstream.py`)."""
    return " ".join((mirror.url, *mirror.addresses))


def lease_seconds(router: RouterConfig) -> float:
    """Seconds that an attempt on a mirror takes at most until it has a result, and one second.

    Every attempt ends before, whatever happens: a lease that is not given back until then is lost.
    """
    timeouts = router.timeouts
    opening = timeouts.connect + _ADDRESSES * (timeouts.connect + timeouts.tls)
    return opening + Classes(timeouts, router.classes).longest + 1.0
