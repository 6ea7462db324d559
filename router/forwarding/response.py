"""The response of a mirror on its way to the client: the user of one connection to a mirror.

    head ─► inspected by head and beginning ─► commit ─► relayed ─► ended, or cut so that it shows
                    │ no answer
                    └─► the exchange: another mirror, or an error

It belongs to an exchange, reports the end of the response to it, and gives the connection back: to
the pool when both sides have done what HTTP asks for, else by closing it. A response is inspected
as long as the client has nothing of it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace

from router.admission.capacity import Share
from router.admission.credentials import offered_as
from router.balancing.failure import Failure
from router.balancing.retry import Commit
from router.forwarding.abandoned import Detached
from router.forwarding.attempts import Attempts
from router.forwarding.interfaces import ResponseOwner
from router.forwarding.local_response import added_fields, state_page
from router.forwarding.response_inspection import Inspection, hold_of, outcome_of
from router.forwarding.response_writer import ResponseWriter
from router.forwarding.tunnel import Tunnel
from router.forwarding.websocket_session import KeyFilter, Session
from router.metering.meter import Meter
from router.upstream.connection import UpstreamConnection
from router.upstream.dialect import Dialect, interruption
from router.upstream.image_links import OF_ANOTHER_BODY, SHIELD
from router.upstream.key_leaks import QUOTED, BodyScan
from router.upstream.plain_answers import MOST_HELD, Rest, is_plainly_good, rest_of, shape_of
from router.upstream.stream_hold import Ending, breaks_off
from router.upstream.upstream import Upstream
from router.wire.fields import without
from router.wire.response import BadResponse, ResponseHead
from router.wire.sse import Boundary
from router.wire.websocket import check_switch

STALE_WITHIN = 2.0
"""Seconds in which a kept connection that the mirror had closed tells so: a round trip, with a
retransmission. One that ends later was alive, and the request may have been acted upon."""
_BROKE_OFF = "The mirror's answer broke off. What came before this is not all of it: ask again."
_HAD_ENOUGH = "The time that x-mirrorgate-timeout allows is over. This is not the whole answer."


class Response:
    """One request on one connection, and its response; `UpstreamConnection.take` begins it."""

    __slots__ = (
        "_attempts",
        "_began",
        "_boundary",
        "_connection",
        "_ending",
        "_exchange",
        "_first_byte",
        "_forms",
        "_head",
        "_heard_at",
        "_inspection",
        "_meter",
        "_opened_in",
        "_relay",
        "_relinks",
        "_rest",
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
        self,
        exchange: ResponseOwner,
        attempts: Attempts,
        upstream: Upstream,
        connection: UpstreamConnection,
        opened_in: float,
    ) -> None:
        self.mirror = upstream.id
        self.status = 0
        self.stream = False
        self.committed = False
        """True if the client has something of this answer."""
        self._exchange = exchange
        context, request = exchange.context, exchange.request
        self._attempts = attempts
        self._upstream = upstream
        self._connection: UpstreamConnection | None = connection
        self._opened_in = opened_in
        self._first_byte = 0.0
        self._wheel = context.wheel
        self._heard_at = 0.0
        self._began = self._wheel.now
        self._head: ResponseHead | None = None
        """The head, while it is open whether the client gets it."""
        self._inspection: Inspection | None = None
        """Of one that is not plainly good."""
        self._boundary: Boundary | None = None
        self._ending: Ending | None = None
        self._rest: Rest | None = None
        self._meter: Meter | None = None
        self._relinks = upstream.relays_images and request.names_images
        """True if links to images in it, on the mirror's own host, are to lead through here."""
        self._relay = ResponseWriter(
            context.write_batch, exchange.client.transport, exchange.head, exchange.head_sent
        )
        self._tunnel: Tunnel | None = None
        self._forms = upstream.key_forms if request.uses_mirror_key else None
        """Of the key that was lent, which must not reach the client."""
        self._scan: BodyScan | None = None

    @property
    def has_head(self) -> bool:
        """True if the mirror has begun to answer."""
        return self.status > 0

    @property
    def heard_at(self) -> float:
        """When the mirror last sent anything of it, in seconds of the wheel's clock; 0: never."""
        return self._heard_at

    @property
    def failure_when_late(self) -> Failure:
        """Meaning of a limit on its silence that has passed."""
        if self._inspection is not None:
            return self._inspection.failure_when_late
        return Failure.content_timeout if self.has_head else Failure.timeout

    @property
    def commit(self) -> Commit:
        """Progress while the client has no content."""
        if self._exchange.head_sent:
            return Commit.comments_sent
        return Commit.head_received if self.has_head else Commit.request_sent

    @property
    def body_bytes(self) -> int:
        """Bytes of the answer's body that were relayed so far."""
        return self._relay.body_bytes

    # For the exchange

    def write(self, data: bytes) -> None:
        """Send a part of the request."""
        if self._connection is not None:
            self._connection.write(data)

    def pause(self) -> None:
        """The client takes no more for now."""
        if self._connection is not None:
            self._connection.pause()

    def resume(self) -> None:
        """The client takes bytes again."""
        if self._connection is not None:
            self._connection.resume()

    @property
    def between_events(self) -> bool:
        """True if the client has a stream, and all of its last event."""
        return self._boundary is not None and self._boundary.between_events

    def interrupt(self, failure: Failure | None) -> None:
        """The answer cannot be completed: the client must see that.

        `failure` is None where the caller's own limit is over: that counts as its leaving.
        """
        exchange = self._exchange
        if failure is not None:
            self._count_interruption(failure)
        if self.between_events and self._relay.takes_more:
            message = _HAD_ENOUGH
            if failure is not None:
                message = _BROKE_OFF + state_page(exchange.context)
            self._relay.write_between_events(interruption(exchange.dialect, message))
        self.cut()
        exchange.answered(
            "interrupted" if failure is not None else "client_abort", keep_alive=False
        )

    def _count_interruption(self, failure: Failure) -> None:
        context = self._exchange.context
        self._attempts.cut(failure)
        context.stats.interrupted(self.mirror, failure)
        context.traffic.stalled(self.mirror, self.body_bytes)

    def cut(self) -> None:
        """End the answer visibly incomplete, and a tunnel."""
        if self._tunnel is not None:
            self._tunnel.leave()
        else:
            self._relay.cut()

    def end_revoked(self) -> None:
        """End a tunnel whose key has been revoked."""
        tunnel = self._tunnel
        if tunnel is not None and tunnel.session is not None:
            tunnel.session.revoke()
        else:
            self.cut()

    def note_head_sent(self) -> None:
        """Note that the client has been sent a head, of a chunked response."""
        self._relay.note_head_sent()

    def abort(self) -> None:
        """End after a fault of ours."""
        self._connection = None
        self._exchange.abort()

    def send_keepalive(self, words: bytes) -> None:
        """Write a keepalive of our own between two events of the stream."""
        self._relay.write_between_events(words)

    def leave(self) -> None:
        """Close the connection to the mirror unless it has been given back."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.leave()

    def detach(self) -> Detached | None:
        """Give the connection away with what is held of the answer: a head, and a beginning.

        None: the answer has ended, or a tunnel has begun.
        """
        connection, self._connection = self._connection, None
        if connection is None:
            return None
        held = self._inspection.take() if self._inspection is not None else []
        return self._upstream, connection, self._head, held

    # From the mirror: is it an answer?

    def informational(self, head: ResponseHead) -> None:
        """An interim response; one with the mirror's key in it is left out."""
        self._heard_at = self._wheel.now
        if self._forms is None or not self._forms.are_in(head.text()):
            self._relay.informational(head)

    def response_head(self, head: ResponseHead) -> None:
        """The head of the answer."""
        exchange, forms = self._exchange, self._forms
        if head.status == 101:
            check_switch(exchange.head.websocket_key, head, plain=exchange.request.uses_mirror_key)
            self._agree(head)
        self.status = head.status
        self._heard_at = self._wheel.now
        self._first_byte = exchange.context.clock() - exchange.complete_at
        if forms is not None:
            if forms.are_in(head.text()):
                exchange.withhold(QUOTED)
                return
            self._scan = BodyScan(forms, head.encoding)
        if head.status >= 400 or (exchange.head_sent and head.encoding):
            self._inspection = inspection = Inspection(exchange, head, self._began)
            if inspection.judge_head():
                self._head = head
            return
        self._head = head
        if head.is_event_stream:
            exchange.deadlines.head_came()

    def _agree(self, head: ResponseHead) -> None:
        """Let the client know its subprotocol as it offered it: the mirror may have seen a key of
        its own in there. Raises BadResponse for one that was not offered (RFC 6455 section 4.1)."""
        exchange, chosen = self._exchange, head.look.get(b"sec-websocket-protocol")
        if chosen is not None:
            key = self._upstream.api_key
            offered = offered_as(
                exchange.request.credentials, exchange.head.look, key, chosen.strip(b" \t")
            )
            if offered is None:
                raise BadResponse("it chose a subprotocol that was not offered")
            head.fields += (b"sec-websocket-protocol", b": ", offered, b"\r\n")

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
            answer = self._inspected(self._head, parts, ended)
            if answer is None:
                self._heard_at = self._wheel.now
                return
            parts = answer
            if self.stream or not ended:  # else this was its content and its end
                self._content()
        elif self._wheel.now != self._heard_at:  # to move a deadline once a tick will do
            self._heard_at = now = self._wheel.now
            if self._rest is not None and self._rest.drips(now):
                self.interrupt(Failure.stalled)
                return
            self._upstream.load.note_content(now)
            self._exchange.deadlines.heard()
        self._forward(parts, ended)

    def _withhold(self) -> None:
        """It quotes the key that the mirror was given, or cannot be searched for it."""
        if self.committed:
            self.interrupt(Failure.malformed)
        else:
            self._exchange.withhold(QUOTED)

    def _inspected(self, head: ResponseHead, parts: list[bytes], ended: bool) -> list[bytes] | None:
        """Return the bytes that may be forwarded now; None while that is open, or when it is no
        answer."""
        inspection = self._inspection
        if inspection is None:
            exchange = self._exchange
            whole = ended and len(parts) == 1 and not exchange.head_sent
            if whole and is_plainly_good(head, exchange.endpoint, parts[0]):
                if self._relinks:
                    head, parts = self._relinked(head, parts)
                self._commit(head)
                return parts
            hold = hold_of(exchange, head, parts, relinks=self._relinks)
            if hold is None:
                self._commit(head, whole and len(parts[0]) <= MOST_HELD)
                return parts
            self._inspection = inspection = Inspection(exchange, head, self._began, hold)
        passing = inspection.feed(parts, ended)
        if passing is not None:
            head, whole = inspection.head, inspection.read_whole
            if whole and ended:
                head, passing = self._relinked(head, passing)
            self._commit(head, whole)
        return passing

    def _relinked(self, head: ResponseHead, parts: list[bytes]) -> tuple[ResponseHead, list[bytes]]:
        """Head and body of a whole answer, with links that the client can follow."""
        exchange = self._exchange
        links = exchange.context.image_links(self._upstream) if self._relinks else None
        root = exchange.context.root(exchange.client, exchange.head.look) if links else ""
        if links is None or not root or not head.is_json or head.encoding or head.status != 200:
            return head, parts
        body = links.relinked(b"".join(parts), root)
        length = len(body) if head.length is not None else None
        return replace(head, fields=without(head.fields, OF_ANOTHER_BODY), length=length), [body]

    def set_aside(self) -> None:
        """Give the connection back; the client gets this answer only if there is no other one."""
        self._give_back()

    def pass_on(self) -> None:
        """Give the client the answer that was set aside."""
        head, inspection = self._head, self._inspection
        assert head is not None
        assert inspection is not None
        if self._exchange.head_sent:
            inspection.end_stream()
            return
        self._commit(head)
        self._forward(inspection.take(), ended=True)

    # It is: relay it

    def _commit(self, head: ResponseHead, read_whole: bool = True) -> None:
        """From here on the client has this answer, and no other. `read_whole`: the end of its body
        need not be looked at, since all of it was."""
        exchange, context, mirror = self._exchange, self._exchange.context, self._upstream
        self._head = self._inspection = None
        self.committed = True
        if exchange.metered is not None:
            self._meter = exchange.metered.answer(head)
            head = self._meter.head if self._meter is not None else head
        self.stream = head.is_event_stream
        if self.stream and not head.encoding:
            self._boundary = Boundary()
            if head.until_close and exchange.dialect is not Dialect.other:
                self._ending = Ending(exchange.dialect)
        elif not read_whole and head.status < 300:
            shape = shape_of(exchange.head, exchange.endpoint, exchange.dialect, head)
            self._rest = rest_of(shape, head, self._wheel.now)
        added = added_fields(
            context,
            exchange.head,
            exchange.id,
            mirror.encoded_id,
            len(self._attempts.failed),
            self._opened_in,
            self._first_byte,
            exchange.queued,
        )
        if exchange.request.mirror:
            links, target = context.image_links(mirror), exchange.request.target
            if links is not None:
                root = context.root(exchange.client, exchange.head.look)
                head = replace(head, fields=links.shielded(head, root, target))
            added += SHIELD
        self._relay.head(head, added, exchange.may_keep_alive())
        ours = -1.0
        if not self._opened_in and not exchange.queued and not self._attempts.failed:
            ours = exchange.deadlines.sent_at - exchange.complete_at
        context.stats.answered(
            mirror.id, exchange.endpoint, self._first_byte, self._opened_in, ours
        )

    def _content(self) -> None:
        """The first of the response goes to the client, and more may follow."""
        exchange = self._exchange
        policy, context = exchange.policy, exchange.context
        if policy is not None and self.status < 400:
            now = context.clock()
            self._attempts.content(now)
            if policy.stream:
                waited = now - exchange.complete_at
                context.stats.first_token(self.mirror, policy.model, waited)
        exchange.deadlines.heard()

    def _forward(self, parts: list[bytes], ended: bool) -> None:
        if self._meter is not None:
            parts = self._meter.feed(parts, ended)
            if self._meter.broken:
                self.interrupt(Failure.malformed)
                return
        body = parts[0] if len(parts) == 1 else b"".join(parts)
        if self._boundary is not None:
            self._boundary.feed(body)
            if self._ending is not None:
                self._ending.feed(body)
        elif self._rest is not None:
            self._rest.feed(body)
        if ended and self._breaks_off():
            self._relay.data(body if self._relay.takes_more else b"", ended=False)
            self.interrupt(Failure.cut)
            return
        self._relay.data(body, ended)
        if ended:
            self._give_back()
            self._exchange.answered(outcome_of(self.status), self._relay.keep_alive)

    def _breaks_off(self) -> bool:
        """True if it ended as if it were whole, and is not."""
        if self._rest is not None:
            return not self._rest.is_whole()
        if self._boundary is None:
            return False
        if self._ending is not None and self._ending.known:
            return not self._ending.complete
        if self._exchange.dialect is Dialect.other:
            return False
        return breaks_off(self._exchange.dialect, self._boundary)

    def _give_back(self) -> None:
        connection = self._connection
        if connection is not None and self._exchange.body.complete:
            self._connection = None
            self._upstream.give_back(connection, self._exchange.context.wheel.now)

    def switched(self, rest: bytes) -> None:
        """The mirror speaks WebSocket from here on."""
        assert self._connection is not None
        assert self._head is not None
        self._commit(self._head)
        exchange = self._exchange
        self._content()
        connection, self._connection = self._connection, None
        mirror = connection.transport
        exchange.deadlines.stop()
        exchange.client.resume_client()
        self._relay.data(b"", ended=False)
        context = exchange.context
        context.write_batch.flush()
        client, early = exchange.client.transport, b"".join(exchange.early_tunnel)
        exchange.early_tunnel.clear()
        self._tunnel = tunnel = Tunnel(
            context, client, mirror, self._tunnel_ended, connection.ended
        )
        if exchange.dialogue is not None:
            share = Share(context.memory, exchange.request.client.key)
            most = context.router.replay_body
            session = Session(
                exchange.dialogue, share, self._forms, most, tunnel.close_with, tunnel.tell_client
            )
            tunnel.judged_by(session, self._read_on)
        elif self._forms is not None:
            tunnel.filter(None, KeyFilter(self._forms, tunnel.cut))
        tunnel.begin(early, rest, exchange.deadlines.client_stalls)

    def _read_on(
        self, mirror: asyncio.Transport, session: Session, lost: Callable[[], None]
    ) -> bool:
        """The client of a tunnel has left answers that are awaited."""
        abandoned = self._exchange.context.abandoned
        if abandoned.closed:
            return False
        attempt = self._attempts.hand_over()
        abandoned.take_tunnel(self._upstream, mirror, session, attempt, lost)
        return True

    def _tunnel_ended(self, outcome: str) -> None:
        self._exchange.answered(outcome, keep_alive=False)

    def response_failed(self, why: str, silent: bool) -> None:
        """The answer broke off or cannot be relayed."""
        connection, self._connection = self._connection, None
        if self.committed and self._exchange.deadlines.client_has_stalled:
            self.cut()
            self._exchange.answered("client_abort", keep_alive=False)
            return
        if self.committed:
            self.interrupt(Failure.cut)
            return
        kept = connection is not None and connection.may_be_stale
        stale = silent and kept and self._is_young
        kind = Failure.stale if stale else Failure.broken if silent else Failure.malformed
        if kind is Failure.broken and connection is not None:
            self._exchange.context.traffic.broke_off(connection.endpoint)
        self._exchange.unanswered(kind, why)

    @property
    def _is_young(self) -> bool:
        return self._wheel.now - self._began < STALE_WITHIN

    def upstream_full(self) -> None:
        """The mirror takes no more of the body for now."""
        exchange = self._exchange
        if not exchange.body.complete:
            exchange.deadlines.wait(exchange.context.timeouts.idle)
            exchange.client.pause_client()

    def upstream_drained(self) -> None:
        """The mirror takes more."""
        exchange = self._exchange
        if not exchange.body.complete:
            exchange.deadlines.wait(exchange.context.timeouts.total)
        exchange.client.resume_client()
