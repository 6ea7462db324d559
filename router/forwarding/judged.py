"""Is what a mirror sends an answer? Decided by its head and its beginning, while the client has
nothing of it: then it is committed to, or the exchange hears why it is none.

The state of a reply is declared here, at the bottom of its two layers: `Judged`, `Reply`.
"""

from __future__ import annotations

from router.admission.credentials import offered_as
from router.balancing.failure import Failure
from router.balancing.rate_limit import classify, is_out_of_quota
from router.forwarding.asker import Asker
from router.forwarding.response_writer import ResponseWriter
from router.forwarding.stream_hold import (
    COMMIT,
    WAIT,
    Ending,
    Hold,
    Refusal,
    failure_of,
    hold_of,
    is_plainly_good,
    needs_look,
)
from router.forwarding.tunnel import Tunnel
from router.metering.meter import Meter
from router.upstream.connection import UpstreamConnection
from router.upstream.key_scan import BodyScan
from router.upstream.upstream import Upstream
from router.wire.response import BadResponse, ResponseHead
from router.wire.sse import Boundary
from router.wire.websocket import check_switch

_NOT_SHOWN = {
    Failure.challenge: "a challenge page of what stands in front of it",
    Failure.key_refused: "it refuses the key that it is given here",
    Failure.out_of_quota: "the key that it is given here is out of quota",
}
"""Answers that are never passed on: a page that no SDK reads, or one that may quote our key."""
_SAYS = {
    Failure.server_error: "it answers with an error",
    Failure.gateway: "something in front of it gave up",
    Failure.overloaded: "it is overloaded",
}
_LIMITED = "it limits how much may be asked"


