"""Which mirrors may serve a request, and what to say when none can."""

from __future__ import annotations

from router.admission.keys import Caller
from router.admission.refusals import no_key_fits
from router.asked import Asked
from router.body import RequestBody
from router.peek import model_of
from router.plane import Plane
from router.upstreams import Upstream
from router.wire.answer import Problem

_OWN = Caller.own


class Eligibility:
    """What a request needs of a mirror: its endpoint, its model, and taking the caller's key."""

    __slots__ = ("_body", "_model", "asked")

    def __init__(self, asked: Asked, body: RequestBody) -> None:
        self.asked = asked
        self._body = body
        self._model: str | None = None

    def fits(self, upstream: Upstream) -> bool:
        """Whether the mirror could serve the request, whatever its health."""
        known = self.asked.suits.get(upstream)
        if known is None:
            known = self.asked.suits[upstream] = self._suits(upstream)
        picky = upstream.mirror.models or upstream.lacks
        return known and (not picky or self._has_model(upstream))

    def _suits(self, upstream: Upstream) -> bool:
        shown = self.asked.credentials
        if shown.caller is not _OWN:
            takes = upstream.takes_key(None)
        else:
            takes = all(map(upstream.takes_key, shown.keys))
        return takes and upstream.serves(self.asked.target)

    def _has_model(self, upstream: Upstream) -> bool:
        """Looked up only when a mirror has a list of its own."""
        if self._model is None and self._body.collected:
            self._model = model_of(self._body.peek())
        if not self._model or not upstream.mirror.models:
            # What a mirror lists for its own key says nothing of callers' keys.
            own = self.asked.credentials.caller is _OWN
            return own or self._model not in upstream.lacks
        return self._model in upstream.mirror.models

    def no_mirror(self, plane: Plane) -> Problem:
        """Why no mirror can be asked."""
        enabled = [upstream for upstream in plane.upstreams if upstream.mirror.enabled]
        if not enabled or any(map(self.fits, enabled)):
            message = "No mirror is in rotation right now. Try again shortly."
            return Problem(503, "no_mirror_available", message, retry_after=5)
        if self._model:
            message = f"No mirror here serves the model {self._model!r}. GET /v1/models lists them."
            return Problem(404, "model_not_found", message)
        return no_key_fits(plane)
