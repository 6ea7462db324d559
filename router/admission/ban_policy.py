"""Which refusals become a ban: pure, with the clock in the alerts and chance handed in.

After fail2ban: so many violations within so much time, longer with each repetition, and a little
longer by chance, so that nobody can time his return.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, field

from router.admission.config import BanConfig
from router.admission.rejection_reports import Alert

MOST_WATCHED = 50_000
"""Clients whose violations are remembered; of more, those good for longest are forgotten."""
_JITTER = 0.1


@dataclass(frozen=True, slots=True)
class Offence:
    """A client that has earned a ban."""

    network: str
    reason: str
    """The rule that it broke most often."""
    user_agent: str
    """What it said it was when it was first noticed."""
    refusals: int


@dataclass(slots=True)
class _Watched:
    """The recent offences of one client."""

    user_agent: str
    rules: dict[int, str] = field(default_factory=dict)
    """By second; the rule that was broken first in it."""
    refusals: int = 0


class BanPolicy:
    """Counts violations; tells when there are enough."""

    def __init__(self, config: BanConfig, most: int = MOST_WATCHED) -> None:
        self.config = config
        self._most = most
        self._watched: dict[str, _Watched] = {}

    def __repr__(self) -> str:
        return f"<BanPolicy of {len(self._watched)} clients>"

    def hear(self, alert: Alert) -> Offence | None:
        """Take an alert; the offence that it completes, after which all begins anew."""
        watched = self._watched.pop(alert.network, None) or _Watched(alert.user_agent)
        self._watched[alert.network] = watched  # the newest stands last
        if len(self._watched) > self._most:
            del self._watched[next(iter(self._watched))]
        watched.refusals += alert.refusals
        watched.rules.setdefault(alert.second, alert.rule)
        since = max(watched.rules) - self.config.within
        watched.rules = {s: rule for s, rule in watched.rules.items() if s > since}
        if len(watched.rules) < self.config.violations:
            return None
        del self._watched[alert.network]
        rules = list(watched.rules.values())
        reason = max(rules, key=rules.count)
        return Offence(alert.network, reason, watched.user_agent, watched.refusals)

    def forget(self, network: str) -> None:
        """This client begins anew."""
        self._watched.pop(network, None)

    def forget_all(self) -> None:
        """Everybody begins anew."""
        self._watched.clear()


def ban_seconds(config: BanConfig, times: int, rng: random.Random) -> float:
    """Seconds of the `times`-th ban of a client (1: the first)."""
    doubled = config.for_ * 2.0 ** min(times - 1, 64)
    return min(doubled * (1 + _JITTER * rng.random()), config.max)