class Judged:
    """One request on one connection, until it is known what comes back."""

    __slots__ = (
        "_asker",
        "_began",
        "_boundary",
        "_connection",
        "_ending",
        "_first_byte",
        "_forms",
        "_head",
        "_heard_at",
        "_hold",
        "_meter",
        "_opened_in",
        "_relay",
        "_scan",
        "_tunnel",
        "_upstream",
        "_wheel",
        "committed",
        "mirror",
        "status",
        "stream",
    )

    def __init__(
        self, asker: Asker, upstream: Upstream, connection: UpstreamConnection, opened_in: float
    ) -> None:
        self.mirror = upstream.id
        self.status = 0
        self.stream = False
        self.committed = False
        """True if the client has something of this answer."""
        self._asker = asker
        self._upstream = upstream
        self._connection: UpstreamConnection | None = connection
        self._opened_in = opened_in
        self._first_byte = 0.0
        self._wheel = asker.context.wheel
        self._heard_at = 0.0
        self._began = self._wheel.now
        self._head: ResponseHead | None = None
        """The head, while it is open whether the client gets it."""
        self._hold: Hold | Refusal | None = None
        self._boundary: Boundary | None = None
        self._ending: Ending | None = None
        self._meter: Meter | None = None
        self._relay = ResponseWriter(
            asker.context.write_batch, asker.client.transport, asker.head, asker.told
        )
        self._tunnel: Tunnel | None = None
        self._forms = upstream.key_forms if asker.with_mirror_key else None
        """Of the key that was lent, which must not reach the client."""
        self._scan: BodyScan | None = None

    # What lies above

    def _commit(self, head: ResponseHead) -> None:
        raise NotImplementedError

    def _forward(self, parts: list[bytes], ended: bool) -> None:
        raise NotImplementedError

    def interrupt(self, failure: Failure | None) -> None:
        """The answer cannot be completed."""
        raise NotImplementedError

    # From the mirror: is it an answer?

    def informational(self, head: ResponseHead) -> None:
        """An interim response; one with the mirror's key in it is left out."""
        if self._forms is None or not self._forms.are_in(head.text()):
            self._relay.informational(head)

    def response_head(self, head: ResponseHead) -> None:
        """The head of the answer."""
        asker, forms = self._asker, self._forms
        if head.status == 101:
            check_switch(asker.head.websocket_key, head, plain=asker.with_mirror_key)
            self._agree(head)
        self.status = head.status
        self._first_byte = asker.context.clock() - asker.complete_at
        if forms is not None:
            if forms.are_in(head.text()):
                asker.withhold()
                return
            self._scan = BodyScan(forms, head.encoding)
        failure = failure_of(head, not asker.with_mirror_key) if head.status >= 400 else None
        if failure is not None:
            self._refused(head, failure)
            return
        self._head = head
        may_quote = head.status >= 400 and asker.with_mirror_key
        if may_quote or (asker.told and (not head.is_event_stream or head.encoding)):
            self._hold = Refusal()
        elif head.is_event_stream:
            asker.head_came()

    def _agree(self, head: ResponseHead) -> None:
        """Let the client know its subprotocol as it offered it: the mirror may have seen a key of
        its own in there. Raises BadResponse for one that was not offered (RFC 6455 section 4.1)."""
        asker, chosen = self._asker, head.look.get(b"sec-websocket-protocol")
        if chosen is not None:
            key = self._upstream.api_key
            offered = offered_as(asker.credentials, asker.head.look, key, chosen.strip(b" \t"))
            if offered is None:
                raise BadResponse("it chose a subprotocol that was not offered")
            head.fields += (b"sec-websocket-protocol", b": ", offered, b"\r\n")

    def _refused(self, head: ResponseHead, failure: Failure) -> None:
        asker = self._asker
        if failure in _NOT_SHOWN:
            asker.unanswered(failure, _NOT_SHOWN[failure], head)
        elif failure is Failure.limited:
            self._head, self._hold = head, Refusal()
        elif not asker.leaves(failure, f"{_SAYS[failure]} ({head.status})", head):
            looks = asker.told or asker.with_mirror_key
            self._head, self._hold = head, Refusal() if looks else None

    def response_data(self, parts: list[bytes], ended: bool) -> None:
        """Take the bytes of the response that one read brought."""
        if self._scan is not None and (parts or ended):
            passing = self._scan.feed(parts, ended)
            if self._scan.refused:
                self._withhold()
                return
            if not passing and not ended:
                return  # all is held back
            parts = passing
        if self._head is not None:
            judged = self._judged(self._head, parts, ended)
            if judged is None:
                return
            parts = judged
            if self.stream or not ended:  # else this was its content and its end
                self._asker.content()
        elif self._wheel.now != self._heard_at:  # to move a deadline once a tick will do
            self._heard_at = self._wheel.now
            self._asker.heard()
        self._forward(parts, ended)

    def _withhold(self) -> None:
        """It quotes the key that the mirror was given, or cannot be searched for it."""
        if self.committed:
            self.interrupt(Failure.malformed)
        else:
            self._asker.withhold()

    def _judged(self, head: ResponseHead, parts: list[bytes], ended: bool) -> list[bytes] | None:
        """Return the bytes that may be forwarded now; None while that is open, or when it is no
        answer."""
        hold = self._hold
        if hold is None:
            looks = head.status < 400 and needs_look(head, self._asker.dialect)
            if not looks or (parts and is_plainly_good(head, parts[0])):
                self._commit(head)
                return parts
            hold = self._hold = hold_of(head, self._asker.dialect, lent=self._asker.with_mirror_key)
        if isinstance(hold, Refusal):
            return self._look_into(head, hold, parts, ended)
        verdict, rest = hold.verdict, list(parts)
        while verdict is WAIT and rest:
            verdict = hold.feed(rest.pop(0))
        if verdict is WAIT and ended:
            verdict = hold.ended()
        if verdict is WAIT:
            return None
        if verdict is COMMIT:
            self._commit(head)
            return hold.take() + rest
        assert verdict.failure is not None
        if not verdict.readable or self._asker.told:
            self._asker.unanswered(verdict.failure, verdict.detail, head)
        elif not self._asker.leaves(verdict.failure, verdict.detail, head):
            self._commit(head)
            return hold.take() + rest
        return None

    def _look_into(
        self, head: ResponseHead, refusal: Refusal, parts: list[bytes], ended: bool
    ) -> list[bytes] | None:
        for part in parts:
            refusal.feed(part)
        if ended:
            refusal.ended()
        if not refusal.complete:
            return None
        asker, error = self._asker, refusal.error()
        own_key = not asker.with_mirror_key
        if head.status < 500 and not own_key and error is not None and is_out_of_quota(error):
            asker.unanswered(Failure.out_of_quota, _NOT_SHOWN[Failure.out_of_quota], head)
            return None
        if head.status == 429:
            if not classify(own_key, error).pass_on:
                asker.unanswered(Failure.limited, _LIMITED, head)
                return None
            asker.limited_by_key(head)
        if asker.told:
            asker.refused_in_stream(head.status, error)
            return None
        self._commit(head)
        return refusal.take()
