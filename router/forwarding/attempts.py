"""The mirrors tried for one request, one after the other; at most one is held at a time.

Choice among those that fit it, room on the chosen one, a connection, and the outcome.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from functools import partial
from typing import Final

from router.admission.shared_table import UNCOUNTED
from router.balancing.failure import (
    OF_OWN_KEY,
    OF_REQUESTS,
    TRAITS,
    Blame,
    FailedAttempt,
    Failure,
    broke_off_once,
)
from router.balancing.pool import Attempt
from router.balancing.rate_limit import should_retry, wait_of
from router.balancing.retry import (
    ALLOWED,
    Commit,
    Repeat,
    Tries,
    Why,
    decide,
    has_another_chance,
    might_leave,
)
from router.forwarding.context import WorkerContext
from router.forwarding.eligibility import Eligibility
from router.forwarding.interfaces import ResponseOwner
from router.forwarding.local_response import FULL, all_failed
from router.forwarding.recent_requests import Tried
from router.forwarding.request_context import RequestContext
from router.forwarding.request_policy import RequestPolicy
from router.forwarding.stats import Finished
from router.upstream.connection import UpstreamConnection
from router.upstream.opening import LateOpening, Opening
from router.upstream.request_body import RequestBody
from router.upstream.upstream import FALLBACK_RANKS, ON_TRIAL, Upstream
from router.wire import trace_context
from router.wire.error_response import Problem
from router.wire.faults import guarded

_NEVER: Final = Repeat.never
HEDGE_AFTER = 0.5
"""Seconds for TCP and TLS, after which a mirror that has a connection ready is better."""
_IN_ROTATION: Final = -1
"""The rank of no mirror that is down."""
_NO_FIELDS: Mapping[bytes, bytes] = {}

Taken = tuple[Attempt[Upstream], UpstreamConnection | None, int]
"""A mirror that was chosen, and what is held of it: a connection that waited (None: a new one is
needed), and a place for a new one among those that the mirror may have."""


class Attempts:
    """Chooses mirrors for a request, opens connections to them, and keeps the outcome of each."""

    __slots__ = (
        "_attempt",
        "_began",
        "_body",
        "_context",
        "_eligible",
        "_handed_over",
        "_hedge",
        "_kept",
        "_met_full",
        "_opening",
        "_owner",
        "_perhaps",
        "_policy",
        "_pooled",
        "_rank",
        "_ready",
        "_repeatable",
        "_tries",
        "ended",
        "failed",
        "in_turn",
        "mirror",
        "request",
        "trace",
        "tried",
    )

    def __init__(
        self,
        context: WorkerContext,
        request: RequestContext,
        body: RequestBody,
        policy: RequestPolicy,
        began: float,
        owner: ResponseOwner,
    ) -> None:
        """`began` is on the worker's clock.

        Each attempt calls `send` or `unanswered` of its owner once, unless it is given back before
        that, and `abort` after a fault in either.
        """
        self.request = request
        self.tried: list[str] = []
        """The ids of the mirrors that are not chosen again."""
        tracer = context.tracer
        self.trace = tracer.begin(request.traceparent) if tracer is not None else None
        """Of a request that is recorded."""
        self.in_turn = False
        """True if the request has waited in the queue, and it is its turn."""
        self._context = context
        self._body = body
        self._policy = policy
        self._eligible = Eligibility(context, request, body, policy)
        self._owner: ResponseOwner | None = owner
        """None once the request has ended, so that the two are no cycle."""
        self._met_full = False
        """True if a mirror was left out because it has no room for now."""
        self._ready = False
        """True if only a mirror with an idle connection may be chosen."""
        self._pooled = False
        """True if an idle connection will do."""
        self._rank = _IN_ROTATION
        """The `fallback_rank` of mirrors that may be chosen though they are down."""
        self.failed: list[FailedAttempt] = []
        self.ended: tuple[Tried, ...] = ()
        """Every attempt that has failed or was left for another one."""
        self.mirror = ""
        """The id of the mirror of the current or last attempt."""
        self._began = began
        self._tries: Tries | None = None
        """Made with the first failure."""
        self._attempt: Attempt[Upstream] | None = None
        self._opening: Opening | None = None
        self._perhaps = False
        """True if the attempt that failed last may have done what is asked."""
        self._hedge: asyncio.TimerHandle | None = None
        self._handed_over = False
        self._kept: Callable[[], None] | None = None
        """Gives the client the first refusal of a mirror, if no other one has an answer."""
        self._repeatable = False
        """True if the request could be sent to yet another mirror."""
        context.pool.budget.request(began)

    def __repr__(self) -> str:
        return f"<Attempts on {self.mirror or 'no mirror'}, {len(self.failed)} failed>"

    def start(self, now: float) -> Problem | None:
        """Choose a mirror, take it and open a connection in one step; the error if none is left.

        Else the owner is called, possibly before this returns.
        """
        before, context = self.failed, self._context
        pooled = self._body.collected and self.request.may_be_stale
        if before and before[-1].failure is Failure.stale:
            pooled = False
        if self._hedge is not None:
            self._cancel_hedge()
        again = self._tries is not None and self._tries.attempts > 0  # not after a stale one alone
        taken = self._take(pooled, now, again=again) or self._detour(now)
        if taken is None:
            return self._no_attempt()
        if before:
            context.stats.retried(before[-1].failure)
            if self._perhaps:
                context.stats.repeated_perhaps()
        self._begin(taken)
        if taken[1] is None and pooled and len(context.upstreams) > 1:
            assert self._owner is not None
            self._hedge = asyncio.get_running_loop().call_later(
                HEDGE_AFTER, guarded, "a hedge", self._move, self._owner.abort
            )
        return None

    def _detour(self, now: float) -> Taken | None:
        """Take the mirror that broke off once more, over another address: no other one is left."""
        wall, upstreams = self._context.wall, self._context.upstreams
        if not (broke_off_once(self.failed) and upstreams.has_detour(self.mirror, wall())):
            return None
        self.tried.remove(self.mirror)
        return self._take(False, now, again=True)

    def _begin(self, taken: Taken) -> None:
        self._attempt, connection, place = taken
        upstream, owner = self._attempt.member, self._owner
        assert owner is not None
        self.mirror = upstream.id
        if connection is not None:
            owner.send(upstream, connection, 0.0)
        else:
            self._opening = Opening(
                self._context.opener, upstream, owner.send, owner.unanswered, owner.abort, place
            )

    def _move(self) -> None:
        """Go to a mirror with an idle connection: this one is slow to open, nothing was sent."""
        opening, slow = self._opening, self._attempt
        if opening is None or opening.done or slow is None:
            return
        # only a request that can be repeated may use an idle connection, and so be moved
        taken = self._take(True, self._context.clock(), again=False, ready=True)
        if taken is None:
            return
        if slow.member.late is None:
            context = self._context
            LateOpening(opening, slow, context.clock, context.wheel, partial(_failed_late, context))
        else:
            opening.cancel()
            slow.passed_on()
        self._opening = None
        self.ended += (Tried(self.mirror, "moved", slow.began, self._context.clock()),)
        self._context.stats.moved()
        self._begin(taken)

    def _cancel_hedge(self) -> None:
        """Stop the timer of an earlier attempt: it must not move a later one."""
        hedge, self._hedge = self._hedge, None
        if hedge is not None:
            hedge.cancel()

    def another_turn(self) -> None:
        """Note that it is this request's turn in the queue."""
        self.in_turn = True

    def _course(self) -> Tries:
        if self._tries is None:
            policy, began = self._policy, self._began
            self._tries = Tries(policy.repeat, began, ends_at=began + policy.patience.total)
        return self._tries

    def give_up(self) -> Problem:
        """The error when no other attempt may be made."""
        return all_failed(self.failed, self._context.router.expose_mirror)

    # Choice of a mirror

    def _take(self, pooled: bool, now: float, *, again: bool, ready: bool = False) -> Taken | None:
        """Return the mirror for the next attempt, or None.

        `pooled`: an idle connection will do; `ready`: only such a mirror. `again`: one has
        failed before.
        """
        context, policy = self._context, self._policy
        self._ready, self._pooled = ready, pooled
        self._repeatable = repeatable = self._body.collected and policy.repeat is not _NEVER
        if repeatable and self._tries is not None:
            repeatable = has_another_chance(self._tries, context.router.retry)
        while True:
            attempt = context.pool.choose(
                self.accepts, policy.baseline, now, repeatable=repeatable, again=again
            )
            if attempt is None:
                if not ready and self._falls_back(again):
                    continue
                return None
            upstream = attempt.member
            connection = upstream.take_idle(context.wheel.now) if pooled else None
            place: int | None = UNCOUNTED
            if connection is None and (ready or upstream.left_alone):
                place = None  # it was not fit to be used again; there may be others
            elif upstream.limiter is not None:
                place = upstream.enter(
                    connection, context.clock(), context.wheel.now, context.abandoned.make_way
                )
            if place is not None:
                if connection is None and self._rank == ON_TRIAL:
                    upstream.trials.began(now)
                self.tried.append(upstream.id)
                self._eligible.chosen(upstream.id, now)
                if self._rank != _IN_ROTATION:
                    context.stats.fell_back(upstream.id)
                return attempt, connection, place
            attempt.passed_on()

    def _falls_back(self, again: bool) -> bool:
        """Widen the choice, if that is possible: where all that are available refuse such requests,
        to one of them; where none is available, to those that are down, the least bad first.
        After a failure only to the least bad."""
        eligible = self._eligible
        if fitting := eligible.available():
            return not again and eligible.ignore_refusals(fitting, repeatable=self._repeatable)
        for rank in FALLBACK_RANKS[: 1 if again else None]:
            if rank > self._rank:
                self._rank = rank
                return True
        return False

    def accepts(self, upstream: Upstream) -> bool:
        """True if this mirror may be chosen now."""
        if not upstream.available and upstream.fallback_rank != self._rank:
            return False
        if upstream.id in self.tried or not self._eligible.fits(upstream):
            return False
        if self._ready and not upstream.has_idle:
            return False
        if upstream.few_ways and not upstream.can_take(self._context.clock(), self._pooled):
            return False
        if self._eligible.rules_out(upstream, repeatable=self._repeatable):
            return False
        context = self._context
        blocks = context.pool.blocks
        if blocks.some and blocks.until(upstream.id, self.request.limited_as, context.clock()):
            return False
        limiter = upstream.limiter
        if limiter is not None and (limiter.closed_until > context.clock() or self._is_behind):
            self._met_full = True
            return False
        return True

    @property
    def _is_behind(self) -> bool:
        """True if other requests wait in the queue, and it is not this one's turn."""
        return not self.in_turn and len(self._context.queue) > 0

    def _no_attempt(self) -> Problem:
        """The error when no mirror is left for another attempt; FULL if there may be one soon."""
        if self._met_full:
            self._met_full = self.in_turn = False
            return FULL
        limited = self._eligible.limited(self._context.clock(), repeatable=self._repeatable)
        if limited is not None:
            return limited
        return self.give_up() if self.failed else self._eligible.no_mirror()

    def unknown_model(self, failure: Failure) -> Problem | None:
        """The error when a mirror says that it does not have the model, and none is known to."""
        return self._eligible.unknown_model() if failure is Failure.no_model else None

    # Outcome of the current attempt

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
        if self._attempt is not None and not self._handed_over and not self.request.mirror:
            self._attempt.succeeded(now)
            if self._policy.baseline.works:
                self._context.traffic.served(self.mirror, now)
            self._eligible.served(self.mirror)

    def failed_with(
        self,
        failure: Failure,
        detail: str,
        commit: Commit,
        look: Mapping[bytes, bytes] = _NO_FIELDS,
    ) -> bool:
        """Note that the attempt failed before the client had content; True if another may be made.

        `look`: fields of the response, if there was one.
        """
        again = self._may_repeat(failure, commit, look)
        self._end(failure, look)
        self.failed.append(FailedAttempt(self.mirror, failure, detail))
        if failure is Failure.stale:
            self.tried.remove(self.mirror)
        return again

    def answered_error(self, failure: Failure, detail: str, look: Mapping[bytes, bytes]) -> bool:
        """Note an error that the mirror answered with; True if another mirror should be tried.

        If not, the error is passed on, and counts against the mirror all the same.
        """
        another = any(map(self.accepts, self._context.upstreams))
        again = another and self._may_repeat(failure, Commit.head_received, look)
        self._end(failure, look)
        if again:
            self.failed.append(FailedAttempt(self.mirror, failure, detail))
        return again

    def cut(self, failure: Failure) -> None:
        """The answer broke off after the client had its beginning."""
        self._end(failure, _NO_FIELDS)

    def keep(self, pass_on: Callable[[], None]) -> None:
        """Keep a refusal for the client while another mirror is tried; the first one stays."""
        self._kept = self._kept or pass_on

    def take_kept(self) -> Callable[[], None] | None:
        """Return and forget the way to give the client the first refusal, if there was one."""
        kept, self._kept = self._kept, None
        return kept

    def give_back(self) -> None:
        """Give the current mirror back without a verdict on it, and stop an opening.

        No attempt follows.
        """
        self._owner = self._kept = None
        if self._hedge is not None:
            self._cancel_hedge()
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

    def should_leave(self, since: float, commit: Commit) -> bool:
        """True if the mirror has answered nobody since then, and is most likely dead, while another
        one that is not suspect could be tried: left for nothing, even a late answer is better."""
        attempt, policy, now = self._attempt, self._policy, self._context.clock()
        if attempt is None or policy.repeat is _NEVER:
            return False
        if not attempt.member.seems_lost(since, policy.baseline, now):
            return False
        rules, budget = self._context.router.retry, self._context.pool.budget
        if not might_leave(
            commit, self._course(), rules, budget, now, replayable=self._body.collected
        ):
            return False
        others = self._context.upstreams
        return any(self.accepts(other) and other.seems_well(now) for other in others)

    @property
    def usual_seconds(self) -> float:
        """The 95th percentile of what such requests take to their first content."""
        return self._policy.baseline.p95

    @property
    def answered_at(self) -> float:
        """When the current mirror last answered any request, on the worker's clock."""
        return self._attempt.member.load.answered_at if self._attempt is not None else 0.0

    def with_last(self, outcome: str, now: float) -> tuple[Tried, ...]:
        """Every attempt; the last one had this outcome if it has not failed."""
        attempt = self._attempt
        if attempt is None or not self._has_unfailed():
            return self.ended
        return (*self.ended, Tried(self.mirror, outcome, attempt.began, now))

    def count_last(self, *, answered: bool) -> int:
        """Count the last attempt, unless it has failed; return the number of those that have."""
        if self._has_unfailed():
            self._context.stats.attempt_ended(self.mirror, answered)
        return len(self.failed)

    def _has_unfailed(self) -> bool:
        attempt, ended = self._attempt, self.ended
        return attempt is not None and not (ended and ended[-1].began == attempt.began)

    def trace_fields(self) -> bytes:
        """The fields that name its trace to the mirror of this attempt; empty if there is none."""
        trace, request = self.trace, self.request
        if trace is not None:
            return trace.fields_for(self.mirror, request.tracestate, self._context.rng)
        return trace_context.passed_on(request.traceparent, request.tracestate)

    def record(self, end: Finished, now: float) -> None:
        """The request has ended: record its trace, if it has one."""
        tracer = self._context.tracer
        if self.trace is not None and tracer is not None:
            model = self._context.model_label(self._policy.model)
            tracer.finished(self.trace, end, model, self.with_last(end.outcome, now), now)

    @property
    def on_removed_mirror(self) -> bool:
        """True if the current mirror has been removed from the configuration."""
        return self._attempt is not None and self._attempt.member.removed

    def _may_repeat(self, failure: Failure, commit: Commit, look: Mapping[bytes, bytes]) -> bool:
        context, pool = self._context, self._context.pool
        why = decide(
            failure,
            commit,
            self._course(),
            context.router.retry,
            pool.refusal_budget if failure in OF_REQUESTS else pool.budget,
            context.clock(),
            replayable=self._body.collected,
            should_retry=should_retry(look),
        )
        self._perhaps = why is Why.ambiguous
        return why in ALLOWED

    def _end(self, failure: Failure, look: Mapping[bytes, bytes]) -> None:
        attempt, context = self._attempt, self._context
        if attempt is None or attempt.is_over():
            return
        if self._opening is not None:
            self._opening.cancel()
            self._opening = None
        now = context.clock()
        self.ended += (Tried(self.mirror, failure, attempt.began, now),)
        context.stats.attempt_failed(self.mirror, failure)
        if self.request.mirror:
            return  # a file beside the API: what becomes of it says nothing of that
        wait = wait_of(look, context.wall()) if look else None
        attempt.failed(failure, now, retry_after=wait is not None)
        self._eligible.learn(failure, attempt.member, wait, now)
        if failure in OF_OWN_KEY:
            context.report_refusal(self.mirror)
        elif TRAITS[failure].blame is not Blame.nobody:
            context.report_failure(self.mirror)


def _failed_late(context: WorkerContext, mirror: str, failure: Failure) -> None:
    """A connection was not opened for which no request waits any more."""
    context.stats.attempt_failed(mirror, failure)
    if TRAITS[failure].blame is not Blame.nobody:
        context.report_failure(mirror)
