"""This host's shares of limits: which to ask for, to keep and to give back. Pure.

Every limit is used in even shares until a client wants more on one host than that. From then on
each host has a share of its own, agreed on in Valkey, until nobody needs more than an even one.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from router.admission.shared_table import RATE_UNITS
from router.cluster.allotment import even, fair

HUNGRY_FOR = 2.0
"""Seconds for which a refusal says that a share is too small."""
KEPT_FOR = 30.0
"""Seconds for which more than an even share is kept without being used, if nobody wants it."""
REFRESH_EVERY = 5.0
ASK_AGAIN = 0.5
"""Seconds until a host that got too little asks again, though no release was heard of."""
LATELY = 2.0
"""Seconds within which the rate of a limit has been used, so that an even share is left to it."""
MOST = 4096
"""Limits that one host has shares of; those beyond stay at even shares."""

CONNECTIONS, RATE = "c", "r"


UseOf = Callable[[bytes], tuple[int, float]]
"""The open connections of a key on this host, and the theoretical arrival time of its rate."""


class Name(NamedTuple):
    """A limit that hosts share."""

    kind: str
    key: bytes


class Ask(NamedTuple):
    """One question to Valkey."""

    name: Name
    limit: int
    tolerance: float
    want: int
    """Units for which there is demand here, by which others work out fair shares."""
    units: int
    """The share that is asked for."""
    held: int
    """Units in use, which cannot be given back."""
    announce: bool
    """Tell the others if this is more than there is."""


class Standing(NamedTuple):
    """Another host's share of a limit, and what it wants."""

    share: int
    want: int


class Answer(NamedTuple):
    """An answer of Valkey."""

    share: int
    free: bool
    """Nobody needs more than an even share any more."""
    others: Mapping[str, Standing]


@dataclass(slots=True)
class Lease:
    """A share of one limit."""

    limit: int
    tolerance: float
    """Seconds by which requests may come too early; of a rate only."""
    share: int | None = None
    """None: not agreed on yet, so an even one is used."""
    hungry_until: float = float("-inf")
    used_at: float = float("-inf")
    """When more than an even share was last needed, or the rate was last used."""
    due: float = float("-inf")
    announce_at: float = float("-inf")
    """When the others are told next that it is too little: what they do is heard of at once."""
    owes: bool = False
    """Others wait for what is in use here."""
    others: Mapping[str, Standing] = field(default_factory=dict)


