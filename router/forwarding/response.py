"""A mirror's answer on its way to the client: the user of one connection to a mirror.

    head ─► judged by head and beginning ─► commit ─► relayed ─► ended, or cut so that it shows
                    │ no answer
                    └─► the exchange: another mirror, or an error

It belongs to an exchange, tells it how the answer ended, and gives the connection back: to the pool
when both sides have done what HTTP asks for, else by closing it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from router.admission.capacity import Share
from router.balancing.failure import Failure
from router.forwarding.judged import Judged
from router.forwarding.local_response import added_fields
from router.forwarding.stream_hold import Ending
from router.forwarding.tunnel import Tunnel
from router.forwarding.websocket_session import KeyFilter, Session
from router.upstream.connection import UpstreamConnection
from router.upstream.dialect import Dialect, interruption
from router.upstream.upstream import Upstream
from router.wire.response import ResponseHead
from router.wire.sse import Boundary

STALE_WITHIN = 2.0
"""Seconds in which a kept connection that the mirror had closed tells so: a round trip, with a
retransmission. One that ends later was alive, and the request may have been acted upon."""
_BROKE_OFF = "The mirror's answer broke off. What came before this is not all of it."
_HAD_ENOUGH = "The time that x-mirrorgate-timeout allows is over. This is not the whole answer."


class Response(Judged):
    """One request on one connection, and what comes back; `UpstreamConnection.take` begins it."""

    __slots__ = ()

    @property
    def has_head(self) -> bool:
        """True if the mirror has begun to answer."""
        return self.status > 0

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

        None: its own limit is over, so it counts as one who leaves.
        """
        asker = self._asker
        if failure is not None:
            asker.cut(failure)
        if self.between_events and self._relay.takes_more:
            message = _BROKE_OFF if failure is not None else _HAD_ENOUGH
            self._relay.words(interruption(asker.dialect, message))
        self.cut()
        asker.answered("interrupted" if failure is not None else "client_abort", keep_alive=False)

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

    def begun(self) -> None:
        """The client has been given a head meanwhile."""
        self._relay.begun()

    def abort(self) -> None:
        """End after a fault of ours."""
        self._connection = None
        self._asker.abort()

    def remind(self, words: bytes) -> None:
        """Say something that is no content, between two events."""
        self._relay.words(words)

    def leave(self) -> None:
        """Close the connection to the mirror unless it has been given back."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.leave()

    def detach(
        self,
    ) -> tuple[Upstream, UpstreamConnection, ResponseHead | None, list[bytes]] | None:
        """Give the connection away with what is held of the answer: a head, and a beginning.

        None: the answer has ended, or a tunnel has begun.
        """
        connection, self._connection = self._connection, None
        if connection is None:
            return None
        held = self._hold.take() if self._hold is not None else []
        return self._upstream, connection, self._head, held

    # It is: relay it

    def _commit(self, head: ResponseHead) -> None:
        """From here on the client has this answer, and no other."""
        asker, context, mirror = self._asker, self._asker.context, self._upstream
        self._head = self._hold = None
        self.committed = True
        if asker.metered is not None:
            self._meter = asker.metered.answer(head)
            head = self._meter.head if self._meter is not None else head
        self.stream = head.is_event_stream
        if self.stream and not head.encoding:
            self._boundary = Boundary()
            if head.until_close and asker.dialect is not Dialect.other:
                self._ending = Ending(asker.dialect)
        added = added_fields(
            context,
            asker.head,
            asker.id,
            mirror.encoded_id,
            asker.failed_attempts,
            self._opened_in,
            self._first_byte,
        )
        self._relay.head(head, added, asker.may_keep_alive)
        context.stats.answered(mirror.id, asker.endpoint, self._first_byte, self._opened_in)

    def _forward(self, parts: list[bytes], ended: bool) -> None:
        if self._meter is not None:
            parts = self._meter.feed(parts, ended)
            if self._meter.broken:
                self.interrupt(Failure.malformed)
                return
        if self._boundary is not None:
            for part in parts:
                self._boundary.feed(part)
            if self._ending is not None and self._breaks_off(self._ending, parts, ended):
                self._relay.data(parts, ended=False)
                self.interrupt(Failure.cut)
                return
        self._relay.data(parts, ended)
        if ended:
            self._give_back()
            self._asker.answered(outcome_of(self.status), self._relay.keep_alive)

    @staticmethod
    def _breaks_off(ending: Ending, parts: list[bytes], ended: bool) -> bool:
        for part in parts:
            ending.feed(part)
        return ended and not ending.complete

    def _give_back(self) -> None:
        connection = self._connection
        if connection is not None and self._asker.body.complete:
            self._connection = None
            self._upstream.give_back(connection, self._asker.context.wheel.now)

    def switched(self, rest: bytes) -> None:
        """The mirror speaks WebSocket from here on."""
        assert self._connection is not None
        assert self._head is not None
        self._commit(self._head)
        asker = self._asker
        asker.content()
        connection, self._connection = self._connection, None
        mirror = connection.transport
        asker.wait_no_more()
        asker.client.resume_client()
        self._relay.data([], ended=False)
        context = asker.context
        context.write_batch.flush()
        client, early = asker.client.transport, b"".join(asker.early_tunnel)
        asker.early_tunnel.clear()
        self._tunnel = tunnel = Tunnel(
            context, client, mirror, self._tunnel_ended, connection.ended
        )
        if asker.dialogue is not None:
            share = Share(context.memory, asker.asker.key)
            most = context.router.replay_body
            session = Session(
                asker.dialogue, share, self._forms, most, tunnel.close_with, tunnel.tell_client
            )
            tunnel.judged_by(session, self._read_on)
        elif self._forms is not None:
            tunnel.filter(None, KeyFilter(self._forms, tunnel.cut))
        tunnel.begin(early, rest, asker.client_stalls)

    def _read_on(
        self, mirror: asyncio.Transport, session: Session, lost: Callable[[], None]
    ) -> bool:
        """The client of a tunnel has left answers that are awaited."""
        abandoned = self._asker.context.abandoned
        if abandoned.closed:
            return False
        attempt = self._asker.hand_over_attempt()
        abandoned.take_tunnel(self._upstream, mirror, session, attempt, lost)
        return True

    def _tunnel_ended(self, outcome: str) -> None:
        self._asker.answered(outcome, keep_alive=False)

    def response_failed(self, why: str, silent: bool) -> None:
        """The answer broke off or cannot be relayed."""
        connection, self._connection = self._connection, None
        if self.committed and self._asker.client_has_stalled:
            self.cut()
            self._asker.answered("client_abort", keep_alive=False)
            return
        if self.committed:
            self.interrupt(Failure.cut)
            return
        stale = silent and connection is not None and connection.used > 1 and self._is_young
        kind = Failure.stale if stale else Failure.broken if silent else Failure.malformed
        self._asker.unanswered(kind, why)

    @property
    def _is_young(self) -> bool:
        return self._wheel.now - self._began < STALE_WITHIN

    def upstream_full(self) -> None:
        """The mirror takes no more of the body for now."""
        asker = self._asker
        if not asker.body.complete:
            asker.wait(asker.context.timeouts.idle)
            asker.client.pause_client()

    def upstream_drained(self) -> None:
        """The mirror takes more."""
        asker = self._asker
        if not asker.body.complete:
            asker.wait(asker.context.timeouts.total)
        asker.client.resume_client()


def outcome_of(status: int) -> str:
    """Return the outcome by which a response with this status is counted."""
    if status < 400:
        return "success"
    return "client_error" if status < 500 else "upstream_error"
