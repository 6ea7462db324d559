"""Mirrors that may serve a request, and the error when none can."""

from __future__ import annotations

from router.admission.credentials import Caller
from router.forwarding.body import RequestBody
from router.forwarding.context import WorkerContext
from router.forwarding.local_response import OUTAGE, UNSERVED, no_key_fits
from router.forwarding.request_context import RequestContext
from router.forwarding.request_policy import model_of
from router.upstream.upstream import Upstream
from router.wire.error_response import Problem

_OWN, _ISSUED, _ = Caller


class Eligibility:
    """Requirements of a request on a mirror: its endpoint, its model, and taking the caller's
    key."""

    __slots__ = ("_body", "_model", "asked")

    def __init__(self, asked: RequestContext, body: RequestBody) -> None:
        self.asked = asked
        self._body = body
        self._model: str | None = None

    def fits(self, upstream: Upstream) -> bool:
        """True if the mirror could serve the request, with its own key if that is asked for."""
        return (self.asked.caller is _OWN or upstream.lends_key) and self._is_made_for(upstream)

    def _is_made_for(self, upstream: Upstream) -> bool:
        """The same, as if no mirror's key were refused."""
        known = self.asked.suits.get(upstream)
        if known is None:
            known = self._takes(upstream) and upstream.serves(self.asked.target)
            self.asked.suits[upstream] = known
        picky = upstream.mirror.models or upstream.lacks
        return known and (not picky or self._has_model(upstream))

    def _takes(self, upstream: Upstream) -> bool:
        """True if the mirror is configured for the caller's key."""
        shown = self.asked.credentials
        if shown.caller is _OWN:
            return all(map(upstream.takes_key, shown.keys))
        return bool(upstream.api_key)

    def _has_model(self, upstream: Upstream) -> bool:
        """Looked up only when a mirror has a list of its own."""
        if self._model is None and self._body.collected:
            self._model = model_of(self._body.peek())
        if not self._model or not upstream.mirror.models:
            # What a mirror lists for its own key says nothing of callers' keys.
            own = self.asked.caller is _OWN
            return own or self._model not in upstream.lacks
        return self._model in upstream.mirror.models

    def no_mirror(self, context: WorkerContext) -> Problem:
        """The error when no mirror can be asked; 401 only where another key would help."""
        enabled = [upstream for upstream in context.upstreams if upstream.mirror.enabled]
        if not enabled or any(map(self._is_made_for, enabled)):
            return OUTAGE
        if self._model:
            message = f"No mirror here serves the model {self._model!r}. GET /v1/models lists them."
            return Problem(404, "model_not_found", message)
        takers = [upstream for upstream in context.upstreams if self._takes(upstream)]
        if takers:
            served = any(upstream.serves(self.asked.target) for upstream in takers)
            return OUTAGE if served else UNSERVED
        return OUTAGE if self.asked.caller is _ISSUED else no_key_fits(context)
