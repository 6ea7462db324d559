"""Eligibility of mirrors for one request: by settings, key and model, and by what they refused."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from router.admission.credentials import Caller
from router.admission.key_index import IssuedKey
from router.balancing.accounts import account_of, is_stateful
from router.balancing.failure import OF_REQUESTS, Failure
from router.balancing.rate_limit import LENT
from router.balancing.refusals import OfRequest
from router.forwarding.context import WorkerContext
from router.forwarding.local_response import (
    ACCOUNT_OUTAGE,
    NO_KEY_LENT,
    OUTAGE,
    OWN_KEY_SPENT,
    UNSERVED,
    all_limited,
    no_key_fits,
    unknown_model,
)
from router.forwarding.request_context import RequestContext
from router.forwarding.request_policy import RequestPolicy, model_of
from router.metering.metered_request import ANONYMOUS
from router.upstream.request_body import RequestBody
from router.upstream.upstream import Upstream
from router.wire.error_response import Problem

_OWN: Final = Caller.own
_ISSUED: Final = Caller.issued


class Eligibility:
    """Knows which mirrors could serve a request, whatever their load and health are."""

    __slots__ = ("_account", "_body", "_context", "_model", "_policy", "_refusals", "_request")

    def __init__(
        self,
        context: WorkerContext,
        request: RequestContext,
        body: RequestBody,
        policy: RequestPolicy,
    ) -> None:
        self._context = context
        self._request = request
        self._body = body
        self._policy = policy
        self._model: str | None = None
        """The model in the body, once a mirror with a list of models made it necessary to look."""
        self._refusals: OfRequest | None = None
        """What mirrors refuse of such requests, if anything is known."""
        if context.pool.refusals.some:
            self._refusals = self._known_refusals()
        self._account: str | None = None
        """The only account whose mirrors will do, if there is one."""
        if context.upstreams.have_accounts and request.caller is not _OWN:
            self._account = self._account_of_key()

    def _known_refusals(self) -> OfRequest:
        request = self._request
        return OfRequest(
            self._context.pool.refusals,
            request.client.key,
            request.limited_as,
            request.shape[0],
            request.target,
            self._policy.model,
        )

    def _account_of_key(self) -> str | None:
        """The account that has what the request makes or names; it depends on settings alone, so
        that whatever becomes of mirrors the next request finds the same."""
        request, content = self._request, self._body.peek() if self._body.collected else None
        if not is_stateful(request.shape[0], request.endpoint, request.target, content):
            return None
        model, context, key = self._asked_model(), self._context, b""
        if request.caller is _ISSUED:
            issued = request.issued(context.keys, context.wall())
            key = issued.id.encode() if issued is not None else b""
        accounts = {
            upstream.account
            for upstream in context.upstreams
            if upstream.mirror.enabled
            and self._takes(upstream)
            and upstream.serves(request.target)
            and (not model or not upstream.only or model in upstream.only)
        }
        return account_of(key, accounts)

    def fits(self, upstream: Upstream) -> bool:
        """True if the mirror could serve the request, with its own key if that is needed."""
        if self._account is not None and upstream.account != self._account:
            return False
        request = self._request
        if request.caller is not _OWN and not upstream.lends_key:
            return False
        if request.suits.get(upstream) and not upstream.only and not upstream.lacks:
            return True  # as mostly: it is known, and the model does not matter
        return self._is_made_for(upstream)

    def _is_made_for(self, upstream: Upstream) -> bool:
        """The same, as if no mirror's key were refused."""
        known = self._request.suits.get(upstream)
        if known is None:
            known = self._has_what_is_asked(upstream)
            self._request.suits[upstream] = known
        picky = upstream.only or upstream.lacks
        return known and (not picky or self._has_model(upstream))

    def _has_what_is_asked(self, upstream: Upstream) -> bool:
        if self._request.mirror:
            return upstream.id == self._request.mirror
        return self._takes(upstream) and upstream.serves(self._request.target)

    def _takes(self, upstream: Upstream) -> bool:
        """True if the mirror is configured for the caller's key."""
        shown = self._request.credentials
        if shown.caller is _OWN:
            return all(map(upstream.takes_key, shown.keys))
        return bool(upstream.api_key)

    def _has_model(self, upstream: Upstream) -> bool:
        """True if the mirror has the model; the body is read only for mirrors with a list."""
        model = self._asked_model()
        if not model or not upstream.only:
            # What a mirror lists for its own key says nothing of callers' keys; and what is not
            # found on its account will not be found on others.
            asks = self._request.caller is _OWN or self._account is not None
            return asks or model not in upstream.lacks
        return model in upstream.only

    def _asked_model(self) -> str | None:
        if self._model is None and self._body.collected:
            self._model = self._request.model or model_of(self._body.peek())
        return self._model

    def available(self) -> list[Upstream]:
        """The mirrors that could serve the request and are in rotation."""
        return [one for one in self._context.upstreams if one.available and self.fits(one)]

    # Refusals

    def refuses(self, upstream: Upstream, *, repeatable: bool) -> bool:
        """True if the mirror has refused such a request, and it is not time to try again.
        `repeatable`: it can be sent elsewhere, so that it may be the one that tries."""
        known = self._refusals
        if known is None:
            return False
        return known.keeps_away(upstream.id, self._context.clock(), repeatable)

    def rules_out(self, upstream: Upstream, *, repeatable: bool) -> bool:
        """True if the mirror is left out because of that, as long as another one might serve."""
        known = self._refusals
        return (
            known is not None
            and not known.ignored
            and self.refuses(upstream, repeatable=repeatable)
        )

    def ignore_refusals(self, fitting: Iterable[Upstream], *, repeatable: bool) -> bool:
        """Let one of these mirrors be asked though all refuse; False if not all do, or it was
        allowed before."""
        known = self._refusals
        if known is None or known.ignored:
            return False
        if not all(self.refuses(upstream, repeatable=repeatable) for upstream in fitting):
            return False
        known.ignored = True
        return True

    def chosen(self, mirror: str, now: float) -> None:
        """The mirror is asked: it may be the one trial of what it has refused."""
        if self._refusals is not None:
            self._refusals.sent(mirror, now)

    def served(self, mirror: str) -> None:
        """The mirror has served the request."""
        if self._refusals is not None:
            self._refusals.served(mirror)

    def learn(self, failure: Failure, upstream: Upstream, wait: float | None, now: float) -> None:
        """An attempt has failed: where the mirror has refused it, such requests keep away for a
        while. `wait`: the seconds that it has asked for, if any."""
        blocks = self._context.pool.blocks
        if failure is Failure.limited:
            blocks.block(upstream.id, None, wait, now)
        elif failure is Failure.out_of_quota:
            blocks.block(upstream.id, LENT, wait, now)
        elif failure in (Failure.key_limited, Failure.key_spent):
            key, spent = self._request.limited_as, failure is Failure.key_spent
            for mirror in _of_account(upstream, self._context.upstreams):
                blocks.block(mirror, key, wait, now, spent=spent)
        elif failure in OF_REQUESTS:
            self._refusals = self._refusals or self._known_refusals()
            self._refusals.learn(failure, upstream.id, now)

    # Errors

    def limited(self, now: float, *, repeatable: bool) -> Problem | None:
        """The error while all mirrors that fit limit such requests; None if one does not."""
        blocks, key = self._context.pool.blocks, self._request.limited_as
        fitting = [u.id for u in self.available() if not self.refuses(u, repeatable=repeatable)]
        if key is LENT:
            fitting = [mirror for mirror in fitting if not blocks.is_spent(mirror, now)]
        wait = blocks.soonest(fitting, key, now)
        if wait is None:
            return None
        return OWN_KEY_SPENT if blocks.all_spent(fitting, key, now) else all_limited(wait)

    def unknown_model(self) -> Problem | None:
        """The error in place of a mirror's own that it does not have the model, if none is known to
        have it and the key is a mirror's."""
        model, models = self._policy.model, self._context.upstreams.models
        if self._request.caller is _OWN or not models or model in models:
            return None
        return unknown_model(model, self._nearest(model))

    def _nearest(self, model: str) -> list[str]:
        """Names like this one of models that the key may use."""
        context, request = self._context, self._request
        key: IssuedKey | None = ANONYMOUS
        if request.caller is _ISSUED:
            key = request.issued(context.keys, context.wall())
        return context.upstreams.models.nearest(model, key) if key is not None else []

    def no_mirror(self) -> Problem:
        """The error when no mirror fits the request; 401 only where another key would help."""
        context = self._context
        enabled = [upstream for upstream in context.upstreams if upstream.mirror.enabled]
        if not enabled or any(map(self._is_made_for, enabled)):
            return OUTAGE if self._account is None else ACCOUNT_OUTAGE
        if self._model:
            return unknown_model(self._model, self._nearest(self._model))
        takers = [upstream for upstream in context.upstreams if self._takes(upstream)]
        if takers:
            served = any(upstream.serves(self._request.target) for upstream in takers)
            return OUTAGE if served else UNSERVED
        return NO_KEY_LENT if self._request.caller is _ISSUED else no_key_fits(context)


def _of_account(upstream: Upstream, all_of_them: Iterable[Upstream]) -> list[str]:
    """The mirrors that share the limits of this one, itself among them."""
    account = upstream.mirror.account
    if not account:
        return [upstream.id]
    return [other.id for other in all_of_them if other.mirror.account == account]
