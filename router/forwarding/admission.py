"""Admission of a request: synchronous decisions over its head, and the start of its metering."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from router.admission.credentials import Caller
from router.admission.errors import too_large
from router.admission.key_index import IssuedKey
from router.admission.key_scope import refusal_of_key
from router.admission.shared_table import UNCOUNTED
from router.forwarding.context import WorkerContext
from router.forwarding.local_response import accepted_keys, ban_problem
from router.forwarding.request_context import RequestContext
from router.metering.metered_request import ANONYMOUS, MeteredRequest, Request
from router.metering.websocket_meter import WebSocketMeter, converse
from router.upstream.dialect import Dialect
from router.upstream.request_body import RequestBody
from router.wire.error_response import Problem, unauthorized
from router.wire.request import RequestHead

_OWN: Final = Caller.own
_ISSUED: Final = Caller.issued
_MISTYPED = unauthorized(
    "This key looks like one that was issued here, but a letter of it is wrong or missing: copy it "
    "again, whole."
)
_NOT_ACCEPTED = {
    Caller.own: "Callers' own keys are not accepted here.",
    Caller.issued: "Keys issued here are not accepted any more.",
    Caller.anonymous: "No API key was sent.",
}


def entry(
    context: WorkerContext, head: RequestHead, request: RequestContext, final: bool = True
) -> tuple[int, Problem | None]:
    """A place to be given back with `Limits.leave`, and why there is none, if so.

    `final`: the refusal goes to the client, and is not followed by another try. Preflights are
    answered here and cost nothing, so they are not counted.
    """
    client, wall = request.client, context.wall()
    problem = ban_problem(context, client) if context.bans.some else None
    if problem is not None or head.method == b"OPTIONS":
        return UNCOUNTED, problem
    issued = request.issued(context.keys, wall) if request.caller is _ISSUED else None
    if issued is not None:
        return context.limits.enter_with(issued, client, context.clock(), wall, final)
    answer = context.limits.enter(client, context.clock(), wall, final)
    if answer[0] >= UNCOUNTED:
        return answer[0], None
    return UNCOUNTED, context.limits.refusal_of(answer)


def blame(
    context: WorkerContext, request: RequestContext, head: RequestHead, problem: Problem
) -> None:
    """Remember who was refused, if that can lead to a ban; to forget a key is no guess at one, and
    an address is not banned, with all who share it, for a key that can be revoked."""
    if problem.of_key:
        return
    if problem.code != "invalid_api_key" or request.credentials.keys:
        user_agent = head.look.get(b"user-agent", b"")
        context.alerts.note(request.client, problem.code, user_agent, context.wall())


def refusal(context: WorkerContext, length: int, request: RequestContext) -> Problem | None:
    """Why such a request with a body of this length may not be forwarded, if so."""
    limit = context.router.max_body
    if length > limit:
        return too_large(limit)
    caller = request.caller
    if request.is_mistyped:  # no guess where the caller's own key might be meant
        return replace(_MISTYPED, of_key=_OWN in context.router.callers)
    if request.mirror:
        return None
    if caller in context.router.callers:
        if caller is _ISSUED and request.issued(context.keys, context.wall()) is None:
            return refusal_of_key(context.keys, request.digest)
        return request.problem
    problem = unauthorized(f"{_NOT_ACCEPTED[caller]} {accepted_keys(context)}")
    # Where no issued key is accepted none can be guessed, but one may be left in a configuration.
    return replace(problem, of_key=True) if caller is _ISSUED else problem


def metering_of(
    context: WorkerContext,
    request: RequestContext,
    head: RequestHead,
    body: RequestBody,
    dialect: Dialect,
) -> tuple[MeteredRequest | None, WebSocketMeter | None] | Problem:
    """Begin to meter a request that uses a mirror's key, or refuse it: such a key is not for
    everything. A WebSocket of a known dialect is metered message by message."""
    wall = context.wall()
    key = request.issued(context.keys, wall) if request.caller is _ISSUED else ANONYMOUS
    if key is None:
        return refusal_of_key(context.keys, request.digest)
    start, readable = body.peek(), body.collected and (request.is_json or not head.has_body)
    properties = Request(
        head.method,
        request.target,
        dialect,
        head.websocket,
        head.look[b"content-type"] if request.shape[3] else b"",
        start if readable else None,
        body.crowded_out,
        -1 if head.chunked else head.length,
        None if request.is_json else head.look.get(b"content-type", b""),
    )
    metered = context.metering.begin(key, properties, wall)
    if isinstance(metered, Problem):
        return metered
    if head.websocket:
        dialogue = _dialogue(context, request, key)
        return dialogue if isinstance(dialogue, Problem) else (None, dialogue)
    if metered is not None and not readable:
        metered.upload(start)
    return metered, None


def _dialogue(
    context: WorkerContext, request: RequestContext, key: IssuedKey
) -> WebSocketMeter | Problem | None:
    def current() -> IssuedKey | Problem:
        if request.caller is not _ISSUED:
            return ANONYMOUS
        found = request.issued(context.keys, context.wall())
        return refusal_of_key(context.keys, request.digest) if found is None else found

    def too_fast(key: IssuedKey) -> Problem | None:
        return context.limits.refusal_of_rate(key, context.clock())

    return converse(context.metering, request.target, key, current, context.wall, too_fast)