class Leases:
    """All shares that this host has of its own."""

    def __init__(self, host: str) -> None:
        self.hosts = 1
        """Hosts that the limits are shared with, this one included."""
        self._host = host
        self._leases: dict[Name, Lease] = {}

    def __repr__(self) -> str:
        return f"<Leases {len(self._leases)} among {self.hosts}>"

    def __len__(self) -> int:
        return len(self._leases)

    def names(self) -> list[Name]:
        """All limits with a share of our own."""
        return list(self._leases)

    def share(self, name: Name) -> tuple[int, int] | None:
        """Our share of a limit and the limit; None: an even share."""
        lease = self._leases.get(name)
        return None if lease is None or lease.share is None else (lease.share, lease.limit)

    def tolerance(self, name: Name) -> float:
        """Seconds by which requests may come too early for a rate."""
        lease = self._leases.get(name)
        return 0.0 if lease is None else lease.tolerance

    def short(self, key: bytes, limit: int, tolerance: float, now: float) -> None:
        """A client was refused here for want of a share: of its connections, or with a `limit` of
        0 of its rate."""
        name = Name(CONNECTIONS if limit else RATE, key)
        lease = self._take_up(name, limit or RATE_UNITS, tolerance)
        if lease is None:
            return
        if now >= lease.hungry_until:
            lease.due = lease.announce_at = now
        lease.hungry_until = now + HUNGRY_FOR

    def heard(self, name: Name, limit: int, tolerance: float, wanted: bool, now: float) -> None:
        """Another host wants more of a limit, or has given some back."""
        lease = self._take_up(name, limit, tolerance) if wanted else self._leases.get(name)
        if lease is not None:
            lease.due = now

    def due(self, now: float, use_of: UseOf, lower: Callable[[Name], None]) -> list[Ask]:
        """Questions that are to be asked now; `use_of` as of `Table`, `now` on its clock.

        `lower` puts a smaller share into effect, before Valkey gives the rest to others.
        """
        return [
            ask
            for name, lease in self._leases.items()
            if (lease.owes or lease.due <= now)
            and (ask := self._ask(name, lease, now, use_of, lower)) is not None
        ]

    def next_due(self) -> float:
        """When there may be something to ask, on the clock of `due`."""
        return min((lease.due for lease in self._leases.values()), default=float("inf"))

    @property
    def owes(self) -> bool:
        """True if others wait for something that is in use here."""
        return any(lease.owes for lease in self._leases.values())

    def answered(self, ask: Ask, answer: Answer, now: float) -> None:
        """Take what Valkey said."""
        lease = self._leases.get(ask.name)
        if lease is None:
            return
        hungry = now < lease.hungry_until
        if answer.free and not hungry:
            del self._leases[ask.name]
            return
        lease.share, lease.others = answer.share, answer.others
        least = max(ask.held, self._fair(lease, ask.want))
        contended = self._contended(lease)
        lease.owes = contended and answer.share > self._fair(lease, ask.want)
        if contended and least < answer.share:
            lease.due = now
        elif hungry:
            lease.due = now + (ASK_AGAIN if answer.share < ask.want else HUNGRY_FOR)
        else:
            lease.due = now + REFRESH_EVERY

    def retry(self, now: float) -> None:
        """Ask for everything anew: Valkey was away, and may have forgotten."""
        for lease in self._leases.values():
            lease.due = now

    def _take_up(self, name: Name, limit: int, tolerance: float) -> Lease | None:
        lease = self._leases.get(name)
        if lease is None:
            if len(self._leases) >= MOST:
                return None
            lease = self._leases[name] = Lease(limit, tolerance)
        lease.limit, lease.tolerance = limit, tolerance
        return lease

    def _ask(
        self,
        name: Name,
        lease: Lease,
        now: float,
        use_of: UseOf,
        lower: Callable[[Name], None],
    ) -> Ask | None:
        open_here, arrival = use_of(name.key)
        usual, hungry = even(lease.limit, self.hosts), now < lease.hungry_until
        if name.kind == CONNECTIONS:
            held, want = open_here, lease.limit if hungry else open_here
            used = hungry or open_here > usual
        else:
            used = hungry or arrival > now - LATELY
            held, want = 0, lease.limit if hungry else usual if used else 0
        if used:
            lease.used_at = now
        share = usual if lease.share is None else lease.share
        part = max(held, self._fair(lease, want))
        if hungry:
            units = part
        elif lease.share is None or self._contended(lease):
            units = max(held, min(share, part if lease.others else want))
        elif now - lease.used_at < KEPT_FOR:
            units = share
        else:
            units = max(held, min(share, usual))
        if lease.due > now and units >= share:
            return None  # nothing of what others wait for has become free
        if units < share:
            lease.share = units
            lower(name)
            if name.kind == CONNECTIONS:  # some may have been opened meanwhile
                held = use_of(name.key)[0]
                units = max(units, held)
        announce = hungry and now >= lease.announce_at
        if announce:
            lease.announce_at = now + ASK_AGAIN
        return Ask(name, lease.limit, lease.tolerance, want, units, held, announce)

    def _fair(self, lease: Lease, want: int) -> int:
        wants = {host: standing.want for host, standing in lease.others.items()}
        return fair(lease.limit, {**wants, self._host: want})[self._host]

    def _contended(self, lease: Lease) -> bool:
        """True if another host wants more than it has, or all have more than there is, as after a
        time without Valkey."""
        others = lease.others.values()
        taken = (lease.share or 0) + sum(standing.share for standing in others)
        over = taken >= lease.limit + self.hosts
        return over or any(standing.want > standing.share for standing in others)
