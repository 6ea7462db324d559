"""Statistics of one address and port from traffic: the names that worked there, and the one that
was cut off first, which may have shut it for all of them."""

from __future__ import annotations

from typing import NamedTuple

from router.upstream.trials import Trials

MOST_ASIDE = 1800.0
"""Seconds that a name which was cut off is left out at an address that it shares with others; also
the most between two trials of it, while none of the others works either."""
AT_ONCE = 1.5
"""Seconds after a cut within which another name that is answered at the same address shows that
nothing was shut by it ..."""
OPEN_FOR = 60.0
"""... and for which that is taken to stay so."""
LATELY = 5.0
"""Seconds since a connection came about over a path within which it is tried once more when it is
cut off: more often that is a server which resets some hellos than a block that has just begun."""
MOST_NAMES = 64
"""Names at one address that are kept in mind; beyond it the oldest goes."""
_NEVER = float("-inf")


class LeftOut(NamedTuple):
    """A name that is left out at an address where others lead, for it was cut off first there."""

    name: str = ""
    since: float = _NEVER
    until: float = _NEVER
    by_control: bool = False
    """True if control has said so; else it is what this worker has seen."""
    open_beside: bool = False
    """True if another name was answered since: it shuts nothing any more."""
    successes: int = 0
    """Connections under it that control knew of when it was cut off."""


_NONE = LeftOut()


class EndpointStats:
    """One address and port, as a worker's traffic has seen it. Pure: times are handed in."""

    __slots__ = (
        "_cut_at",
        "_cut_name",
        "_left_out",
        "_opened_at",
        "_stays_open_until",
        "_trials",
    )

    def __init__(self) -> None:
        self._opened_at: dict[str, float] = {}
        """When a connection was opened last under each name."""
        self._cut_name = ""
        """The name that was cut off last ..."""
        self._cut_at = _NEVER
        """... and when."""
        self._left_out = _NONE
        self._stays_open_until = _NEVER
        """Until when a cut is taken to concern its own name alone."""
        self._trials = Trials(MOST_ASIDE)
        """Those of the name that is left out."""

    def opened(self, name: str, seconds: float, now: float) -> None:
        """A connection came about under this name, in this many seconds."""
        self._opened_at.pop(name, None)
        self._opened_at[name] = now
        if len(self._opened_at) > MOST_NAMES:
            del self._opened_at[next(iter(self._opened_at))]
        self._trials = Trials(MOST_ASIDE)
        self.let_in(name)
        if self._left_out.name and now - seconds > self._left_out.since:
            self._left_out = self._left_out._replace(open_beside=True)
        began_after_cut = self._cut_at <= now - seconds
        if name != self._cut_name and began_after_cut and now - self._cut_at < AT_ONCE:
            self._stays_open_until = now + OPEN_FOR
            self._left_out = _NONE

    def cut_off(self, name: str, now: float, successes: int = 0) -> None:
        """The name was cut off, and as far as is known no other one had shut the address. A name
        that is left out already stays the one: it may have shut the address for longer than the
        caller's holds last. `successes`: connections under it that control knows of."""
        self._cut_name, self._cut_at = name, now
        known = self.shut_by(now)
        if not self.stays_open(now) and known in ("", name):
            by_control = known == name and self._left_out.by_control
            until = now + MOST_ASIDE
            self._left_out = LeftOut(name, now, until, by_control, successes=successes)

    def control_says(self, name: str, left_out: bool, now: float, successes: int = 0) -> None:
        """Control leaves the name out as one that is cut off, or has taken it in again: its word
        counts from now on. Other names that are cut off meanwhile do not take its place.

        Where it never left the name out, it has connected since: `successes` are others than when
        the name was cut off, also when control was started anew.
        """
        known = self._left_out
        if left_out:
            known = known if known.name == name else LeftOut(name, now)
            self._left_out = known._replace(until=now + MOST_ASIDE, by_control=True)
            return
        connected = successes not in (0, known.successes) and now - self._cut_at >= AT_ONCE
        if known.by_control or connected:
            self.let_in(name)

    def let_in(self, name: str) -> None:
        """Leave the name out no longer."""
        if self._left_out.name == name:
            self._left_out = _NONE

    def shut_by(self, now: float) -> str:
        """The name that is left out, if there is one."""
        return self._left_out.name if now < self._left_out.until else ""

    def blamed(self, now: float) -> str:
        """The same, as long as it may have shut the address."""
        return "" if self._left_out.open_beside else self.shut_by(now)

    def stays_open(self, now: float) -> bool:
        """True if a cut is taken to concern one name alone."""
        return now < self._stays_open_until

    def worked_lately(self, name: str, now: float) -> bool:
        """True if a connection came about under this name a moment ago."""
        return now < self._opened_at.get(name, _NEVER) + LATELY

    def claim_trial(self, now: float) -> bool:
        """True if it is time to try a name that is left out; the caller does, and nobody else until
        the next one is due."""
        if not self._trials.may(now):
            return False
        self._trials.began(now)
        return True
