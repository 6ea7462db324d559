"""When failing traffic takes a mirror out of rotation, and for how long.

After Envoy's outlier detection, for a few mirrors instead of hundreds of hosts: what lies between
us and a response counts apart from what the mirror answered; the window slides, so that no failure
is forgotten at the turn of a minute; the time out doubles with every ejection.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Mapping
from enum import StrEnum

from router.balancing.config import EjectionConfig
from router.balancing.failure import TRAITS, Blame, Failure
from router.balancing.window import Window

WINDOW = 60.0
"""Seconds over which the share of failures is taken."""
HEALTHY = 60.0
"""Seconds in rotation after which one earlier ejection is forgiven."""
SPREAD = (0.8, 1.2)
"""Times are drawn within these, so that mirrors ejected together do not return together."""
_UPLINK_WITHIN = 5.0
_UPLINK_SHARE = 0.8


class Cause(StrEnum):
    """Why a mirror was ejected."""

    unreachable = "unreachable"
    """No connection to it: a probe that gets one proves the contrary."""
    unanswered = "unanswered"
    """Connections, but no answers in time: whoever tries it again has to wait."""
    failing = "failing"
    """Answers that are failures, or connections that end."""


_WAITED = frozenset((Failure.timeout, Failure.content_timeout, Failure.slow, Failure.stalled))


class FailureWatch:
    """Counts one mirror's failures; says when they are enough."""

    __slots__ = ("_all", "_failed", "_local", "_untold", "_upstream", "rules")

    def __init__(self, rules: EjectionConfig) -> None:
        self.rules = rules
        self._local = 0
        self._upstream = 0.0
        self._untold = 0
        self._all = Window(WINDOW)
        self._failed = Window(WINDOW)

    def __repr__(self) -> str:
        return f"<FailureWatch {self._local} local, {self._upstream:g} upstream in a row>"

    def succeeded(self, now: float, count: int = 1) -> None:
        """Requests ended well."""
        if count:
            self._local, self._upstream = 0, 0.0
            self._untold += count
            self._all.add(count, now)

    @property
    def failed_last(self) -> bool:
        """True if the last request that ended here failed."""
        return self._local > 0 or self._upstream > 0.0

    @property
    def unreached(self) -> bool:
        """True if the last request that ended here got no response."""
        return self._local > 0

    def take_untold(self) -> int:
        """Return the number of successes since the last call."""
        count, self._untold = self._untold, 0
        return count

    def failed(self, failure: Failure, weight: float, now: float) -> Cause | None:
        """A request failed; the cause if the mirror should be ejected now.

        `weight` is `failure.weight_of`'s: nothing counts that the mirror is not to blame for. A
        response, even a failed one, shows that the way to the mirror is open.
        """
        if weight <= 0.0:
            return None
        self._all.add(1, now)
        self._failed.add(weight, now)
        if TRAITS[failure].blame is Blame.local:
            self._local += 1
        else:
            self._local = 0
            self._upstream += weight
        return self._verdict(failure, now)

    def failing(self, now: float) -> float:
        """The share of failures within the window, 0 while too few requests are in it."""
        requests = self._all.sum(now)
        return self._failed.sum(now) / requests if requests >= self.rules.min_requests else 0.0

    def reset(self) -> None:
        """Begin anew: it has just been ejected, or has come back."""
        self._local, self._upstream = 0, 0.0
        self._all.clear()
        self._failed.clear()

    def _verdict(self, failure: Failure, now: float) -> Cause | None:
        rules = self.rules
        enough = self._local >= rules.consecutive_local or self._upstream >= rules.consecutive_5xx
        if not enough and self.failing(now) < rules.ratio:
            return None
        return cause_of(failure)


def cause_of(failure: Failure) -> Cause:
    """Return the cause of an ejection whose last failure was this one."""
    if failure in _WAITED:
        return Cause.unanswered
    return Cause.unreachable if TRAITS[failure].probe_proves else Cause.failing


def ejection_seconds(
    count: int, cause: Cause | None, rules: EjectionConfig, rng: random.Random
) -> float:
    """Seconds of the `count`-th ejection in a row; counted from 1.

    To try a mirror that fails at once costs one request a moment, and leaving it out for long costs
    more once it has recovered: such ejections grow less.
    """
    longest = rules.max if cause is Cause.unanswered else min(rules.max, rules.max_quick)
    return min(rules.base * 2.0 ** min(count - 1, 30), longest) * rng.uniform(*SPREAD)


def forgiven(count: int, healthy: float) -> int:
    """Number of earlier ejections that still count after this many seconds in rotation."""
    return max(0, count - int(healthy / HEALTHY))


def may_eject(mirror: str, ejected: Iterable[str], usable: Iterable[str], max_percent: int) -> bool:
    """True if one more mirror may be out of rotation.

    `usable` are those that operator and probes allow, ejected or not. At most `max_percent` of
    them are ejected, though one always may be, and never the last that is left.
    """
    allowed = set(usable)
    out = {name for name in ejected if name in allowed and name != mirror}
    left = allowed - out - {mirror}
    return bool(left) and max_percent > 0 and len(out) < max(1, max_percent * len(allowed) // 100)


class UplinkWatch:
    """Detects that nearly all mirrors fail at once: then it is our own network, and none is
    ejected."""

    __slots__ = ("failed_at",)

    def __init__(self) -> None:
        self.failed_at: dict[str, float] = {}
        """When each mirror has failed last that has not been reached since."""

    def failed(self, mirror: str, now: float) -> None:
        """A failure between us and this mirror."""
        self.failed_at[mirror] = now

    def succeeded(self, mirror: str) -> None:
        """The way to this mirror is open."""
        self.failed_at.pop(mirror, None)

    def keep(self, mirrors: Mapping[str, object]) -> None:
        """Forget the mirrors that are not among these."""
        self.failed_at = {m: at for m, at in self.failed_at.items() if m in mirrors}

    def suspect(self, total: int, now: float) -> bool:
        """True if at least 80 % of all mirrors, and more than one, failed within 5 s."""
        if total < 2 or len(self.failed_at) < _UPLINK_SHARE * total:
            return False
        recent = sum(now - at <= _UPLINK_WITHIN for at in self.failed_at.values())
        return recent >= _UPLINK_SHARE * total
