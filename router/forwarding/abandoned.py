"""Answers whose client has left, read on so that an issued key is charged by the mirror's usage.

The usage comes last: a client that left just before it would pay for the visible text alone, and
not at all for hidden reasoning. So where a mirror's key is lent to an issued key, connection,
attempt and meter pass from the exchange to an `AbandonedAnswer`, or those of a WebSocket to an
`AbandonedTunnel`, which ends exactly once: with the answer, or at one of the bounds below, and then
gives all of that back and charges. The client's own resources are given back with the exchange.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable
from typing import cast

from router.balancing.pool import Attempt
from router.forwarding.websocket_session import Session
from router.metering.metered_request import MeteredRequest
from router.upstream.connection import UpstreamConnection
from router.upstream.upstream import Upstream
from router.wire.response import ResponseHead
from router.wire.timer_wheel import TimerWheel
from router.wire.websocket import GOING_AWAY, close_frame

Detached = tuple[Upstream, UpstreamConnection, ResponseHead | None, list[bytes]]
"""A connection with what is held of its response: a head, and a beginning of the body."""
_READ_BUFFER = 16 << 10
READ_FOR = 10.0
"""Seconds: between the last content and the usage lies a round trip, and an answer of a thousand
tokens at a hundred a second ends as well. A longer one would cost the mirror more than it tells."""
MOST_BYTES = 1 << 20
"""Bytes of one answer that are read on: 4,000 events of one token each."""
MOST = 256
"""Readings of a worker: each holds a connection to a mirror."""
MOST_PER_KEY = 16
"""Readings of one key on a worker; a client that leaves a thousand streams holds no more."""


class AbandonedAnswer:
    """The user of a connection to a mirror after its client has left."""

    __slots__ = (
        "_answers",
        "_attempt",
        "_connection",
        "_metered",
        "_received",
        "_room",
        "deadline",
        "key",
        "upstream",
    )

    def __init__(
        self,
        answers: AbandonedAnswers,
        upstream: Upstream,
        connection: UpstreamConnection,
        attempt: Attempt[Upstream],
        metered: MeteredRequest,
        received: int,
    ) -> None:
        """`received`: bytes of the request's body."""
        self.key = metered.key.id
        self.upstream = upstream
        self.deadline = answers.wheel.now + READ_FOR
        self._answers = answers
        self._connection: UpstreamConnection | None = connection
        self._attempt = attempt
        self._metered = metered
        self._received = received
        self._room = MOST_BYTES

    def __repr__(self) -> str:
        return f"<AbandonedAnswer of {self.upstream.id} for {self.key}>"

    # From the connection

    def informational(self, head: ResponseHead) -> None:
        """An interim response."""

    def response_head(self, head: ResponseHead) -> None:
        """The head of the answer, if it had not come before."""
        if head.status < 200 or head.status >= 400:
            self.end("upstream_error")
        else:
            self._metered.answer(head)

    def response_data(self, parts: list[bytes], ended: bool) -> None:
        """More of the answer, read for its usage only."""
        meter = self._metered.meter
        self._room -= sum(map(len, parts))
        if meter is not None:
            meter.feed(parts, ended)
        if ended:
            self._end_whole()
        elif self._room < 0 or (meter is not None and meter.broken):
            self.end()

    def switched(self, rest: bytes) -> None:
        """Never asked for: a WebSocket is read on as an `AbandonedTunnel`."""
        self.end()

    def response_failed(self, why: str, silent: bool) -> None:
        """The answer broke off: the client, who left before, has seen nothing of that."""
        self.end()

    def upstream_full(self) -> None:
        """The whole request has been written."""

    def upstream_drained(self) -> None:
        """The whole request has been written."""

    # From the wheel, and the ends

    def expired(self) -> None:
        """The time is over."""
        self.end()

    def abort(self) -> None:
        """End it after a fault."""
        self.end()

    def end(self, outcome: str = "client_abort") -> None:
        """Close the connection and charge what is known; later calls do nothing."""
        connection, self._connection = self._connection, None
        if connection is None:
            return
        try:
            connection.leave()
            self._attempt.passed_on()
        finally:
            self._answers.settle(self, self._metered, outcome, self._received)

    def _end_whole(self) -> None:
        connection, self._connection = self._connection, None
        if connection is None:
            return
        try:
            self.upstream.give_back(connection, self._answers.wheel.now)
            self._attempt.succeeded(self._answers.clock())
        finally:
            self._answers.settle(self, self._metered, "success", self._received)


