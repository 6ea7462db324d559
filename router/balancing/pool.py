"""All mirrors of one worker, as far as selection, failure and recovery concern them."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable
from typing import Generic, NamedTuple, Protocol, TypeVar

from router.balancing.breaker import Breaker, Lease, Standing
from router.balancing.breaker_messages import (
    Asked,
    Begun,
    Ended,
    Failed,
    Granted,
    Recalled,
    Tripped,
    Word,
)
from router.balancing.config import Settings
from router.balancing.ejection import (
    Cause,
    FailureWatch,
    UplinkWatch,
    ejection_seconds,
    forgiven,
    may_eject,
)
from router.balancing.failure import TRAITS, Blame, Failure, weight_of
from router.balancing.load import Baseline, Baselines, Load, Terms, Ticket
from router.balancing.rate_limit import Blocks
from router.balancing.refusals import Refusals
from router.balancing.retry import RetryBudget
from router.balancing.selection import by_priority, p2c


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


class Attempt(Ticket, Generic[M]):
    """A request's place on a mirror, from the choice to the end; a ticket of the mirror's load with
    an outcome."""

    __slots__ = ("_ended", "_lease", "_pool", "began", "member")

    def __init__(
        self, pool: Pool[M], member: M, baseline: Baseline, lease: Lease | None, now: float
    ) -> None:
        Ticket.__init__(self, member.load, baseline, now)
        self.member = member
        self.began = now
        self._pool = pool
        self._lease = lease
        self._ended = False

    def __repr__(self) -> str:
        return f"<Attempt on {self.member.id}{' with a lease' if self._lease else ''}>"

    def is_over(self) -> bool:
        """True if it has an outcome."""
        return self._ended

    @property
    def on_trial(self) -> bool:
        """True if it is the one attempt that tries an ejected mirror."""
        return self._lease is not None

    def content(self, now: float) -> None:
        """The first content came: the first event that has some, or a good response's head."""
        if not self._ended:
            Ticket.content(self, now)
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
        if not self._ended and self._end():
            self._show(None)

    def _end(self) -> bool:
        if self._ended:
            return False
        self._ended = True
        self.end()
        return True

    def _show(self, ok: bool | None) -> None:
        lease, self._lease = self._lease, None
        if lease is not None:
            self._pool.shown(lease, ok)


class Explained(NamedTuple):
    """Why a mirror is chosen or not."""

    mirror: str
    terms: Terms
    standing: Standing
    failing: float
    """Share of failures within a minute; 0 when there were too few requests."""


