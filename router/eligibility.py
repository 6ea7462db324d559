"""Which mirrors may serve a request, and what to say when none can."""

from __future__ import annotations

from collections.abc import Sequence

from router.admission.keys import Caller
from router.admission.refusals import no_key_fits
from router.asked import Asked
from router.body import RequestBody
from router.choice.failure import FailedAttempt
from router.peek import model_of
from router.plane import Plane
from router.upstreams import Upstream
from router.wire.answer import Problem

_OWN = Caller.own


class Eligibility:
    """What a request needs of a mirror: its endpoint, its model, and taking the caller's key."""

    __slots__ = ("_asked", "_body", "_model")

    def __init__(self, asked: Asked, body: RequestBody) -> None:
        self._asked = asked
        self._body = body
        self._model: str | None = None

    def fits(self, upstream: Upstream) -> bool:
        """Whether the mirror could serve the request, whatever its health."""
        shown = self._asked.credentials
        if shown.caller is not _OWN:
            takes = upstream.takes_key(None)
        else:
            takes = all(map(upstream.takes_key, shown.keys))
        return takes and upstream.serves(self._asked.target, self._asked_model(upstream))

    def _asked_model(self, upstream: Upstream) -> str | None:
        """The model asked for, looked up only when a mirror has a list of its own."""
        if self._model is None and upstream.mirror.models and self._body.collected:
            self._model = model_of(self._body.peek()) or ""
        return self._model or None

    def nobody(self, plane: Plane) -> Problem:
        """Why no mirror can be asked."""
        enabled = [upstream for upstream in plane.upstreams if upstream.mirror.enabled]
        if not enabled or any(map(self.fits, enabled)):
            message = "No mirror is in rotation right now. Try again shortly."
            return Problem(503, "no_mirror_available", message, retry_after=5)
        if self._model:
            message = f"No mirror here serves the model {self._model!r}. GET /v1/models lists them."
            return Problem(404, "model_not_found", message)
        return no_key_fits(plane)


def all_failed(failed: Sequence[FailedAttempt], named: bool) -> Problem:
    """The error after the last attempt; `named`: the client may know which mirrors there are."""
    mirrors = dict.fromkeys(attempt.mirror for attempt in failed)
    tried = ", ".join(mirrors) if named else str(len(mirrors))
    message = f"No mirror could answer (tried {tried}; the last one: {failed[-1].detail})."
    return Problem(502, "upstream_error", message, tried=True)


def too_slow() -> Problem:
    """The error when a mirror did not answer in time."""
    message = "The mirror did not answer in time. Try again, or ask for less."
    return Problem(504, "upstream_timeout", message, tried=True)