class AbandonedTunnel(asyncio.BufferedProtocol):
    """The mirror's side of a WebSocket whose client has left answers that were awaited."""

    def __init__(
        self,
        answers: AbandonedAnswers,
        upstream: Upstream,
        transport: asyncio.Transport,
        session: Session,
        attempt: Attempt[Upstream],
        lost: Callable[[], None],
    ) -> None:
        """`lost` is called when the connection is gone."""
        self.key = session.key
        self.upstream = upstream
        self.deadline = answers.wheel.now + READ_FOR
        self._answers = answers
        self._transport = transport
        self._session: Session | None = session
        self._attempt = attempt
        self._lost = lost
        self._room = MOST_BYTES
        self._buffer = bytearray(_READ_BUFFER)

    def __repr__(self) -> str:
        return f"<AbandonedTunnel to {self.upstream.id} for {self.key}>"

    # From the transport

    def get_buffer(self, sizehint: int) -> bytearray:
        return self._buffer

    def buffer_updated(self, nbytes: int) -> None:
        session = self._session
        if session is None:
            return
        self._room -= nbytes
        try:
            pongs, more = session.read_on(bytes(self._buffer[:nbytes]))
            if pongs:
                self._transport.write(pongs)
        except BaseException:
            self.end()
            raise
        if not more or self._room < 0:
            self.end()

    def connection_lost(self, exc: Exception | None) -> None:
        try:
            self.end()
        finally:
            self._lost()

    # From the wheel, and the ends

    def expired(self) -> None:
        """The time is over."""
        self.end()

    def abort(self) -> None:
        """End it after a fault."""
        self.end()

    def end(self) -> None:
        """Close the connection and charge what is known; later calls do nothing."""
        session, self._session = self._session, None
        if session is None:
            return
        try:
            self._close()
        finally:
            self._answers.forget(self)
            if session.settle_abandoned():
                self._attempt.succeeded(self._answers.clock())
            else:
                self._attempt.passed_on()

    def _close(self) -> None:
        transport = self._transport
        if not (transport.is_closing() or transport.get_write_buffer_size()):
            transport.write(close_frame(GOING_AWAY, "", secrets.token_bytes(4)))
            if not transport.get_write_buffer_size():
                transport.close()
                return
        transport.abort()  # it takes nothing


class AbandonedAnswers:
    """The abandoned answers of one worker, the oldest first."""

    def __init__(
        self, wheel: TimerWheel, clock: Callable[[], float], wall: Callable[[], float]
    ) -> None:
        self.wheel = wheel
        self.clock = clock
        self._wall = wall
        self._by_key: dict[str, dict[AbandonedAnswer | AbandonedTunnel, None]] = {}
        self._all: dict[AbandonedAnswer | AbandonedTunnel, None] = {}
        self._none = asyncio.Event()
        self._none.set()
        self.closed = False
        """True if none is taken any more."""

    def __repr__(self) -> str:
        return f"<AbandonedAnswers {len(self._all)}>"

    def __len__(self) -> int:
        return len(self._all)

    def takes(self, metered: MeteredRequest) -> bool:
        """True if a response is read on for this: there is something to learn from its end."""
        return not self.closed and metered.reads_on

    def take(
        self,
        detached: Detached,
        attempt: Attempt[Upstream],
        metered: MeteredRequest,
        received: int,
    ) -> None:
        """Read a response on, and charge for it. `received`: bytes of the request's body."""
        upstream, connection, head, parts = detached
        answer = AbandonedAnswer(self, upstream, connection, attempt, metered, received)
        self._enter(answer)
        connection.hand_over(answer)
        if head is not None:
            answer.response_head(head)
            if parts and answer in self._all:
                answer.response_data(parts, ended=False)

    def take_tunnel(
        self,
        upstream: Upstream,
        transport: asyncio.Transport,
        session: Session,
        attempt: Attempt[Upstream],
        lost: Callable[[], None],
    ) -> None:
        """Read on what the mirror's side of a WebSocket still says of the answers awaited."""
        session.hand_over()
        tunnel = AbandonedTunnel(self, upstream, transport, session, attempt, lost)
        self._enter(tunnel)
        transport.set_protocol(cast(asyncio.BaseProtocol, tunnel))
        transport.resume_reading()

    def _enter(self, answer: AbandonedAnswer | AbandonedTunnel) -> None:
        self._make_room(answer.key)
        self._all[answer] = None
        self._by_key.setdefault(answer.key, {})[answer] = None
        self._none.clear()
        self.wheel.add(answer)

    def make_way(self, upstream: Upstream) -> bool:
        """End the oldest reading from a mirror that is full; whether there was one."""
        oldest = next((answer for answer in self._all if answer.upstream is upstream), None)
        if oldest is not None:
            oldest.end()
        return oldest is not None

    def settle(
        self, answer: AbandonedAnswer, metered: MeteredRequest, outcome: str, received: int
    ) -> None:
        """An answer has ended: forget it, and charge for it."""
        self.forget(answer)
        metered.settle(outcome, self._wall(), sent=True, received=received)

    def forget(self, answer: AbandonedAnswer | AbandonedTunnel) -> None:
        """It has ended."""
        self.wheel.remove(answer)
        del self._all[answer]
        of_key = self._by_key[answer.key]
        del of_key[answer]
        if not of_key:
            del self._by_key[answer.key]
        if not self._all:
            self._none.set()

    async def settled(self) -> None:
        """Wait until none is left, which the bounds of each bound."""
        await self._none.wait()

    def close(self) -> None:
        """End all, and take no more: the worker stops."""
        self.closed = True
        for answer in list(self._all):
            answer.end()

    def _make_room(self, key: str) -> None:
        of_key = self._by_key.get(key, {})
        if len(of_key) >= MOST_PER_KEY:
            next(iter(of_key)).end()
        elif len(self._all) >= MOST:
            next(iter(self._all)).end()
