"""A mirror's answer on its way to the client: the user of one connection to a mirror.

It belongs to an exchange, tells it how the answer ended, and gives the connection back: to the pool
when both sides have done what HTTP asks for, else by closing it.
"""

from __future__ import annotations

import asyncio
from typing import Protocol

from router.body import RequestBody
from router.choice.failure import Failure
from router.plane import Plane
from router.relay import Relay
from router.respond import added_fields
from router.tunnel import Tunnel
from router.upstreams import Upstream
from router.wire.request import RequestHead
from router.wire.response import BadResponse, ResponseHead
from router.wire.upstream import UpstreamConnection
from router.wire.websocket import check_switch

STALE_WITHIN = 2.0
"""Seconds in which a kept connection that the mirror had closed tells so: a round trip, with a
retransmission. One that ends later was alive, and the request may have been acted upon."""


_KEY_REFUSED = (401, 402, 403)
"""What such an answer says of a mirror's own key is for the operator: it may quote the key."""


class ClientSide(Protocol):
    """The client's connection."""

    client: str
    transport: asyncio.Transport

    def pause_client(self) -> None:
        """Read no more for now."""

    def resume_client(self) -> None:
        """Read again."""

    def exchange_done(self, keep_alive: bool) -> None:
        """The answer is written; the connection may carry the next request or not."""


class Asker(Protocol):
    """The exchange whose request is answered."""

    id: str
    plane: Plane
    client: ClientSide
    head: RequestHead
    body: RequestBody
    endpoint: str
    complete_at: float
    """When the request was complete, on the plane's clock."""
    early_tunnel: list[bytes]
    """What the client sent behind a WebSocket request."""

    @property
    def failed_attempts(self) -> int:
        """How many attempts failed before this one."""

    @property
    def with_mirror_key(self) -> bool:
        """Whether the mirror got its own key instead of the caller's."""

    @property
    def may_keep_alive(self) -> bool:
        """Whether the client's connection could carry another request."""

    def wait(self, seconds: float) -> None:
        """Something happened; the next thing must happen within this time."""

    def wait_no_more(self) -> None:
        """From here on the client and the mirror alone know how long it takes."""

    def answered(self, outcome: str, keep_alive: bool) -> None:
        """The answer has ended, well or not; the client has it."""

    def unanswered(self, failure: Failure, detail: str) -> None:
        """There is no answer, and the client has nothing of one."""


class Reply:
    """One request on one connection, and what comes back."""

    __slots__ = (
        "_asker",
        "_began",
        "_connection",
        "_heard_at",
        "_opened_in",
        "_relay",
        "_tunnel",
        "_upstream",
        "_wheel",
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
        self._asker = asker
        self._upstream = upstream
        self._connection: UpstreamConnection | None = connection
        self._opened_in = opened_in
        self._wheel = asker.plane.wheel
        self._heard_at = 0.0
        self._began = self._wheel.now
        self._relay = Relay(asker.plane.outbox, asker.client.transport, asker.head)
        self._tunnel: Tunnel | None = None
        connection.take(self, to_head=asker.head.method == b"HEAD")

    @property
    def started(self) -> bool:
        """Whether the client has something of the answer."""
        return self._relay.started

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
        if self._connection is not None and not self._connection.closed:
            self._connection.transport.pause_reading()

    def resume(self) -> None:
        """The client takes bytes again."""
        if self._connection is not None and not self._connection.closed:
            self._connection.transport.resume_reading()

    def interrupt(self, reason: str) -> None:
        """The answer cannot be completed: the client must see that."""
        plane = self._asker.plane
        plane.tally.interrupted(self.mirror, reason)
        plane.traffic.stalled(self.mirror, self.body_bytes)
        self.cut()
        self._asker.answered("interrupted", keep_alive=False)

    def cut(self) -> None:
        """End the answer visibly incomplete, and a tunnel."""
        if self._tunnel is not None:
            self._tunnel.close()
        else:
            self._relay.cut()

    def leave(self) -> None:
        """Close the connection to the mirror unless it has been given back."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.leave()

    # From the mirror

    def informational(self, head: ResponseHead) -> None:
        """An interim response."""
        self._relay.informational(head)

    def response_head(self, head: ResponseHead) -> None:
        """The head of the answer."""
        asker, plane, mirror = self._asker, self._asker.plane, self._upstream.id
        if head.status in _KEY_REFUSED and asker.with_mirror_key:
            raise BadResponse("it refuses the key that it is given here")
        if head.status == 101:
            check_switch(asker.head.websocket_key, head)
        first_byte = plane.clock() - asker.complete_at
        self.status = head.status
        self.stream = head.look.get(b"content-type", b"").startswith(b"text/event-stream")
        added = added_fields(
            plane,
            asker.head,
            asker.id,
            self._upstream.encoded_id,
            asker.failed_attempts,
            self._opened_in,
            first_byte,
        )
        self._relay.head(head, added, asker.may_keep_alive)
        plane.tally.answered(mirror, asker.endpoint, first_byte, self._opened_in)

    def response_data(self, parts: list[bytes], ended: bool) -> None:
        """What one read brought of the answer."""
        if self._wheel.now != self._heard_at:  # to move a deadline once a tick will do
            self._heard_at = self._wheel.now
            self._asker.wait(self._asker.plane.timeouts.idle)
        self._relay.data(parts, ended)
        if ended:
            self._give_back()
            self._asker.answered(outcome_of(self.status), self._relay.keep_alive)

    def _give_back(self) -> None:
        connection = self._connection
        if connection is not None and self._asker.body.complete:
            self._connection = None
            self._upstream.give_back(connection, self._asker.plane.wheel.now)

    def switched(self, rest: bytes) -> None:
        """The mirror speaks WebSocket from here on."""
        assert self._connection is not None
        asker = self._asker
        mirror, self._connection = self._connection.transport, None
        asker.wait_no_more()
        asker.client.resume_client()
        self._tunnel = Tunnel(asker.plane, asker.client.transport, mirror, self._tunnel_ended)
        self._relay.data([rest] if rest else [], ended=False)
        asker.plane.outbox.flush()
        mirror.writelines(asker.early_tunnel)

    def _tunnel_ended(self) -> None:
        self._asker.answered("success", keep_alive=False)

    def response_failed(self, why: str, silent: bool) -> None:
        """The answer broke off or cannot be relayed."""
        connection, self._connection = self._connection, None
        if self.started:
            self.interrupt("upstream")
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
            asker.wait(asker.plane.timeouts.idle)
            asker.client.pause_client()

    def upstream_drained(self) -> None:
        """The mirror takes more."""
        asker = self._asker
        if not asker.body.complete:
            asker.wait(asker.plane.timeouts.total)
        asker.client.resume_client()


def outcome_of(status: int) -> str:
    """How an answer with this status counts."""
    if status < 400:
        return "success"
    return "client_error" if status < 500 else "upstream_error"