class Pool(Generic[M]):
    """Chooses mirrors for one worker."""

    def __init__(
        self,
        config: Settings,
        rng: random.Random,
        tell: Callable[[Word], None],
    ) -> None:
        self.baselines = Baselines()
        self.budget = RetryBudget(config.retry.budget)
        self.refusal_budget = RetryBudget(config.retry.budget, self.budget)
        """For requests that were refused: callers who cause that must not use up the other one."""
        self.blocks = Blocks(rng.randbytes(32))
        self.refusals = Refusals(rng.randbytes(32))
        self.uplink = UplinkWatch()
        self._rng = rng
        self._tell = tell
        self._members: dict[str, M] = {}
        self._ordered: tuple[M, ...] = ()
        self._tiers: tuple[tuple[M, ...], ...] = ()
        self._heaviest = 1.0
        self._ejected: dict[str, M] = {}
        self.configure(config)

    def __repr__(self) -> str:
        return f"<Pool of {len(self._members)}, {len(self._ejected)} ejected>"

    def configure(self, config: Settings) -> None:
        """Take new settings."""
        self._rules = config.ejection
        self._by_priority = config.balance.policy == "priority"
        self.budget.share = self.refusal_budget.share = config.retry.budget
        for member in self._ordered:
            member.load.tune(config.balance)
            member.watch.rules = config.ejection

    def members(self, members: Iterable[M]) -> None:
        """Take which mirrors there are; call it again when weights have changed."""
        before, self._members = self._members, {member.id: member for member in members}
        self._ordered = tuple(self._members.values())
        priorities = sorted({member.priority for member in self._ordered})
        self._tiers = tuple(
            tuple(m for m in self._ordered if m.priority == priority) for priority in priorities
        )
        self._heaviest = max((member.load.weight for member in self._ordered), default=1.0)
        self._ejected = {m.id: m for m in self._ordered if not m.breaker.closed}
        self.uplink.keep(self._members)
        if before.keys() - self._members.keys():
            self.refusals.keep(frozenset(self._members))

    # Choosing

    def choose(
        self,
        accept: Callable[[M], bool],
        baseline: Baseline,
        now: float,
        *,
        repeatable: bool,
        again: bool = False,
    ) -> Attempt[M] | None:
        """An attempt on the mirror that should have this request, or None.

        `accept`: what is required of a mirror whatever its breaker says: available, not full, not
        blocked, not tried before, fit for the request. `repeatable`: the request may be sent again
        if it fails, so it can try a mirror that may not have recovered. `again`: it has failed on
        another mirror before.
        """
        lease: Lease | None = None
        if not self._ejected:
            chosen = self._pick(accept, now)
        else:
            chosen = self._trial(accept, now) if repeatable else None
            if chosen is not None:
                lease = chosen.breaker.take()
            else:
                chosen = self._pick(lambda m: m.breaker.closed and accept(m), now)
            if chosen is None:
                chosen = self._last_resort(accept, again)
        if chosen is None:
            return None
        if lease is not None:
            self._tell(Begun(lease))
        return Attempt(self, chosen, baseline, lease, now)

    def _pick(self, accept: Callable[[M], bool], now: float) -> M | None:
        if self._by_priority:
            return by_priority(self._tiers, accept, self._rng, now, self._heaviest)
        return p2c(self._ordered, accept, self._rng, now, self._heaviest)

    def _trial(self, accept: Callable[[M], bool], now: float) -> M | None:
        """A mirror that we hold a lease for; of others whose time is over, ask for one."""
        found: M | None = None
        for member in self._ejected.values():
            if not accept(member):
                continue
            if member.breaker.leased:
                found = found or member
            elif member.breaker.wants_lease(now):
                self._tell(Asked(member.id))
        return found

    def _last_resort(self, accept: Callable[[M], bool], again: bool) -> M | None:
        """Without any mirror in rotation an ejected one: those that answer at all first, then the
        one that was to return first. A second attempt does not go where nothing answers."""
        answering = Cause.failing
        ejected = [
            member
            for member in self._ejected.values()
            if accept(member) and not (again and member.breaker.standing.cause is Cause.unanswered)
        ]
        order = [
            (m.breaker.standing.cause is not answering, m.breaker.standing.until) for m in ejected
        ]
        return ejected[order.index(min(order))] if ejected else None

    def explain(self, now: float) -> list[Explained]:
        """Every mirror's cost and its parts, where it stands, and its failures of a minute."""
        return [
            Explained(m.id, m.load.terms(now), m.breaker.standing, m.watch.failing(now))
            for m in self._ordered
        ]

    # What attempts have shown

    def shown(self, lease: Lease, ok: bool | None) -> None:
        """A leased attempt has shown something, or nothing."""
        self._tell(Ended(lease, ok))

    def count_failure(
        self, attempt: Attempt[M], failure: Failure, weight: float, now: float
    ) -> None:
        """A failure that a mirror is to blame for."""
        member = attempt.member
        member.load.failed(weight, now)
        if TRAITS[failure].blame is Blame.local:
            self.uplink.failed(member.id, now)
        if not member.breaker.closed or not member.breaker.counts(attempt.began):
            return
        self._tell(Failed(member.id, failure, weight, member.watch.take_untold()))
        cause = member.watch.failed(failure, weight, now)
        if cause is not None and self._may_eject(member, now):
            self._eject(member, cause, now)

    def _may_eject(self, member: M, now: float) -> bool:
        if self._members.get(member.id) is not member:
            return False
        usable = [m.id for m in self._ordered if m.available]
        if self.uplink.suspect(len(usable), now):
            return False
        return may_eject(member.id, self._ejected, usable, self._rules.max_percent)

    def _eject(self, member: M, cause: Cause, now: float) -> None:
        standing = member.breaker.standing
        count = forgiven(standing.count, now - standing.since) + 1
        seconds = ejection_seconds(count, cause, self._rules, self._rng)
        member.breaker.eject(cause, seconds, now)
        member.watch.reset()
        self._ejected[member.id] = member
        self._tell(Tripped(member.id, cause, member.breaker.standing.until))

    # Control's words

    def hear(self, word: Word, now: float) -> None:
        """Take what control says."""
        if isinstance(word, Standing):
            self._stand(word, now)
        elif isinstance(word, Granted):
            self._granted(word.lease)
        elif isinstance(word, Recalled):
            member = self._members.get(word.lease.mirror)
            if member is None or member.breaker.recalled(word.lease):
                self._tell(Ended(word.lease, None))

    def standings(self) -> list[Standing]:
        """Standings of ejected mirrors, for a control process that has just begun."""
        return [member.breaker.standing for member in self._ejected.values()]

    def forget_leases(self) -> None:
        """The control process that granted them has ended; its successor does not know them."""
        for member in self._ejected.values():
            member.breaker.forget_lease()

    def _granted(self, lease: Lease) -> None:
        member = self._members.get(lease.mirror)
        if member is None or member.breaker.closed:
            self._tell(Ended(lease, None))
        else:
            member.breaker.granted(lease)

    def _stand(self, standing: Standing, now: float) -> None:
        member = self._members.get(standing.mirror)
        if member is None:
            return
        was_closed = member.breaker.closed
        if member.breaker.learn(standing):
            member.load.recover(now)
        if member.breaker.closed is not was_closed:
            member.watch.reset()
        if member.breaker.closed:
            self._ejected.pop(member.id, None)
        else:
            self._ejected[member.id] = member
