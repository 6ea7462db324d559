"""Whether a request may come in: one synchronous decision over its head."""

from __future__ import annotations

from router.admission.keys import Caller, Credentials, credentials
from router.admission.refusals import accepted_keys, too_large, unauthorized
from router.plane import Plane
from router.wire.answer import Problem
from router.wire.request import RequestHead

_, _ISSUED, _ANONYMOUS = Caller


def admit(plane: Plane, head: RequestHead) -> Credentials | Problem:
    """The credentials of a request that may be forwarded, or why it may not."""
    limit = plane.router.max_body
    if head.length > limit:
        return too_large(limit)
    shown = credentials(head.look, plane.config.keys.prefix)
    return _key_problem(plane, shown) or shown


def _key_problem(plane: Plane, shown: Credentials) -> Problem | None:
    caller = shown.caller
    if caller is _ISSUED:
        return unauthorized("This key is unknown or has been revoked.")
    if caller in plane.router.callers:
        return None
    if caller is _ANONYMOUS:
        return unauthorized(f"No API key was sent. {accepted_keys(plane)}")
    return unauthorized(f"Callers' own keys are not accepted here. {accepted_keys(plane)}")
