"""One request's way: admit, collect, attempt mirrors, relay the answer, give everything back.

    head ─► begin ─► (body collected) ─► attempt ─► connection ─► sent ─► response ─► finish
                                          ▲  │ nothing was sent, or it was not received
                                          └──┘ another mirror, until `attempts` are used up

Everything but opening a connection happens in callbacks, from the client's parser to the mirror's
and back, without a task. What an exchange holds (a request in flight on a mirror, a connection, a
place on the wheel) is given back in `_finish`, which runs exactly once.
"""

from __future__ import annotations

import asyncio
from typing import Protocol

from router.admission.admit import admit, too_large
from router.admission.keys import Credentials
from router.body import RequestBody
from router.choice.failure import FailedAttempt, Failure, may_retry
from router.eligibility import Eligibility, all_failed, too_slow
from router.opening import Opening
from router.plane import Finished, Plane
from router.relay import Relay, reset
from router.respond import local_answer, response_fields
from router.tunnel import Tunnel
from router.upstreams import Handle, Upstream
from router.wire import cors
from router.wire.answer import CONTINUE, Problem, render
from router.wire.outgoing import render_head
from router.wire.request import RequestHead
from router.wire.response import BadResponse, ResponseHead
from router.wire.target import endpoint_of
from router.wire.upstream import UpstreamConnection
from router.wire.wheel import NEVER

_POOLED_POSTS = ("chat", "completions", "embeddings", "responses", "moderations")
"""POSTs that may take a connection that waited; others must not meet a stale one (`may_retry`)."""


class ClientSide(Protocol):
    """What an exchange needs of the client's connection."""

    client: str
    transport: asyncio.Transport

    def pause_client(self) -> None:
        """Read no more for now."""

    def resume_client(self) -> None:
        """Read again."""

    def exchange_done(self, keep_alive: bool) -> None:
        """The answer is written; the connection may carry the next request or not."""


