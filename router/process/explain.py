"""Why mirrors are chosen or not, and what became of a request, as one worker sees it."""

from __future__ import annotations

from collections import Counter
from enum import StrEnum
from typing import Any

from monitor.health.snapshot import Override, State
from router.balancing.breaker import Phase
from router.balancing.pool import Explained
from router.forwarding import recent_requests
from router.forwarding.context import WorkerContext
from router.upstream.upstream import Upstream


class WhyNot(StrEnum):
    """Reasons that keep requests away from a mirror."""

    not_enabled = "not enabled"
    drain = "drain"
    maintenance = "maintenance"
    down = "down"
    held = "held"
    on_trial = "on trial"
    ejected = "ejected"
    rate_limited = "rate limited"
    full = "full"


def explain_mirrors(context: WorkerContext) -> list[dict[str, Any]]:
    """Every mirror: why it gets nothing, if so, and what one more request on it would cost."""
    now = context.clock()
    known = {upstream.id: upstream for upstream in context.upstreams}
    refusals = Counter(mirror for mirror, _ in context.pool.refusals)
    return [
        {
            **_mirror(context, known[explained.mirror], explained, now),
            "refusals": refusals[explained.mirror],
        }
        for explained in context.pool.explain(now)
        if explained.mirror in known
    ]


def _mirror(
    context: WorkerContext, upstream: Upstream, seen: Explained, now: float
) -> dict[str, Any]:
    standing, blocks = seen.standing, context.pool.blocks
    limited = blocks.until(upstream.id, None, now)
    return {
        "id": upstream.id,
        "why_not": why_not(upstream, now, limited),
        "fallback_rank": upstream.fallback_rank,
        **{name: round(value, 4) for name, value in seen.terms._asdict().items()},
        "failing": round(seen.failing, 4),
        "breaker": {
            "phase": standing.phase.value,
            "cause": standing.cause and standing.cause.value,
            "seconds_left": _left(standing.until, now) if standing.phase is Phase.open else 0.0,
            "ejections_in_a_row": standing.count,
            "has_lease": upstream.breaker.leased,
        },
        "limited_seconds": _left(limited, now),
        "keys_limited": blocks.keys(upstream.id, now),
        "has_idle_connection": upstream.has_idle,
    }


def why_not(upstream: Upstream, now: float, limited_until: float) -> str:
    """The first thing that keeps requests away from a mirror, whoever asks; empty if nothing does.

    `limited_until`: until when all keep away after a 429.
    """
    wish, limiter = upstream.health.wish, upstream.limiter
    reasons = (
        (WhyNot.not_enabled, not upstream.mirror.enabled),
        (WhyNot.drain, wish is Override.drain),
        (WhyNot.maintenance, wish is Override.maintenance),
        (WhyNot.down, upstream.health.state is State.down),
        (WhyNot.held, not upstream.available),
        (WhyNot.on_trial, upstream.breaker.standing.phase is Phase.trial),
        (WhyNot.ejected, not upstream.breaker.closed),
        (WhyNot.rate_limited, limited_until > now),
        (WhyNot.full, limiter is not None and limiter.closed_until > now),
    )
    return next((reason.value for reason, holds in reasons if holds), "")


def explain_request(context: WorkerContext, request_id: str) -> dict[str, Any] | None:
    """The attempts of a request, if it is among the last ones."""
    kept = context.recent_requests.find(request_id.encode())
    ahead = context.wall() - context.clock()
    return None if kept is None else recent_requests.to_json(kept, lambda moment: moment + ahead)


def newest_requests(context: WorkerContext, most: int) -> list[dict[str, Any]]:
    """The last requests that failed somewhere or took long, the newest first."""
    ahead = context.wall() - context.clock()
    return [
        recent_requests.to_json(kept, lambda moment: moment + ahead)
        for kept in context.recent_requests.newest(most)
    ]


def _left(until: float, now: float) -> float:
    return round(max(until - now, 0.0), 2)
