"""Endpoints that are left alone, and for how long.

Some networks that block a name by the SNI of a TLS handshake afterwards reset or drop everything
between the same two addresses and the same port for a while, whatever its name: 180 s were measured
(Wu et al., "A Wall Behind A Wall: Emerging Regional Censorship in China", IEEE S&P 2025), and some
begin anew with every packet (Bock et al., "Your Censor is My Censor", WOOT 2021). So after a
handshake that may have set this off, nobody opens a connection to the endpoint for that long, and
for longer each time that it happens again. Probes, experiments and workers obey the same list.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from monitor.diagnosis.timing import DiagnosisTiming

MAX_ENDPOINTS = 4096
"""More than any configuration has; beyond it the one that is free first is forgotten."""


@dataclass(frozen=True, slots=True)
class Hold:
    """One endpoint's time."""

    until: float
    seconds: float
    """How long it is held, which decides how long it is held the next time."""


class Quarantine:
    """Endpoints ("ip:port") and until when they are held, on a monotonic clock, in seconds.

    185 s, then 200, 400, … 1800: `Pace.residual_*` are the numbers. An endpoint that has been
    quiet for `Pace.stop_growing` begins anew.
    """

    def __init__(self, pace: DiagnosisTiming) -> None:
        self.pace = pace
        self._holds: dict[str, Hold] = {}

    def __repr__(self) -> str:
        return f"<Quarantine {', '.join(self._holds) or 'empty'}>"

    def trigger(self, endpoint: str, now: float) -> float:
        """A handshake may have set off a blockade: until when the endpoint is held now.

        Within a hold, others that were on their way may fail as well: the time begins anew then,
        but does not grow.
        """
        seconds = self._seconds(self._holds.get(endpoint), now)
        self._holds[endpoint] = Hold(now + seconds, seconds)
        if len(self._holds) > MAX_ENDPOINTS:
            del self._holds[min(self._holds, key=lambda e: self._holds[e].until)]
        return now + seconds

    def until(self, endpoint: str, now: float) -> float | None:
        """Until when the endpoint is held; None when it is free."""
        known = self._holds.get(endpoint)
        return known.until if known is not None and now < known.until else None

    def lift(self, endpoint: str) -> None:
        """Nothing is blocked there, it turned out; a next time is a first time."""
        self._holds.pop(endpoint, None)

    def running(self, now: float) -> Mapping[str, float]:
        """All endpoints that are held, and until when."""
        return {e: hold.until for e, hold in self._holds.items() if now < hold.until}

    def _seconds(self, known: Hold | None, now: float) -> float:
        pace = self.pace
        if known is None or now >= known.until + pace.stop_growing:
            return pace.residual_hold
        if now < known.until:
            return known.seconds
        longer = known.seconds * pace.residual_growth
        again = pace.residual_again if known.seconds <= pace.residual_hold else longer
        return min(again, pace.residual_max)
