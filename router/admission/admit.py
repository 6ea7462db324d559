"""Whether a request may come in: one synchronous decision over its head."""

from __future__ import annotations

from dataclasses import replace

from router.admission.issued import refusal_of_key
from router.admission.keys import Caller
from router.admission.refusals import too_large
from router.admission.table import UNCOUNTED
from router.asked import Asked
from router.plane import Plane
from router.problems import accepted_keys, ban_problem
from router.wire.answer import Problem, unauthorized
from router.wire.request import RequestHead

_ISSUED = Caller.issued
_NOT_ACCEPTED = {
    Caller.own: "Callers' own keys are not accepted here.",
    Caller.issued: "Keys issued here are not accepted any more.",
    Caller.anonymous: "No API key was sent.",
}


def entry(
    plane: Plane, head: RequestHead, asked: Asked, in_line: bool = True
) -> tuple[int, Problem | None]:
    """A place to be given back with `plane.limits.leave`, and why there is none, if so.

    `in_line`: the refusal is the last word, not followed by another look. Preflights are answered
    here and cost nothing, so they are not counted.
    """
    client, wall = asked.client, plane.wall()
    problem = ban_problem(plane, client) if plane.bans.some else None
    if problem is not None or head.method == b"OPTIONS":
        return UNCOUNTED, problem
    issued = asked.issued(plane.keys, wall) if asked.caller is _ISSUED else None
    if issued is not None:
        return plane.limits.enter_with(issued, client, plane.clock(), wall, in_line)
    answer = plane.limits.enter(client, plane.clock(), wall, in_line)
    if answer[0] >= UNCOUNTED:
        return answer[0], None
    return UNCOUNTED, plane.limits.refusal_of(answer)


def blame(plane: Plane, asked: Asked, head: RequestHead, problem: Problem) -> None:
    """Remember who was refused, if that can lead to a ban; to forget a key is no guess at one, and
    an address is not banned, with all who share it, for a key that can be revoked."""
    if problem.of_key:
        return
    if problem.code != "invalid_api_key" or asked.credentials.keys:
        user_agent = head.look.get(b"user-agent", b"")
        plane.alerts.note(asked.client, problem.code, user_agent, plane.wall())


def refusal(plane: Plane, length: int, asked: Asked) -> Problem | None:
    """Why such a request with a body of this length may not be forwarded, if so."""
    limit = plane.router.max_body
    if length > limit:
        return too_large(limit)
    caller = asked.caller
    if caller in plane.router.callers:
        if caller is _ISSUED and asked.issued(plane.keys, plane.wall()) is None:
            return refusal_of_key(plane.keys, asked.digest)
        return asked.problem
    problem = unauthorized(f"{_NOT_ACCEPTED[caller]} {accepted_keys(plane)}")
    # Where no issued key is accepted none can be guessed, but one may be left in a configuration.
    return replace(problem, of_key=True) if caller is _ISSUED else problem
