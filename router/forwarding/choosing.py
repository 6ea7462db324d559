"""Which mirrors a request may take, and room on the one that is chosen."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from router.admission.shared_table import UNCOUNTED
from router.balancing.failure import FailedAttempt
from router.balancing.pool import Attempt
from router.balancing.rate_limit import LENT
from router.balancing.retry import Repeat
from router.forwarding.body import RequestBody
from router.forwarding.context import WorkerContext
from router.forwarding.eligibility import Eligibility
from router.forwarding.local_response import FULL, all_failed, all_limited
from router.forwarding.request_context import RequestContext
from router.forwarding.request_policy import RequestPolicy
from router.upstream.connection import UpstreamConnection
from router.upstream.limiter import Limiter
from router.upstream.upstream import Upstream
from router.wire.error_response import Problem

_NEVER = Repeat.never


class Taken(NamedTuple):
    """A mirror that was chosen, and what is held of it."""

    attempt: Attempt[Upstream]
    connection: UpstreamConnection | None
    """One that waited; None: a new one is needed."""
    place: int
    """For the new one, among those that the mirror may have."""


class Choosing(Eligibility):
    """One request's view of the mirrors."""

    __slots__ = ("_context", "_met_full", "_plan", "_ready", "in_turn", "tried")

    def __init__(
        self, context: WorkerContext, asked: RequestContext, body: RequestBody, plan: RequestPolicy
    ) -> None:
        Eligibility.__init__(self, asked, body)  # super() costs 0.2 µs
        self.tried: list[str] = []
        self.in_turn = False
        """True if it stood in line, and this is its turn."""
        self._context = context
        self._plan = plan
        self._met_full = False
        """True if a mirror was left out because it has no room for now."""
        self._ready = False

    def __repr__(self) -> str:
        return f"<Choosing, tried {self.tried}>"

    def take(
        self, pooled: bool, replayable: bool, now: float, *, again: bool, ready: bool = False
    ) -> Taken | None:
        """The mirror for the next attempt, or None.

        `pooled`: a connection that waited will do; `ready`: only such a one. `replayable`: the
        request could be sent to yet another mirror. `again`: one has failed before.
        """
        context, plan = self._context, self._plan
        self._ready = ready
        repeatable = replayable and plan.repeat is not _NEVER
        while True:
            attempt = context.pool.choose(
                self.accepts, plan.baseline, now, repeatable=repeatable, again=again
            )
            if attempt is None:
                return None
            upstream = attempt.member
            connection = upstream.take_idle(context.wheel.now) if pooled else None
            place: int | None = UNCOUNTED
            if ready and connection is None:
                place = None  # it was not fit to be used again; there may be others
            elif upstream.gate is not None:
                place = self._room(upstream, upstream.gate, connection)
            if place is not None:
                self.tried.append(upstream.id)
                return Taken(attempt, connection, place)
            attempt.passed_on()

    def _room(
        self, upstream: Upstream, gate: Limiter, connection: UpstreamConnection | None
    ) -> int | None:
        """Room for one more request on a mirror with limits; None if there is none for now."""
        context = self._context
        now = context.clock()
        connects = connection is None and gate.counts_connections
        place = gate.enter(now, connects)
        if place is None and connects and self._makes_way(upstream):
            place = gate.enter(now, connects)
        if place is None and connection is not None:
            upstream.give_back(connection, context.wheel.now)
        return place

    def _makes_way(self, upstream: Upstream) -> bool:
        """Close a connection that is not fit for this request, or that no client waits for."""
        return upstream.drop_idle() or self._context.abandoned.make_way(upstream)

    def accepts(self, upstream: Upstream) -> bool:
        """True if this mirror may be chosen now."""
        if not upstream.available or upstream.id in self.tried or not self.fits(upstream):
            return False
        if self._ready and not upstream.has_idle:
            return False
        context = self._context
        blocks = context.pool.blocks
        if blocks.some and blocks.until(upstream.id, self.asked.limited_as, context.clock()):
            return False
        gate = upstream.gate
        if gate is not None and (gate.closed_until > context.clock() or self._is_behind):
            self._met_full = True
            return False
        return True

    @property
    def _is_behind(self) -> bool:
        """True if others stand in line, and it is not this one's turn."""
        return not self.in_turn and len(self._context.line) > 0

    def nobody(self, failed: Sequence[FailedAttempt]) -> Problem:
        """Why there is no mirror for another attempt; FULL if there may be one soon."""
        context = self._context
        if self._met_full:
            self._met_full = self.in_turn = False
            return FULL
        blocks, now = context.pool.blocks, context.clock()
        fitting = [u.id for u in context.upstreams if u.available and self.fits(u)]
        if self.asked.limited_as is LENT:
            fitting = [mirror for mirror in fitting if not blocks.is_spent(mirror, now)]
        wait = blocks.soonest(fitting, self.asked.limited_as, now)
        if wait is not None:
            return all_limited(wait)
        named = context.router.expose_mirror
        return all_failed(failed, named) if failed else self.no_mirror(context)
