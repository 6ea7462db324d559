"""One client connection: its requests, the handler of each, and its deadline.

A forwarded path becomes an `Exchange`; any other path hands the whole connection to aiohttp, for
life (`LocalHandler`), which is only possible while no exchange is under way on it. A few pipelined
requests wait in order; the client is not read meanwhile.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Final, NoReturn, cast

from router.admission.capacity import WRITE_BUFFER
from router.admission.credentials import Caller
from router.forwarding.config import LEGACY_BALANCE, LEGACY_CHAT
from router.forwarding.context import WorkerContext
from router.forwarding.exchange import Exchange
from router.forwarding.local_handler import LocalHandler
from router.forwarding.local_response import ban_problem, refusal_answer
from router.forwarding.request_context import RequestContext
from router.forwarding.tunnel import TunnelEnd
from router.wire.closing import close, end_writing, reset
from router.wire.error_response import Problem
from router.wire.faults import contained, report_fault
from router.wire.request import (
    BETWEEN,
    HEAD,
    Leave,
    Phase,
    Refusal,
    RequestHead,
    RequestReader,
    malformed,
)
from router.wire.target import forward_target
from router.wire.timer_wheel import NEVER

_ANONYMOUS: Final = Caller.anonymous
_ISSUED: Final = Caller.issued
_BILLING = b"/v1/dashboard/billing/"
_LEGACY = (LEGACY_CHAT.encode(), LEGACY_BALANCE.encode())
"""Pages that tell a banned client so in their own shape."""
BODY_FLOOR = 1024
"""Bytes a second that a body must bring on average, or it is as good as stalled."""
MAX_PIPELINED = 16
DRAIN_GRACE = 0.5
"""Seconds for what a client may be sending when the worker stops."""
LINGER = 2.0
"""Seconds during which what a client still sends is thrown away, so that it reads our last answer
before its kernel learns that nobody listens (RFC 9112 section 9.6)."""


def _nobody() -> None:
    """Replaces the owner's callbacks once it is gone, to break the reference cycle."""


def _is_our_bill(head: RequestHead, request: RequestContext) -> bool:
    """True if a key issued here asks for its own use: the ledger knows, no mirror does."""
    reads = head.method in (b"GET", b"HEAD") and request.target.startswith(_BILLING)
    return reads and request.caller is _ISSUED and request.problem is None


class ClientTimeouts:
    """The deadline of one client connection, on the worker's wheel until `settled`."""

    __slots__ = ("_body_seen", "_context", "_watched", "abort", "deadline", "expired")

    def __init__(
        self, context: WorkerContext, expired: Callable[[], None], abort: Callable[[], None]
    ) -> None:
        self.deadline = NEVER
        self.expired = expired
        self.abort = abort
        self._context = context
        self._watched: Phase | None = None
        self._body_seen = 0
        context.wheel.add(self)

    def wait(self, seconds: float) -> None:
        """Set the time within which something must happen."""
        self.deadline = self._context.wheel.now + seconds

    def shorten(self, seconds: float) -> None:
        """Shorten the time that is left to `seconds`."""
        self.deadline = min(self.deadline, self._context.wheel.now + seconds)

    def expect_nothing(self) -> None:
        """Expect nothing of the client; what it begins anew is timed from its beginning."""
        self._watched, self.deadline = None, NEVER

    def watch(self, phase: Phase, busy: bool) -> None:
        """Set the deadline for what the reader is at. A head and a body have one from their
        beginning on, which dripping bytes do not move. `busy`: the client waits for a response.
        """
        timeouts = self._context.timeouts
        before, self._watched = self._watched, phase
        if phase is BETWEEN:
            self.deadline = NEVER if busy else self._context.wheel.now + timeouts.keep_alive
        elif phase is not before:
            self._body_seen = 0
            self.wait(timeouts.header if phase is HEAD else timeouts.body_stall)

    def count_body(self, size: int) -> None:
        """Count bytes of the body."""
        self._body_seen += size

    def extend_for_body(self) -> bool:
        """Wait as long again if enough of the body came until its deadline; True if so."""
        stall = self._context.timeouts.body_stall
        moves = self._body_seen >= BODY_FLOOR * stall
        if moves:
            self._body_seen = 0
            self.wait(stall)
        return moves

    def settled(self) -> None:
        """Leave the wheel: the connection is gone, or has another owner."""
        self._context.wheel.remove(self)
        self.expired = self.abort = _nobody


