"""True if a worker may send to a mirror: in rotation, ejected, or on trial with a lease.

    closed --failures--> open --after its time--> trial --control says so--> closed, ramping up
                          ^                           |
                          +---the leased attempt failed

A worker ejects at once and tells control, which counts the ejections, grants the one leased attempt
over all workers, and tells everybody where a mirror stands (`trial_leases.py`). Without control a
mirror stays where it is: a worker does not grant itself a lease. Times are CLOCK_MONOTONIC, which
all processes of a machine share.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum

from router.balancing.ejection import Cause

ASK_EVERY = 0.5
"""Seconds between a worker's requests for a lease."""


class Phase(StrEnum):
    """Where a mirror stands."""

    closed = "closed"
    open = "open"
    trial = "trial"
    """Half-open: one leased attempt at a time."""


@dataclass(frozen=True, slots=True)
class Standing:
    """Control's word on one mirror, for all workers."""

    mirror: str
    phase: Phase = Phase.closed
    since: float = 0.0
    until: float = 0.0
    """End of the ejection; without meaning in the other phases."""
    count: int = 0
    """Ejections in a row."""
    cause: Cause | None = None


@dataclass(frozen=True, slots=True)
class Lease:
    """Leave to try a mirror once."""

    mirror: str
    token: int
    """Results with another token are too late."""


class Breaker:
    """One mirror's breaker in one worker."""

    __slots__ = ("_asked_at", "_lease", "_used", "closed", "standing")

    def __init__(self, mirror: str) -> None:
        self.standing = Standing(mirror)
        self.closed = True
        """True if anybody may be sent there; an attribute, as every selection asks."""
        self._lease: Lease | None = None
        self._used = 0
        """The token of the last lease that was used."""
        self._asked_at = float("-inf")

    def __repr__(self) -> str:
        return f"<Breaker {self.standing.mirror} {self.standing.phase}>"

    def eject(self, cause: Cause, seconds: float, now: float) -> None:
        """Take it out for this long, at once; a later deadline that is known already stays."""
        was = self.standing
        until = max(now + seconds, was.until if was.phase is Phase.open else 0.0)
        since = was.since if was.phase is Phase.open else now
        self._stand(Standing(was.mirror, Phase.open, since, until, was.count + 1, cause))

    def learn(self, standing: Standing) -> bool:
        """Take control's word; True if the mirror has recovered by it.

        Of two ejections the later deadline counts. A mirror that is closed since before we ejected
        it has not recovered: control has refused to eject it, as too many are out already.
        """
        was, before = self.closed, self.standing
        if before.phase is standing.phase is Phase.open and before.until > standing.until:
            standing = replace(standing, until=before.until)
        self._stand(standing)
        return self.closed and not was and standing.since > before.since

    def _stand(self, standing: Standing) -> None:
        self.standing = standing
        self.closed = standing.phase is Phase.closed
        if self.closed:
            self._lease = None

    def counts(self, since: float) -> bool:
        """True if what came of an attempt begun then says anything about now."""
        return since >= self.standing.since

    # The trial

    def wants_lease(self, now: float) -> bool:
        """True if to ask control for a lease now: the ejection has ended, and there is none.

        Says so once in a while only; call it when there is a request that could use a lease.
        """
        standing = self.standing
        if self.closed or (standing.phase is Phase.open and now < standing.until):
            return False
        if self.leased or now - self._asked_at < ASK_EVERY:
            return False
        self._asked_at = now
        return True

    @property
    def leased(self) -> bool:
        """True if the next request that can be repeated should go there."""
        return self._lease is not None

    def granted(self, lease: Lease) -> None:
        """Control's answer."""
        if not self.closed and lease.token != self._used:
            self._lease = lease

    def take(self) -> Lease | None:
        """The lease, for the attempt that begins now; there is none for another one."""
        lease, self._lease = self._lease, None
        if lease is not None:
            self._used = lease.token
        return lease

    def forget_lease(self) -> None:
        """The lease, if it is not used yet, is void."""
        self._lease = None

    def recalled(self, lease: Lease) -> bool:
        """Control wants it back, for a worker that has a request: whether it is given back."""
        if lease.token == self._used:
            return False
        self._lease = None
        return True
