"""The mirrors tried for one request, one after the other; at most one is held at a time."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from functools import partial

from monitor.health.snapshot import State
from router.balancing.failure import OF_OWN_KEY, TRAITS, Blame, FailedAttempt, Failure
from router.balancing.pool import Attempt
from router.balancing.rate_limit import LENT, should_retry, wait_of
from router.balancing.retry import ALLOWED, Commit, Repeat, Tries, Why, decide, might_leave
from router.balancing.timeouts import OVERDUE, leave_early, soft_limit
from router.forwarding.body import RequestBody
from router.forwarding.choosing import Choosing, Taken
from router.forwarding.context import WorkerContext
from router.forwarding.local_response import all_failed
from router.forwarding.opening import Opening
from router.forwarding.recent_requests import Tried
from router.forwarding.request_context import RequestContext
from router.forwarding.request_policy import RequestPolicy
from router.upstream.connection import UpstreamConnection
from router.upstream.upstream import Upstream
from router.wire.error_response import Problem
from router.wire.faults import guarded

Opened = Callable[[Upstream, UpstreamConnection, float], None]
Failed = Callable[[Failure, str], None]
_NEVER = Repeat.never
HEDGE_AFTER = 0.5
"""Seconds for TCP and TLS, after which a mirror that has a connection ready is better."""
_NO_FIELDS: Mapping[bytes, bytes] = {}


class Attempts(Choosing):
    """Asks the mirrors that were chosen for a request, and remembers what became of each."""

    __slots__ = (
        "_attempt",
        "_began",
        "_ends_at",
        "_handed_over",
        "_hedge",
        "_opening",
        "_perhaps",
        "_tries",
        "ended",
        "failed",
        "mirror",
    )

    def __init__(
        self,
        context: WorkerContext,
        asked: RequestContext,
        body: RequestBody,
        plan: RequestPolicy,
        began: float,
        ends_at: float,
    ) -> None:
        """`began` and `ends_at` are on the plane's clock."""
        Choosing.__init__(self, context, asked, body, plan)
        self.failed: list[FailedAttempt] = []
        self.ended: tuple[Tried, ...] = ()
        """Every attempt that has failed or was left for another, for the trail."""
        self.mirror = ""
        """The id of the mirror of the current or last attempt."""
        self._began = began
        self._ends_at = ends_at
        self._tries: Tries | None = None
        """Made with the first failure."""
        self._attempt: Attempt[Upstream] | None = None
        self._opening: Opening | None = None
        self._perhaps = False
        """True if the attempt that failed last may have done what is asked."""
        self._hedge: asyncio.TimerHandle | None = None
        self._handed_over = False
        context.pool.budget.request(began)

    def __repr__(self) -> str:
        return f"<Attempts on {self.mirror or 'no mirror'}, {len(self.failed)} failed>"

    def start(
        self,
        pooled: bool,
        replayable: bool,
        now: float,
        opened: Opened,
        failed: Failed,
        abort: Callable[[], None],
    ) -> Problem | None:
        """Choose a mirror, take it and open a connection: one synchronous step.

        Says why when there is no mirror left. Otherwise one of the two is called, `opened` possibly
        before this returns. `pooled`: a connection that waited will do.
        """
        before, context = self.failed, self._context
        pooled = pooled and not (before and before[-1].failure is Failure.stale)
        self._hedge_no_more()
        taken = self.take(pooled, replayable, now, again=bool(before))
        if taken is None:
            return self.nobody(before)
        if before:
            context.stats.retried(before[-1].failure)
            if self._perhaps:
                context.stats.repeated_perhaps()
        self._begin(taken, opened, failed, abort)
        if taken.connection is None and pooled and len(context.upstreams) > 1:
            move = partial(self._move, replayable, opened, failed, abort)
            loop = asyncio.get_running_loop()
            self._hedge = loop.call_later(HEDGE_AFTER, guarded, "a hedge", move, abort)
        return None

    def _begin(
        self, taken: Taken, opened: Opened, failed: Failed, abort: Callable[[], None]
    ) -> None:
        upstream = taken.attempt.member
        self._attempt, self.mirror = taken.attempt, upstream.id
        if taken.connection is not None:
            opened(upstream, taken.connection, 0.0)
        else:
            self._opening = Opening(self._context, upstream, opened, failed, abort, taken.place)

    def _move(
        self, replayable: bool, opened: Opened, failed: Failed, abort: Callable[[], None]
    ) -> None:
        """The connection takes long: go where one is ready, since nothing was sent yet."""
        opening, slow = self._opening, self._attempt
        if opening is None or opening.done or slow is None:
            return
        taken = self.take(True, replayable, self._context.clock(), again=False, ready=True)
        if taken is None:
            return
        opening.cancel()
        slow.passed_on()
        self._opening = None
        self.ended += (Tried(self.mirror, "moved", slow.began, self._context.clock()),)
        self._context.stats.moved()
        self._begin(taken, opened, failed, abort)

    def _hedge_no_more(self) -> None:
        """Stop the timer of an earlier attempt: it must not move a later one."""
        hedge, self._hedge = self._hedge, None
        if hedge is not None:
            hedge.cancel()

    def another_turn(self) -> None:
        """It is this request's turn in the line."""
        self.in_turn = True

    def _course(self) -> Tries:
        if self._tries is None:
            self._tries = Tries(self._plan.repeat, self._began, ends_at=self._ends_at)
        return self._tries

    def give_up(self) -> Problem:
        """The error when no other attempt may be made."""
        return all_failed(self.failed, self._context.router.expose_mirror)

    # What becomes of the current attempt

    def sent(self, now: float) -> None:
        """The request is complete; what follows is the mirror's time."""
        if self._attempt is not None:
            self._attempt.sent(now)

    def content(self, now: float) -> None:
        """The first content is here."""
        if self._attempt is not None:
            self._attempt.content(now)

    def succeeded(self, now: float) -> None:
        """The answer is complete."""
        if self._attempt is not None and not self._handed_over:
            self._attempt.succeeded(now)

    def failed_with(
        self,
        failure: Failure,
        detail: str,
        commit: Commit,
        replayable: bool,
        look: Mapping[bytes, bytes] = _NO_FIELDS,
    ) -> bool:
        """It has failed before the client had any content; whether another one may be made.

        `look`: fields of the response, if there was one.
        """
        again = self._may_repeat(failure, commit, replayable, look)
        self._end(failure, look)
        self.failed.append(FailedAttempt(self.mirror, failure, detail))
        if failure is Failure.stale:
            self.tried.remove(self.mirror)
        return again

    def leaves(
        self, failure: Failure, detail: str, replayable: bool, look: Mapping[bytes, bytes]
    ) -> bool:
        """The mirror answered with an error: whether to try another one instead of passing it on.

        If so, the failure is noted; if not, it counts against the mirror all the same.
        """
        another = any(map(self.accepts, self._context.upstreams))
        if another and self._may_repeat(failure, Commit.C2, replayable, look):
            self._end(failure, look)
            self.failed.append(FailedAttempt(self.mirror, failure, detail))
            return True
        self._end(failure, look)
        return False

    def cut(self, failure: Failure) -> None:
        """The answer broke off after the client had its beginning."""
        self._end(failure, _NO_FIELDS)

    def limited_by_key(self, look: Mapping[bytes, bytes]) -> None:
        """The caller's own key is over its limit there: this key keeps away, nobody else."""
        context = self._context
        wait = wait_of(look, context.wall())
        context.pool.blocks.block(self.mirror, self.asked.limited_as, wait, context.clock())
        self.give_back()

    def give_back(self) -> None:
        """Hold no mirror any more, without a word on it; break off an opening."""
        self._hedge_no_more()
        if self._opening is not None:
            self._opening.cancel()
            self._opening = None
        if self._attempt is not None and not self._handed_over:
            self._attempt.passed_on()

    def hand_over(self) -> Attempt[Upstream]:
        """The current attempt, which its new owner ends."""
        assert self._attempt is not None
        self._handed_over = True
        return self._attempt

    def should_leave(self, since: float, commit: Commit, replayable: bool) -> bool:
        """True if the mirror takes longer than is usual, since then, and is suspect besides, while
        another one that is not could be tried: left for nothing, even a late answer is better."""
        attempt, plan, now = self._attempt, self._plan, self._context.clock()
        if attempt is None or plan.repeat is _NEVER:
            return False
        hard = plan.patience.content if plan.stream else plan.patience.head
        soft = soft_limit(plan.baseline, hard)
        suspect, overdue = _suspicion(attempt.member, soft, now)
        if not leave_early(now - since, soft, suspect=suspect, overdue=overdue):
            return False
        rules, budget = self._context.router.retry, self._context.pool.budget
        if not might_leave(commit, self._course(), rules, budget, now, replayable=replayable):
            return False
        return any(self._is_better(upstream, soft, now) for upstream in self._context.upstreams)

    def _is_better(self, upstream: Upstream, soft: float, now: float) -> bool:
        if not self.accepts(upstream) or not upstream.breaker.closed:
            return False
        suspect, overdue = _suspicion(upstream, soft, now)
        return not suspect and overdue < OVERDUE

    def with_last(self, outcome: str, now: float) -> tuple[Tried, ...]:
        """Every attempt, for the trail; the last one had this outcome if it has not failed."""
        attempt, ended = self._attempt, self.ended
        if attempt is None or (ended and ended[-1].began == attempt.began):
            return ended
        return (*ended, Tried(self.mirror, outcome, attempt.began, now))

    @property
    def on_removed_mirror(self) -> bool:
        """True if the current mirror has been removed from the configuration."""
        return self._attempt is not None and self._attempt.member.removed

    def _may_repeat(
        self, failure: Failure, commit: Commit, replayable: bool, look: Mapping[bytes, bytes]
    ) -> bool:
        context = self._context
        why = decide(
            failure,
            commit,
            self._course(),
            context.router.retry,
            context.pool.budget,
            context.clock(),
            replayable=replayable,
            should_retry=should_retry(look),
        )
        self._perhaps = why is Why.ambiguous
        return why in ALLOWED

    def _end(self, failure: Failure, look: Mapping[bytes, bytes]) -> None:
        attempt, context = self._attempt, self._context
        if attempt is None:
            return
        if self._opening is not None:
            self._opening.cancel()
            self._opening = None
        now = context.clock()
        wait = wait_of(look, context.wall()) if look else None
        attempt.failed(failure, now, retry_after=wait is not None)
        self.ended += (Tried(self.mirror, failure, attempt.began, now),)
        context.stats.attempt_failed(self.mirror, failure)
        if failure is Failure.limited:
            context.pool.blocks.block(self.mirror, None, wait, now)
        elif failure is Failure.out_of_quota:
            context.pool.blocks.block(self.mirror, LENT, wait, now)
        if failure in OF_OWN_KEY:
            context.report_refusal(self.mirror)
        elif TRAITS[failure].blame is not Blame.nobody:
            context.report_failure(self.mirror)


def _suspicion(upstream: Upstream, soft: float, now: float) -> tuple[bool, int]:
    """True if probes, or what ended on it last, find it unwell, and how many requests on it wait
    longer than that: who leaves first would else take the suspicion along."""
    unwell = upstream.health.state in (State.down, State.degraded)
    ill = unwell or not upstream.breaker.closed or upstream.watch.failed_last
    return ill, upstream.load.overdue(soft, now)