class Exchange:
    """A request from its head to the end of its answer."""

    def __init__(self, plane: Plane, client: ClientSide, head: RequestHead, target: bytes) -> None:
        self.head = head
        self.id = plane.next_id()
        self.deadline = NEVER
        self._ends_at = NEVER
        self.body = RequestBody(head, plane.router.replay_body)
        self._plane = plane
        self._client = client
        self._target = target
        self._endpoint = endpoint_of(target)
        self._began = self._complete_at = plane.clock()
        self._credentials: Credentials | None = None
        self._eligible: Eligibility | None = None
        self._tried: set[str] = set()
        self._failed: list[FailedAttempt] = []
        self._handle: Handle | None = None
        self._opening: Opening | None = None
        self._connection: UpstreamConnection | None = None
        self._relay = Relay(client.transport, head)
        self._status = 0
        self._stream = False
        self._client_stalls = False
        self._tunnel: Tunnel | None = None
        self._finished = False
        self._early_tunnel: list[bytes] = []

    def __repr__(self) -> str:
        where = self._handle.upstream.id if self._handle else "no mirror"
        return f"<Exchange {self.id} {self._endpoint} on {where}, {len(self._failed)} failed>"

    # From the client

    def begin(self) -> None:
        """It is this request's turn on its connection."""
        plane = self._plane
        self.deadline = self._ends_at = plane.wheel.now + plane.timeouts.total
        plane.wheel.add(self)
        plane.exchanges.add(self)
        if self.head.method == b"OPTIONS":
            fields = cors.preflight_fields(self.head.look, plane.router.cors_origins)
            self._answer(204, render(204, fields, None), "success")
            return
        verdict = admit(plane, self.head)
        if isinstance(verdict, Problem):
            self._refuse(verdict)
            return
        self._credentials = verdict
        self._eligible = Eligibility(self._target, verdict, self.body)
        if not self.body.complete:
            self._invite_body()
        if self.body.complete or not self.body.collected:
            self._attempt()

    def _invite_body(self) -> None:
        expects = self.head.look.get(b"expect", b"").lower() == b"100-continue"
        if expects and not self.head.http10 and not self.body.size:
            self._client.transport.write(CONTINUE)

    def request_body(self, data: bytes) -> None:
        """A piece of the request's body."""
        body = self.body
        body.size += len(data)
        if self._finished:
            return
        if body.size > self._plane.router.max_body:
            self._too_large()
        elif self._connection is not None:
            self._connection.write(body.framed(data))
        else:
            self._keep(data)

    def _keep(self, data: bytes) -> None:
        was_collected = self.body.collected
        if not self.body.keep(data):
            self._client.pause_client()
        if was_collected and not self.body.collected and self._eligible is not None:
            self._attempt()

    def request_end(self) -> None:
        """The request is complete."""
        self.body.complete = True
        self._complete_at = self._plane.clock()
        if self._finished or self._eligible is None:
            return
        if self._connection is not None:
            self._connection.write(self.body.ending)
            self._await_response()
        elif self.body.collected:
            self._attempt()

    def tunnel_data(self, data: bytes) -> None:
        """What the client sent behind a WebSocket request."""
        self._early_tunnel.append(data)

    def client_left(self) -> None:
        """The client is gone: stop everything for it; no mirror is to blame."""
        self._finish("client_abort", keep_alive=False)

    def body_stalled(self) -> None:
        """The client stopped in the middle of its body."""
        self._refuse_or_cut(Problem(408, "request_timeout", "The request body stopped arriving."))

    def client_full(self) -> None:
        """The client takes no more for now."""
        self._client_stalls = True
        self._wait(self._plane.timeouts.write_stall)
        if self._connection is not None:
            self._connection.transport.pause_reading()

    def client_drained(self) -> None:
        """The client takes bytes again."""
        self._client_stalls = False
        self._wait(self._plane.timeouts.idle)
        if self._connection is not None and not self._connection.closed:
            self._connection.transport.resume_reading()

    def _wait(self, seconds: float) -> None:
        self.deadline = min(self._plane.wheel.now + seconds, self._ends_at)

    def end_soon(self, seconds: float) -> None:
        """End within this time if the mirror has been removed."""
        if self._handle is not None and self._handle.upstream.removed:
            self._ends_at = min(self._ends_at, self._plane.wheel.now + seconds)
            self.deadline = min(self.deadline, self._ends_at)

    # Attempts

    def _attempt(self) -> None:
        """Choose a mirror and take it: one synchronous step; then write, or connect first."""
        assert self._eligible is not None
        upstream = self._plane.choose(self._accepts)
        if upstream is None:
            nobody = self._eligible.nobody(self._plane)
            self._refuse(all_failed(self._failed) if self._failed else nobody)
            return
        self._tried.add(upstream.id)
        self._handle = Handle(upstream)
        self._opening = Opening(self._plane, upstream, self._send, self._attempt_failed)
        self._opening.start(self._may_be_stale())

    def _accepts(self, upstream: Upstream) -> bool:
        assert self._eligible is not None
        fresh = upstream.id not in self._tried
        return fresh and upstream.available and self._eligible.fits(upstream)

    def _may_be_stale(self) -> bool:
        """Whether a reused connection will do: the request can be repeated if it proves stale."""
        if not self.body.collected or self.head.websocket or self._failed:
            return False
        return self.head.method in (b"GET", b"HEAD") or self._endpoint in _POOLED_POSTS

    def _send(self, connection: UpstreamConnection) -> None:
        assert self._handle is not None
        assert self._credentials is not None
        upstream, body = self._handle.upstream, self.body
        self._connection = connection
        connection.take(self, to_head=self.head.method == b"HEAD")
        head = render_head(self.head, self._target, upstream, self._credentials, body.known_size)
        connection.write(b"".join((head, *body.to_send())))
        if body.complete:
            self._await_response()
        self._client.resume_client()

    def _await_response(self) -> None:
        if not self._relay.started:
            self._wait(self._plane.timeouts.first_byte)

    def _attempt_failed(self, failure: Failure, detail: str) -> None:
        """An attempt ended without a response: another one, or an error."""
        assert self._handle is not None
        mirror = self._handle.upstream.id
        self._give_back_mirror()
        self._failed.append(FailedAttempt(mirror, failure, detail))
        self._plane.attempt_failed(mirror, failure)
        if failure is Failure.stale:
            self._tried.discard(mirror)
        again = may_retry(failure, self.body.collected)
        if again and len(self._failed) < self._plane.router.retry.attempts:
            self._attempt()
        else:
            self._refuse(all_failed(self._failed))

    # From the mirror

    def informational(self, head: ResponseHead) -> None:
        """An interim response."""
        self._relay.informational(head)

    def response_head(self, head: ResponseHead) -> None:
        """The head of the mirror's answer."""
        assert self._handle is not None
        assert self._opening is not None
        if head.status == 101 and not self.head.websocket:
            raise BadResponse("it switched protocols unasked")
        plane, upstream = self._plane, self._handle.upstream
        first_byte = plane.clock() - self._complete_at
        self._status = head.status
        self._stream = head.look.get(b"content-type", b"").startswith(b"text/event-stream")
        added = response_fields(
            plane,
            self.head,
            self.id,
            upstream.id,
            len(self._failed),
            self._opening.seconds,
            first_byte,
        )
        self._relay.head(head, added, self._may_keep_alive() and not self.head.websocket)
        plane.observe_head(upstream.id, self._endpoint, first_byte, self._opening.seconds)

    def response_data(self, parts: list[bytes], ended: bool) -> None:
        """What one read brought of the mirror's answer."""
        self._wait(self._plane.timeouts.idle)
        self._relay.data(parts, ended)
        if ended:
            self._response_end()

    def _response_end(self) -> None:
        connection, handle = self._connection, self._handle
        if self.body.complete and connection is not None and handle is not None:
            self._connection = None
            handle.upstream.give_back(connection, self._plane.wheel.now)
        self._finish(_outcome(self._status), self._relay.keep_alive)

    def switched(self, rest: bytes) -> None:
        """The mirror speaks WebSocket from here on."""
        assert self._connection is not None
        self._relay.data([rest] if rest else [], ended=False)
        mirror, self._connection = self._connection.transport, None
        for data in self._early_tunnel:
            mirror.write(data)
        self.deadline = self._ends_at = NEVER
        self._tunnel = Tunnel(
            self._plane.buffer, self._client.transport, mirror, self._tunnel_ended
        )

    def _tunnel_ended(self) -> None:
        self._finish("success", keep_alive=False)

    def response_failed(self, why: str, silent: bool) -> None:
        """The mirror's answer broke off or cannot be relayed."""
        connection, self._connection = self._connection, None
        if self._relay.started:
            self._interrupted("upstream")
            return
        stale = silent and connection is not None and connection.used > 1
        kind = Failure.stale if stale else Failure.broken if silent else Failure.malformed
        self._attempt_failed(kind, why)

    def upstream_full(self) -> None:
        """The mirror takes no more of the body for now."""
        if not self.body.complete:
            self._wait(self._plane.timeouts.idle)
            self._client.pause_client()

    def upstream_drained(self) -> None:
        """The mirror takes more."""
        if not self.body.complete:
            self.deadline = self._ends_at
        self._client.resume_client()

    # Ends

    def expired(self) -> None:
        """The wheel's word: the deadline has passed."""
        if self._tunnel is not None:
            self._tunnel.close()
        elif self._client_stalls:
            reset(self._client.transport)
        elif self._relay.started:
            self._interrupted("timeout")
        elif self._handle is not None:
            self._plane.attempt_failed(self._handle.upstream.id, Failure.timeout)
            self._refuse(too_slow(), "timeout")
        else:
            self._refuse(Problem(408, "request_timeout", "The request took too long to arrive."))

    def _too_large(self) -> None:
        self._refuse_or_cut(too_large(self._plane.router.max_body))

    def _refuse_or_cut(self, problem: Problem) -> None:
        if self._relay.started:
            self._relay.cut()
            self._finish("client_error", keep_alive=False)
        else:
            self._refuse(problem)

    def _interrupted(self, reason: str) -> None:
        """The answer cannot be completed: the client must see that."""
        assert self._handle is not None
        self._plane.interrupted(self._handle.upstream.id, reason)
        self._relay.cut()
        self._finish("interrupted", keep_alive=False)

    def _may_keep_alive(self) -> bool:
        return self.head.keep_alive and self.body.complete and not self._plane.draining

    def _refuse(self, problem: Problem, outcome: str = "") -> None:
        self._plane.rejected(problem.code)
        out = local_answer(self._plane, self.head, self.id, problem, self._may_keep_alive())
        self._answer(problem.status, out, outcome or _outcome(problem.status))

    def _answer(self, status: int, out: bytes, outcome: str) -> None:
        self._status = status
        self._client.transport.write(out)
        self._finish(outcome, self._may_keep_alive())

    def _give_back_mirror(self) -> None:
        if self._opening is not None:
            self._opening.cancel()
        if self._connection is not None:
            self._connection.leave()
            self._connection = None
        if self._handle is not None:
            self._handle.release()

    def _finish(self, outcome: str, keep_alive: bool) -> None:
        if self._finished:
            return
        self._finished = True
        self.deadline = NEVER
        plane = self._plane
        plane.wheel.remove(self)
        plane.exchanges.discard(self)
        self._give_back_mirror()
        self.body.drop()
        mirror = self._handle.upstream.id if self._handle and self._relay.started else ""
        plane.finished(
            Finished(
                self.id,
                self._client.client,
                self.head.method,
                self._target,
                self._endpoint,
                mirror,
                self._status,
                outcome,
                self._stream,
                len(self._failed),
                plane.clock() - self._began,
            )
        )
        self._client.exchange_done(keep_alive)


def _outcome(status: int) -> str:
    if status < 400:
        return "success"
    return "client_error" if status < 500 else "upstream_error"
