"""The budget of visitors of the public pages: requests of each, and of all together."""

from __future__ import annotations

import math
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

from multidict import MultiMapping

from dashboard.common.sources import Sources, Visitor

KNOWN = 8192
"""Visitors whose use is remembered; those not seen for the longest time are forgotten first."""
EACH_AT_ONCE = 6.0
"""Seconds' worth of requests that a visitor may send at once: a page loads what belongs to it."""
ALL_AT_ONCE = 1.0
LOOKS = 0.1
"""Looks at a key of one visitor in a second …"""
LOOKS_AT_ONCE = 100.0
"""… and how many seconds' worth of them at once: ten."""
_ALL = b"all"
_ROUNDING = 1e-6
"""Seconds by which sums of parts of a second may be off."""


@dataclass(frozen=True, slots=True)
class Refusal:
    """Reason for which a visitor has to come back later."""

    status: int
    """429: this visitor asked too often; 503: all together did."""
    retry_after: int
    """Seconds."""


class Rates:
    """Token buckets, each as the moment when it is full again (the generic cell rate algorithm)."""

    def __init__(self, most: int) -> None:
        self._full_at: OrderedDict[bytes, float] = OrderedDict()
        self._most = most

    def __len__(self) -> int:
        return len(self._full_at)

    def wait(self, key: bytes, rate: float, at_once: float, now: float) -> float:
        """Seconds until this bucket has a token; `at_once`: seconds' worth that it holds."""
        if not rate:
            return 0.0
        holds = max(at_once, 1 / rate)
        wait = self._full_at.get(key, 0.0) - now - (holds - 1 / rate)
        return wait if wait > _ROUNDING else 0.0

    def take(self, key: bytes, rate: float, now: float) -> None:
        """Take a token."""
        if rate:
            self._full_at[key] = max(self._full_at.get(key, 0.0), now) + 1 / rate
            self._full_at.move_to_end(key)
            if len(self._full_at) > self._most:
                self._full_at.popitem(last=False)


class Visitors:
    """Admits visitors by the settings in effect."""

    def __init__(self, sources: Sources, clock: Callable[[], float] = time.monotonic) -> None:
        self._sources = sources
        self._clock = clock
        self._each = Rates(KNOWN)
        self._all = Rates(1)
        self._looks = Rates(KNOWN)

    def __repr__(self) -> str:
        return f"<Visitors {len(self._each)} known>"

    def most_connections(self) -> float:
        """Connections that one visitor may have at once."""
        return self._sources.dashboard().max_connections_per_visitor or math.inf

    def connecting(self, address: str) -> tuple[Visitor, Refusal | None]:
        """Admit a connection; returns its address, and why nothing is read from there, if so.

        What comes first on a visitor's own connection is counted now, as it may be no request.
        """
        visitor = self._sources.visitor(address, None)
        return visitor, None if visitor.proxied else self._admit(visitor.key)

    def asking(self, address: str, fields: MultiMapping[str]) -> Refusal | None:
        """Admit a request, and count it if it is."""
        return self._admit(self._sources.visitor(address, fields).key)

    def looking_up(self, address: str, fields: MultiMapping[str]) -> Refusal | None:
        """Admit a look at a key, and count it if it is: each visitor has few."""
        key, now = self._sources.visitor(address, fields).key, self._clock()
        if wait := self._looks.wait(key, LOOKS, LOOKS_AT_ONCE, now):
            return Refusal(429, math.ceil(wait))
        self._looks.take(key, LOOKS, now)
        return None

    def _admit(self, key: bytes) -> Refusal | None:
        config, now = self._sources.dashboard(), self._clock()
        each, total = config.requests_per_second, config.total_requests_per_second
        if wait := self._each.wait(key, each, EACH_AT_ONCE, now):
            return Refusal(429, math.ceil(wait))
        if wait := self._all.wait(_ALL, total, ALL_AT_ONCE, now):
            return Refusal(503, math.ceil(wait))
        self._each.take(key, each, now)
        self._all.take(_ALL, total, now)
        return None
