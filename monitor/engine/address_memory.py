"""Memory of addresses between probes: round trips, working controls, good answers."""

from __future__ import annotations

from collections import deque

from monitor.diagnosis.timing import DiagnosisTiming
from monitor.probes.connect import MAX_ADDRESSES

_KEPT = 5
"""Connects whose least time is taken for the round trip."""
_NEEDED = 3
"""A single connect may have been slowed down by our own machine: then resets would seem early."""
_MOST = 4096


class RoundTrips:
    """The round trip to each address, in seconds: the least time of its last five connects, or of
    its last five answers to a control's hello where these came sooner.

    A connect alone may say too much: SYN proxies, and switches that look a new flow up, delay the
    first packet of a connection and no other.
    """

    def __init__(self) -> None:
        self._connects: dict[str, deque[float]] = {}
        self._answers: dict[str, deque[float]] = {}

    def add(self, address: str, seconds: float) -> None:
        """A connect has succeeded in this time."""
        _keep(self._connects, address, seconds)

    def answered(self, address: str, seconds: float) -> None:
        """The first byte of an answer to a control's hello has come after this time."""
        _keep(self._answers, address, seconds)

    def of(self, address: str) -> float | None:
        """The round trip, None until it can be told from three connects."""
        kept = self._connects.get(address, ())
        return min(*kept, *self._answers.get(address, ())) if len(kept) >= _NEEDED else None


def _keep(seconds: dict[str, deque[float]], address: str, latest: float) -> None:
    kept = seconds.pop(address, None) or deque(maxlen=_KEPT)
    kept.append(latest)
    seconds[address] = kept
    if len(seconds) > _MOST:
        del seconds[next(iter(seconds))]


class Baseline:
    """Control names that have been answered, at which addresses, and when.

    Some servers cut off names that they do not serve; such a control says nothing there.
    """

    def __init__(self, pace: DiagnosisTiming) -> None:
        self._pace = pace
        self._answered: dict[tuple[str, str], float | None] = {}

    def vouches(self, address: str, control: str, answered: bool, now: float) -> bool:
        """Take a result; whether it may be used: the first one, or within a day of a good one."""
        first = (address, control) not in self._answered
        last = now if answered else self._answered.pop((address, control), None)
        self._answered[address, control] = last
        if len(self._answered) > _MOST:
            del self._answered[next(iter(self._answered))]
        return first or (last is not None and now - last <= self._pace.control_baseline)


class LastGood:
    """Addresses that have proven to be a host, by a certificate for its name, and when."""

    def __init__(self, pace: DiagnosisTiming) -> None:
        self._pace = pace
        self._verified: dict[str, dict[str, float]] = {}

    def note(self, hostname: str, address: str, now: float) -> None:
        """A handshake with this address has ended well."""
        kept = self._verified.pop(hostname, {})
        kept.pop(address, None)
        kept[address] = now
        self._verified[hostname] = dict(list(kept.items())[-MAX_ADDRESSES:])
        if len(self._verified) > _MOST:
            del self._verified[next(iter(self._verified))]

    def of(self, hostname: str, now: float) -> tuple[str, ...]:
        """The addresses that did so within a day, the latest first."""
        kept = self._verified.get(hostname, {})
        recent = [a for a, at in kept.items() if now - at <= self._pace.last_good]
        return tuple(reversed(recent))
