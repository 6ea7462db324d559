"""Whether a request may come in: one synchronous decision over its head."""

from __future__ import annotations

from router.admission.clients import Client
from router.admission.keys import Caller, Credentials
from router.admission.refusals import accepted_keys, ban_problem, too_large, unauthorized
from router.admission.table import UNCOUNTED
from router.asked import Asked
from router.plane import Plane
from router.wire.answer import Problem
from router.wire.request import RequestHead

_, _ISSUED, _ANONYMOUS = Caller


def entry(
    plane: Plane, head: RequestHead, client: Client, in_line: bool = True
) -> tuple[int, Problem | None]:
    """A place to be given back with `plane.limits.leave`, and why there is none, if so.

    `in_line`: the refusal is the last word, not followed by another look. Preflights are answered
    here and cost nothing, so they are not counted.
    """
    problem = ban_problem(plane, client) if plane.bans.some else None
    if problem is not None or head.method == b"OPTIONS":
        return UNCOUNTED, problem
    answer = plane.limits.enter(client, plane.clock(), plane.wall(), in_line)
    if answer[0] >= UNCOUNTED:
        return answer[0], None
    return UNCOUNTED, plane.limits.refusal_of(answer)


def blame(plane: Plane, asked: Asked, head: RequestHead, problem: Problem) -> None:
    """Remember who was refused, if that can lead to a ban; to forget a key is no guess at one."""
    if problem.code != "invalid_api_key" or asked.credentials.keys:
        user_agent = head.look.get(b"user-agent", b"")
        plane.alerts.note(asked.client, problem.code, user_agent, plane.wall())


def refusal(plane: Plane, length: int, shown: Credentials) -> Problem | None:
    """Why a request with a body of this length and these keys may not be forwarded, if so."""
    limit = plane.router.max_body
    if length > limit:
        return too_large(limit)
    caller = shown.caller
    if caller is _ISSUED:
        return unauthorized("This key is unknown or has been revoked.")
    if caller in plane.router.callers:
        return None
    if caller is _ANONYMOUS:
        return unauthorized(f"No API key was sent. {accepted_keys(plane)}")
    return unauthorized(f"Callers' own keys are not accepted here. {accepted_keys(plane)}")
