"""One attempt on a mirror: what it takes, and what its end teaches. Ended exactly once."""

from __future__ import annotations

from typing import TYPE_CHECKING, Generic, Protocol, TypeVar

from router.choice.breaker import Breaker, Lease
from router.choice.ejection import FailureWatch
from router.choice.failure import Failure, weight_of
from router.choice.load import Load, Ticket

if TYPE_CHECKING:
    from router.choice.pool import Pool


class Member(Protocol):
    """A mirror, as far as choosing concerns it."""

    id: str
    priority: int
    available: bool
    """What operator and probes allow."""
    load: Load
    breaker: Breaker
    watch: FailureWatch


M = TypeVar("M", bound=Member)


class Attempt(Generic[M]):
    """A request's place on a mirror, from the choice to the end."""

    __slots__ = ("_ended", "_lease", "_pool", "_ticket", "began", "member")

    def __init__(
        self, pool: Pool[M], member: M, ticket: Ticket, lease: Lease | None, now: float
    ) -> None:
        self.member = member
        self.began = now
        self._pool = pool
        self._ticket = ticket
        self._lease = lease
        self._ended = False

    def __repr__(self) -> str:
        return f"<Attempt on {self.member.id}{' with a lease' if self._lease else ''}>"

    @property
    def on_trial(self) -> bool:
        """Whether it is the one attempt that tries an ejected mirror."""
        return self._lease is not None

    def sent(self, now: float) -> None:
        """The request is complete; what follows is the mirror's time."""
        self._ticket.sent(now)

    def content(self, now: float) -> None:
        """The first content came: the first event that has some, or a good response's head."""
        if not self._ended:
            self._ticket.content(now)
            if self._pool.uplink.failed_at:
                self._pool.uplink.succeeded(self.member.id)
            if self._lease is not None:
                self._show(True)

    def succeeded(self, now: float) -> None:
        """The answer is complete; if nothing came before, this was its first content too."""
        self.content(now)
        if self._end():
            member = self.member
            member.load.succeeded(now)
            member.watch.succeeded(now)

    def failed(self, failure: Failure, now: float, *, retry_after: bool = False) -> None:
        """It failed. `retry_after`: the mirror named a time to come back."""
        if self._end():
            weight = weight_of(failure, retry_after)
            self._show(False if weight else None)
            if weight:
                self._pool.count_failure(self, failure, weight, now)

    def passed_on(self) -> None:
        """The client left, or has an answer that says nothing about the mirror, as a 400 does."""
        if self._end():
            self._show(None)

    def _end(self) -> bool:
        if self._ended:
            return False
        self._ended = True
        self._ticket.end()
        return True

    def _show(self, ok: bool | None) -> None:
        lease, self._lease = self._lease, None
        if lease is not None:
            self._pool.shown(lease, ok)
