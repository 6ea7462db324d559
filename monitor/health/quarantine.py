"""Endpoints that are left alone, and for how long.

Some networks that block a name by the SNI of a TLS handshake afterwards reset or drop everything
between the same two addresses and the same port for a while, whatever its name: 180 s were measured
(Wu et al., "A Wall Behind A Wall: Emerging Regional Censorship in China", IEEE S&P 2025), and some
begin anew with every packet (Bock et al., "Your Censor is My Censor", WOOT 2021). So after a
handshake that may have set this off, nobody opens a connection to the endpoint for that long, and
for longer each time that it happens again. Probes, block tests and workers obey the same list.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from monitor.diagnosis.timing import DiagnosisTiming
from monitor.health.paths import CERTAIN

MAX_ENDPOINTS = 4096
"""More than any configuration has; beyond it the one that is free first is forgotten."""


@dataclass(frozen=True, slots=True)
class Hold:
    """One endpoint's time."""

    until: float
    seconds: float
    """How long it is held, which decides how long it is held the next time."""
    since: float
    """When it was last known to be shut."""


class Quarantine:
    """Endpoints ("ip:port") and until when they are held, on a monotonic clock, in seconds.

    Each time 185 s, so that the end of a block is noticed soon. Only where an endpoint is still
    shut when its time is over, 200 s, 400, … 1800: `Pace.residual_*` are the numbers. One that has
    been quiet for `Pace.stop_growing` begins anew.
    """

    def __init__(self, pace: DiagnosisTiming) -> None:
        self.pace = pace
        self._holds: dict[str, Hold] = {}

    def __repr__(self) -> str:
        return f"<Quarantine {', '.join(self._holds) or 'empty'}>"

    def trigger(self, endpoint: str, now: float) -> float:
        """A handshake may have set off a blockade: until when the endpoint is held now.

        Within a hold, others that were on their way may fail as well: the time begins anew then.
        """
        known = self._known(endpoint, now)
        return self._hold(endpoint, now, known.seconds if known else self.pace.residual_hold)

    def still_shut(self, endpoint: str, now: float) -> float:
        """It was held for too short a time: until when it is held now."""
        pace, known = self.pace, self._known(endpoint, now)
        if known is not None and now < known.until:
            return known.until
        before = known.seconds if known else pace.residual_hold
        again = pace.residual_again
        longer = again if before < again else before * pace.residual_growth
        return self._hold(endpoint, now, min(longer, pace.residual_max))

    def _hold(self, endpoint: str, now: float, seconds: float) -> float:
        self._keep(endpoint, Hold(now + seconds, seconds, now))
        return now + seconds

    def _keep(self, endpoint: str, hold: Hold) -> None:
        self._holds[endpoint] = hold
        if len(self._holds) > MAX_ENDPOINTS:
            del self._holds[min(self._holds, key=lambda e: self._holds[e].until)]

    def until(self, endpoint: str, now: float) -> float | None:
        """Until when the endpoint is held; None when it is free."""
        known = self._holds.get(endpoint)
        return known.until if known is not None and now < known.until else None

    def prolong(self, endpoint: str, now: float, until: float) -> None:
        """It is still shut, and is looked at next at that time: it is held at least so long."""
        if until > (self.until(endpoint, now) or now):
            known = self._known(endpoint, now)
            seconds = known.seconds if known else self.pace.residual_hold
            self._keep(endpoint, Hold(until, seconds, now))

    def contradicted(self, endpoint: str, began: float, now: float) -> bool:
        """A handshake that began then was answered there: lift the hold if the trigger came well
        before; True if it did."""
        known = self._holds.get(endpoint)
        if known is None or now >= known.until or began <= known.since + CERTAIN:
            return False
        self.lift(endpoint)
        return True

    def lift(self, endpoint: str) -> None:
        """Nothing is blocked there, it turned out; a next time is a first time."""
        self._holds.pop(endpoint, None)

    def running(self, now: float) -> Mapping[str, float]:
        """All endpoints that are held, and until when."""
        return {e: hold.until for e, hold in self._holds.items() if now < hold.until}

    def _known(self, endpoint: str, now: float) -> Hold | None:
        """The last hold, unless it was long ago."""
        known = self._holds.get(endpoint)
        return known if known and now < known.until + self.pace.stop_growing else None
