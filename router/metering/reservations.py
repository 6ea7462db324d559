"""Reservations: the cost that open requests of issued keys may still have, over all workers.

A request with a quota is admitted when what is left of it covers, besides this request's own
estimate, what all open requests of the key have reserved and what was charged since control last
said what is left. So parallel requests cannot spend a quota many times over. Where the estimate is
more than what is left, one request at a time is let through, so that the rest can be used.

Workers see each other's sums in the shared table (`Table.hold`); those of a worker that was killed
are gone with its column.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from math import ceil, inf
from typing import NamedTuple

from router.admission.client_address import named_key
from router.admission.key_index import IssuedKey
from router.admission.key_scope import refusal_of_reserved, refusal_of_spent
from router.admission.shared_table import TOO_MANY, UNCOUNTED, Table
from router.metering.batches import UsageBatches
from router.wire.error_response import Problem

_MOST_OPEN = 0xFFFF
_KINDS = ("quota", "tokens", "open")
Limits = tuple[int | None, int | None]
"""Nano-units and tokens; None: no limit."""


class Reservation(NamedTuple):
    """The cost that one open request may have, until `Reservations.leave` gives it back."""

    key: str
    place: int
    amounts: tuple[int, int]
    """Nano-units and tokens."""


class _Open:
    """The open requests of one key on this worker."""

    __slots__ = ("amounts", "names", "places", "requests")

    def __init__(self, key_id: str) -> None:
        self.requests = 0
        self.amounts = (0, 0)
        self.places = [UNCOUNTED, UNCOUNTED]
        """Where the table has what this worker holds of both."""
        self.names = [named_key(kind, key_id) for kind in _KINDS]


class Reservations:
    """The reservations of one worker."""

    def __init__(
        self, table: Table, uses: UsageBatches, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._table = table
        self._uses = uses
        self._clock = clock
        self._open: dict[str, _Open] = {}
        uses.settled = self._settled

    def __repr__(self) -> str:
        return f"<Reservations of {len(self._open)} keys>"

    def __len__(self) -> int:
        return sum(one.requests for one in self._open.values())

    def enter(self, key: IssuedKey, amounts: tuple[int, int]) -> Reservation | Problem:
        """Reserve this much of a key's quotas, or tell why that cannot be."""
        table, one = self._table, self._open.get(key.id)
        if one is None:
            one = self._open[key.id] = _Open(key.id)
        lefts = (key.left, key.tokens_left)
        others = self._hold(one, key.id, lefts, amounts, lefts)
        place = table.acquire(one.names[-1], _MOST_OPEN if others is None else 1)
        if others is not None:
            shared = place == TOO_MANY or one.requests > 0
            problem = self._refusal(one, key.id, lefts, others, amounts, shared)
            if problem is not None:
                table.release(place)
                self._restore(key.id, one)
                return problem
            self._hold(one, key.id, lefts, amounts, (None, None))
        one.requests += 1
        one.amounts = (one.amounts[0] + amounts[0], one.amounts[1] + amounts[1])
        return Reservation(key.id, place, amounts)

    def _refusal(
        self,
        one: _Open,
        key_id: str,
        lefts: Limits,
        others: list[float],
        amounts: tuple[int, int],
        has_others_open: bool,
    ) -> Problem | None:
        """Why a request may not come in whose reservation does not fit; None: it is the only one,
        and something is left."""
        held = zip(lefts, others, one.amounts, self._uses.spent(key_id), strict=True)
        free = [
            None if left is None else left - ceil(other) - mine - charged
            for left, other, mine, charged in held
        ]
        if has_others_open:
            return refusal_of_reserved(lefts, free, amounts)
        return refusal_of_spent(*free)

    def leave(self, reservation: Reservation) -> None:
        """Give back, once: what the request has cost is among the uses by now."""
        one = self._open[reservation.key]
        one.requests -= 1
        cost, tokens = reservation.amounts
        one.amounts = (one.amounts[0] - cost, one.amounts[1] - tokens)
        self._table.release(reservation.place)
        self._restore(reservation.key, one)

    def _hold(
        self,
        one: _Open,
        key_id: str,
        lefts: Limits,
        more: tuple[int, int],
        most: Limits,
    ) -> list[float] | None:
        """Hold more of both kinds; None: done. Else what other workers hold, and nothing is."""
        now, spent, others, fits = self._clock(), self._uses.spent(key_id), [0.0, 0.0], True
        for at, left in enumerate(lefts):
            if left is None:
                continue
            amount, limit = one.amounts[at] + spent[at] + more[at], most[at]
            place, others[at] = self._table.hold(
                one.names[at], now, amount, inf if limit is None else limit, max(left, 1)
            )
            if place == TOO_MANY or (limit is not None and others[at] + amount > limit):
                fits = False
            elif place == UNCOUNTED:  # the table was busy
                self._table.hold_less(one.places[at], amount)
            else:
                one.places[at] = place
        return None if fits else others

    def _settled(self, key_id: str) -> None:
        """Control has written charges, and said before what is left."""
        one = self._open.get(key_id)
        if one is not None:
            self._restore(key_id, one)

    def _restore(self, key_id: str, one: _Open) -> None:
        """Hold what is open and charged, and no more."""
        spent = self._uses.spent(key_id)
        for at, place in enumerate(one.places):
            amount = one.amounts[at] + spent[at]
            self._table.hold_less(place, amount)
            if amount <= 0:
                one.places[at] = UNCOUNTED
        if not one.requests and one.places == [UNCOUNTED, UNCOUNTED]:
            del self._open[key_id]
