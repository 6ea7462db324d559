"""Whether a request may come in: one synchronous decision over its head."""

from __future__ import annotations

from router.admission.keys import Caller, Credentials
from router.admission.refusals import accepted_keys, too_large, unauthorized
from router.plane import Plane
from router.wire.answer import Problem

_, _ISSUED, _ANONYMOUS = Caller


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
