"""The operator's limits towards one mirror: open connections and requests per second.

Mirrors ban those who ask too much, and all our callers share one address: so the numbers hold over
all workers and the monitor together, in the table that limits clients too. Only mirrors with such a
limit have a limiter.
"""

from __future__ import annotations

from monitor.common.config import MirrorConfig
from router.admission.client_address import named_key
from router.admission.shared_table import TOO_FAST, TOO_MANY, UNCOUNTED, Table

SPARE = 0.9
"""Share of the allowed rate that is used: the network delays requests unevenly, so that some arrive
closer together."""
RECHECK = 0.01
"""Seconds after which a full mirror is asked for room again: another worker may have made some."""


class Limiter:
    """The way into one mirror."""

    __slots__ = ("_connections", "_key", "_rate", "_table", "closed_until")

    def __init__(self, table: Table, mirror: MirrorConfig) -> None:
        self.closed_until = 0.0
        """When to ask for room again, on the monotonic clock."""
        self._table = table
        self._key = named_key("mirror", mirror.id)
        self._connections = mirror.max_connections
        self._rate = mirror.max_requests_per_second * SPARE

    def __repr__(self) -> str:
        return f"<Limiter {self._connections} connections, {self._rate:g}/s>"

    @classmethod
    def of(cls, table: Table, mirror: MirrorConfig) -> Limiter | None:
        """The limiter of a mirror; None if it has no limits."""
        limited = mirror.max_connections or mirror.max_requests_per_second
        return cls(table, mirror) if limited else None

    @property
    def counts_connections(self) -> bool:
        """True if each of them needs a place."""
        return self._connections > 0

    def enter(self, now: float, connects: bool) -> int | None:
        """Room for one request: a place for the connection that it `connects`, to be given back
        with `leave`, or UNCOUNTED; None if there is no room before `closed_until`."""
        limit = self._connections if connects else 0
        place, wait = self._table.admit(self._key, now, limit, self._rate, 0, with_wait=False)
        if place == TOO_MANY:
            self.closed_until = now + RECHECK
        elif place == TOO_FAST:
            self.closed_until = now + min(wait, 1 / self._rate)
        else:
            return place
        return None

    def leave(self, place: int) -> None:
        """A connection is closed."""
        if place != UNCOUNTED:
            self._table.release(place)
            self.closed_until = 0.0