class ClientConnection(asyncio.BufferedProtocol):
    """The protocol of a client's connection."""

    transport: asyncio.Transport

    def __init__(self, context: WorkerContext, source: str = "") -> None:
        """`source`: the client's address as a PROXY header tells it."""
        self.client = source
        self.key = b""
        self._context = context
        self._deadline = ClientTimeouts(context, self._expired, self._abort)
        self._buffer = context.buffer
        self._reader = RequestReader(self, context.request_rules)
        self._request: RequestContext | None = None
        self._current: Exchange | None = None
        self._incoming: Exchange | None = None
        self._waiting: deque[Exchange] = deque()
        self._hand_over: bytes | None = None
        self._ignores_input = False
        """True once the connection is to end: what still comes is read and dropped."""
        self._paused = False
        self._full = False
        self._lost = False

    def __repr__(self) -> str:
        return f"<ClientConnection {self.client} {self._current}, {len(self._waiting)} waiting>"

    # What the event loop calls

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        self.transport.set_write_buffer_limits(WRITE_BUFFER)
        peer = transport.get_extra_info("peername")
        context = self._context
        self.client = context.clients.behind(peer[0] if peer else "local", self.client)
        self.key = context.clients.peer(self.client).client.key
        context.connections.join(self)
        self._deadline.wait(DRAIN_GRACE if context.draining else context.timeouts.header)

    def get_buffer(self, sizehint: int) -> memoryview:
        return self._buffer

    def buffer_updated(self, nbytes: int) -> None:
        if self._ignores_input:
            return
        try:
            try:
                self._reader.feed(self._buffer[:nbytes])
            except Refusal as refusal:
                if not self._ignores_input:  # else our last answer is given
                    self._refuse(refusal)
            if self._hand_over is not None:
                self._hand_over_to_aiohttp(self._hand_over)
            elif not self._ignores_input:
                self._update_deadline()
        except Exception as error:
            report_fault("a request", error)
            self._abort()

    def eof_received(self) -> bool:
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        self._lost = True
        self._ignores_input = True
        exchanges = [self._current, *self._waiting]
        self._current = self._incoming = None
        self._waiting.clear()
        contained("the end of a connection", self._forget)
        for exchange in exchanges:
            if exchange is not None:
                contained("the end of a request", exchange.client_left)

    def pause_writing(self) -> None:
        self._full = True
        if self._current is not None:
            self._current.client_full()

    def resume_writing(self) -> None:
        self._full = False
        if self._current is not None:
            self._current.client_drained()
        else:  # not at once: asyncio ends a connection twice that is closed in here
            asyncio.get_running_loop().call_soon(self._continue)

    # What the reader finds

    def request_head(self, head: RequestHead) -> None:
        """A request begins."""
        self._incoming = exchange = self._exchange_of(head)
        if self._current is None and not self._full:
            self._current = exchange
            exchange.begin()
        else:
            self._queue(exchange)

    def request_whole(self, head: RequestHead, body: bytes) -> None:
        """All of a request at once."""
        exchange = self._exchange_of(head)
        exchange.body.keep_whole(body)
        if self._current is None and not self._full:
            self._current = exchange
            exchange.begin()
        else:
            self._queue(exchange)

    def _exchange_of(self, head: RequestHead) -> Exchange:
        if self._ignores_input:
            raise Leave  # the connection ends with the request before it
        context, request = self._context, self._request
        if request is None or not head.repeated or request.config is not context.config:
            self._request = request = self._context_of(head)
        return Exchange(context, self, head, request)

    def _context_of(self, head: RequestHead) -> RequestContext:
        context = self._context
        linked = context.linked(head)
        mirror, target = linked or ("", None)
        if target is None:
            target = forward_target(head.target, context.prefixes, context.router.forgiving_paths)
        if target is None:
            self._ask_for_aiohttp(head)
        client = context.recognise(self.client, head.look)
        request = RequestContext(context.config, head, target, client, mirror)
        if request.caller is _ANONYMOUS and request.problem is None:
            proxied = context.clients.peer(self.client).trusted
            request.problem = context.anonymous.refusal(head.look, proxied)
        if request.endpoint == "dashboard" and _is_our_bill(head, request):
            self._ask_for_aiohttp(head)
        return request

    def _queue(self, exchange: Exchange) -> None:
        """Keep a pipelined request until its turn."""
        if len(self._waiting) >= MAX_PIPELINED:
            raise malformed(f"more than {MAX_PIPELINED} requests are pipelined")
        self._waiting.append(exchange)
        self.pause_client()

    def request_body(self, data: bytes) -> None:
        """A piece of the newest request's body."""
        self._deadline.count_body(len(data))
        if self._incoming is not None:
            self._incoming.request_body(data)

    def request_end(self) -> None:
        """The newest request is complete."""
        if self._incoming is not None:
            self._incoming.request_end()
        self._incoming = None

    def tunnel_data(self, data: bytes) -> None:
        """Take bytes behind a WebSocket request."""
        newest = self._waiting[-1] if self._waiting else self._current
        if newest is not None:  # else it was refused
            newest.tunnel_data(data)

    def _ask_for_aiohttp(self, head: RequestHead) -> NoReturn:
        client = self._context.recognise(self.client, head.look)
        problem = ban_problem(self._context, client)
        legacy = self._context.router.legacy and head.target.partition(b"?")[0] in _LEGACY
        if problem is not None and not legacy:
            raise Refusal(problem.status, problem.code, problem.message)
        if self._current is None and not self._waiting:
            self._hand_over = self._reader.raw_head()
        self._ignores_input = True
        self._deadline.expect_nothing()
        raise Leave  # with a request under way: it ends, and then the connection does

    def _hand_over_to_aiohttp(self, raw: bytes) -> None:
        handler = LocalHandler(self._context, self.client, self.transport)
        self._context.connections.replace(self, handler)
        self._deadline.settled()
        self._reader.end()
        self._context.write_batch.flush()
        handler.begin(raw)

    # What exchanges ask for

    def pause_client(self) -> None:
        """Read no more until `resume_client`."""
        if not self._paused and not self._lost:
            self._paused = True
            self._update_deadline()
            self.transport.pause_reading()
            self._context.disconnects.watch(self.transport)

    def resume_client(self) -> None:
        """Read again, unless requests are waiting."""
        if self._paused and not self._waiting and not self._lost:
            self._resume_reading()
            self._update_deadline()

    def _resume_reading(self) -> None:
        self._paused = False
        self._context.disconnects.forget(self.transport)
        self.transport.resume_reading()

    def exchange_done(self, keep_alive: bool) -> None:
        """The current request is answered: the next one, or the end."""
        self._current = None
        if self._lost:
            return
        if not keep_alive:
            self._close()
        elif self._full and self._waiting:
            self._stall()
        else:
            self._next()

    def _stall(self) -> None:
        """Wait until the client has read what is written before more is written."""
        self.pause_client()
        self._update_deadline()

    def _continue(self) -> None:
        """Go on with the next request: the client has read the last response."""
        over = self._ignores_input and not self._waiting
        if self._current is None and not self._lost and not over:
            self._next()

    def _next(self) -> None:
        if self._waiting:
            self._current = self._waiting.popleft()
            self.resume_client()  # it may owe us the rest of its body
            self._current.begin()
        elif self._ignores_input or self._context.draining:
            self._close()
        elif self._full:
            self._stall()
        else:
            if self._paused:
                self.resume_client()
            self._update_deadline()

    # Deadlines and ends

    def _update_deadline(self) -> None:
        if self._paused and self._full and self._current is None:
            self._deadline.wait(
                self._context.timeouts.write_stall
            )  # it has to take what is written
        elif self._paused:
            self._deadline.expect_nothing()
        else:
            self._deadline.watch(self._reader.phase, self._current is not None)

    def _abort(self) -> None:
        self.transport.abort()

    def _expired(self) -> None:
        """Act on a deadline that the client has missed."""
        phase = self._reader.phase
        if self._ignores_input or (self._full and self._current is None):
            self.transport.abort()
        elif phase is BETWEEN:
            self._close()
        elif phase is HEAD:
            message = "The request head took too long to arrive."
            self._refuse(Refusal(408, "request_timeout", message))
        elif not self._deadline.extend_for_body():
            self._refuse(Refusal(408, "request_timeout", "The request body stopped arriving."))

    @property
    def idle(self) -> bool:
        """True if no request is under way."""
        busy = self._current is not None or self._waiting or self._full or self._ignores_input
        return not busy and self._reader.phase is BETWEEN

    @property
    def vacant(self) -> bool:
        """True if no request is under way, though one may have begun to come, or waits for the
        client to take earlier answers."""
        return self._current is None

    def make_way(self) -> None:
        """End soon, unless what the client is sending is complete by then."""
        if self.vacant and not self._ignores_input:
            self._deadline.shorten(DRAIN_GRACE)

    def drain(self) -> None:
        """The worker stops: an idle connection ends soon, a busy one after its answer.

        Not at once: what the client may be sending this moment would be lost, and be answered with
        a reset.
        """
        protocol = self.transport.get_protocol()
        if isinstance(protocol, TunnelEnd):
            protocol.drain()
        elif self.idle:
            self._deadline.shorten(DRAIN_GRACE)

    def cut(self) -> None:
        """End the connection whatever it is doing."""
        protocol = self.transport.get_protocol()
        if isinstance(protocol, TunnelEnd):
            protocol.cut()
        else:
            reset(self.transport)

    def end_if_banned(self) -> None:
        """Bans were added: end if one is on this client; an idle one may ask why."""
        context = self._context
        busy = self._current
        client = (
            busy.request.client if busy is not None else context.clients.peer(self.client).client
        )
        if context.bans.find(client, context.wall()) is None:
            return
        if busy is None:
            self.drain()
        elif busy.admitted:  # else it is refused in a moment, and told why
            self.cut()

    def _refuse(self, refusal: Refusal) -> None:
        """Answer what cannot become an exchange, unless responses to earlier requests are due."""
        problem = Problem(refusal.status, refusal.code, refusal.message)
        if self._current is not None or self._waiting:
            self._ignore_further_input(problem)
            return
        self._ignores_input = True
        context = self._context
        context.stats.rejected(refusal.code)
        client = context.clients.peer(self.client).client
        context.alerts.note(client, refusal.code, b"", context.wall())
        answer = refusal_answer(self._context.next_id(), problem)
        self._context.write_batch.write(self.transport, answer)
        self._close()

    def _ignore_further_input(self, problem: Problem) -> None:
        """Drop queued requests and read no more; the current one ends if its body is complete."""
        self._ignores_input = True
        self._deadline.expect_nothing()
        self._drop_waiting()
        if self._current is None:
            self._close()
        elif self._current is self._incoming:
            self._current.body_failed(problem)

    def _drop_waiting(self) -> None:
        for exchange in self._waiting:
            exchange.body.drop()
        self._waiting.clear()

    def _close(self) -> None:
        """Close after our last answer, without a reset that would take it from the client."""
        transport = self.transport
        self._context.write_batch.flush()
        complete = self._reader.phase is BETWEEN and not self._ignores_input
        self._ignores_input = True
        self._drop_waiting()
        if transport.get_protocol() is not self:
            self._forget()  # the end of a tunnel gets the connection's events now
            return
        unread = transport.get_write_buffer_size()
        self._deadline.wait(self._context.timeouts.write_stall if unread else LINGER)
        if complete:
            close(transport)
        if transport.is_closing():
            return
        if transport.can_write_eof():
            end_writing(transport)
        if self._paused:
            self._resume_reading()

    def _forget(self) -> None:
        """Deregister from the worker, step by step, whatever one of the steps raises."""
        try:
            self._context.connection_closed(self)
            self._deadline.settled()
        finally:
            try:
                self._context.disconnects.forget(self.transport)
            finally:
                self._reader.end()
