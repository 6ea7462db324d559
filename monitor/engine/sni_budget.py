"""Budget of handshakes with a suspected name: each may set off, or prolong, a block.

Counts handshakes with the name of one host while it is suspected, whoever makes them: routine
probes and block tests share one account. Pure: the clock is handed in.
"""

from __future__ import annotations

from collections import deque

from monitor.diagnosis.timing import DiagnosisTiming

MAX_HOSTS = 4096
"""More than any configuration has; beyond it the one that was quiet longest is forgotten."""


class SniBudget:
    """At most `Pace.suspicious_most` of them per host within any `Pace.suspicious_window`."""

    def __init__(self, pace: DiagnosisTiming) -> None:
        self._pace = pace
        self._spent: dict[str, deque[float]] = {}

    def __repr__(self) -> str:
        return f"<SniBudget {', '.join(f'{h} {len(t)}' for h, t in self._spent.items()) or 'idle'}>"

    def free_at(self, hostname: str, now: float) -> float:
        """From when on the next one is allowed, on the clock of `now`; `now` if it is at once."""
        spent = self._spent.get(hostname)
        if spent is None or len(spent) < self._pace.suspicious_most:
            return now
        return max(spent[0] + self._pace.suspicious_window, now)

    def spend(self, hostname: str, now: float) -> bool:
        """Take the right to one handshake; False, and nothing taken, if there is none."""
        if self.free_at(hostname, now) > now:
            return False
        spent = self._spent.pop(hostname, None) or deque(maxlen=self._pace.suspicious_most)
        spent.append(now)
        self._spent[hostname] = spent
        if len(self._spent) > MAX_HOSTS:
            del self._spent[next(iter(self._spent))]
        return True
