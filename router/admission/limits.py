"""True if a client has room for one more request: decided before a byte of its body is read."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Sequence
from math import ceil
from typing import Any, Final

from router.admission.client_address import Client, network_map
from router.admission.config import LimitsConfig
from router.admission.key_index import IssuedKey
from router.admission.key_scope import counted_as, counts
from router.admission.key_scope import too_fast as key_too_fast
from router.admission.key_scope import too_many as key_too_many
from router.admission.network_map import NetworkMap
from router.admission.shared_table import TOO_FAST, TOO_MANY, UNCOUNTED, Answer, Table
from router.wire.error_response import Problem

_MOST_KNOWN = 4096
LET_IN: Answer = (UNCOUNTED, 0.0)
TOO_MANY_OPEN = "too_many_connections"
RECHECKS: Final = (0.02, 0.08)
"""Seconds between looks for a place before a client is refused one: it may have ended a request of
which another worker has not heard yet."""
MOST_WAITING: Final = 256
"""Requests of a worker that wait like that; of more, each is refused at once. A client may have as
many as are left for all others, so that there are always some left."""


class Limits:
    """The limits per client, over all workers."""

    def __init__(self, table: Table) -> None:
        self._table = table
        self._waiting = 0
        self._waiting_of: dict[bytes, int] = {}
        self._allowances: NetworkMap[float] = NetworkMap()
        self.configure(LimitsConfig())

    def __repr__(self) -> str:
        return f"<Limits of {self._config.connections}, {self.held} held>"

    @property
    def held(self) -> int:
        """Places that this worker's requests have."""
        return self._table.held

    @property
    def short(self) -> bool:
        """True if the last refusal was for want of a share of a limit that hosts have together."""
        return self._table.short

    @property
    def waiting(self) -> int:
        """Requests that are looked at again in a moment."""
        return self._waiting

    def configure(self, config: LimitsConfig) -> None:
        """Take new settings; what is open stays counted."""
        self._config = config
        self._allowed = network_map(config.allow)
        self._exempts = bool(self._allowed or self._allowances)
        self._free: set[str] = set()
        """Addresses of clients seen lately that are never limited."""

    def allow(self, allowances: Iterable[Sequence[Any]]) -> None:
        """Take all networks that are not limited, and until when, anew, as control sends them."""
        self._allowances = NetworkMap()
        for network, until in allowances:
            self._allowances[network] = float("inf") if until is None else until
        self._exempts = bool(self._allowed or self._allowances)

    def enter(self, client: Client, now: float, wall: float, with_wait: bool = True) -> Answer:
        """A place to be given back with `leave`, or the refusal (`refusal_of`).

        `now` is on the monotonic clock, `wall` in seconds since the epoch; `with_wait` as of
        `Table.admit`.
        """
        config = self._config
        limit, rate = config.connections, config.requests_per_second
        if not client.version or (self._exempts and self._is_exempt(client, wall)):
            return LET_IN
        if not (limit or rate):
            return LET_IN
        return self._table.admit(client.key, now, limit, rate, config.burst, with_wait)

    def stand_by(
        self,
        issued: IssuedKey | None,
        client: Client,
        now: float,
        wall: float,
        with_wait: bool = True,
    ) -> tuple[int, Problem | None]:
        """As `enter_with`, for a request that is to enter later: its rate is not counted yet."""
        config, limit = self._config, self._config.connections
        if not limit or not client.version or (self._exempts and self._is_exempt(client, wall)):
            return UNCOUNTED, None
        by_key = issued is not None and config.by == "key"
        key = counted_as(issued.id) if issued is not None and by_key else client.key
        place, wait = self._table.admit(key, now, limit, 0.0, 0, with_wait)
        if place >= UNCOUNTED:
            return place, None
        return UNCOUNTED, (key_too_many if by_key else too_many)(limit, max(1, ceil(wait)))

    def enter_with(
        self, issued: IssuedKey, client: Client, now: float, wall: float, with_wait: bool = True
    ) -> tuple[int, Problem | None]:
        """As `enter`, for a request with an issued key: a place, and why there is none, if so."""
        free = not client.version or (self._exempts and self._is_exempt(client, wall))
        place = UNCOUNTED
        for key, limit, rate, burst in counts(self._config, client.key, issued, free):
            if not (limit or rate):
                continue
            place, wait = self._table.admit(key, now, limit, rate, burst, with_wait)
            if place < UNCOUNTED and key is client.key:
                return UNCOUNTED, self.refusal_of((place, wait))
            if place < UNCOUNTED:
                seconds = max(1, ceil(wait))
                if place == TOO_MANY:
                    return UNCOUNTED, key_too_many(limit, seconds)
                return UNCOUNTED, key_too_fast(rate, seconds)
        return place, None

    def refusal_of_rate(self, issued: IssuedKey, now: float) -> Problem | None:
        """Count a request within a WebSocket by the own rate of its key; why it is refused."""
        rate = issued.rate
        if not rate:
            return None
        burst = min(self._config.burst, ceil(rate))
        place, wait = self._table.admit(counted_as(issued.id), now, 0, rate, burst, False)
        return key_too_fast(rate, max(1, ceil(wait))) if place < UNCOUNTED else None

    def may_wait(self, client: Client) -> bool:
        """True if a refusal may be put off for a moment."""
        return self._waiting + self._waiting_of.get(client.key, 0) < MOST_WAITING

    def wait(self, client: Client, seconds: float, then: Callable[[], None]) -> None:
        """Look again in a moment."""
        key, of = client.key, self._waiting_of
        self._waiting += 1
        of[key] = of.get(key, 0) + 1
        asyncio.get_running_loop().call_later(seconds, self._look_again, key, then)

    def _look_again(self, key: bytes, then: Callable[[], None]) -> None:
        self._waiting -= 1
        self._waiting_of[key] -= 1
        if not self._waiting_of[key]:
            del self._waiting_of[key]
        then()

    def leave(self, place: int) -> None:
        """Give a place back, once."""
        self._table.release(place)

    def uncounted(self) -> dict[str, int]:
        """Requests that were let in without being counted, by the cause."""
        return {"full": self._table.full, "busy": self._table.busy}

    def refusal_of(self, answer: Answer) -> Problem | None:
        """Error for a client that `enter` refused; None if it was let in."""
        place, wait = answer
        seconds = max(1, ceil(wait))
        if place == TOO_MANY:
            return too_many(self._config.connections, seconds)
        if place == TOO_FAST:
            return too_fast(self._config.requests_per_second, seconds)
        return None

    def _is_exempt(self, client: Client, wall: float) -> bool:
        version, number = client.version, client.number
        if client.address in self._free:
            return True
        if self._allowed and any(self._allowed.around(version, number)):
            if len(self._free) >= _MOST_KNOWN:
                self._free.clear()
            self._free.add(client.address)
            return True
        return any(wall < until for until in self._allowances.around(version, number))


def too_many(limit: int, seconds: int) -> Problem:
    """The refusal of one open request too many."""
    message = (
        f"This address has {limit} requests and streams open, which is the limit here. "
        f"Wait for one of them to end, or try again in {seconds} s."
    )
    return Problem(429, TOO_MANY_OPEN, message, retry_after=seconds)


def too_fast(rate: float, seconds: int) -> Problem:
    """The refusal of a request that came too early."""
    message = (
        f"This address sends more than {rate:g} requests a second, which is the limit here. "
        f"Try again in {seconds} s."
    )
    return Problem(429, "rate_limit_exceeded", message, retry_after=seconds)
