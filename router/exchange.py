"""One request's way: admit, collect, attempt mirrors, relay the answer, give everything back.

    head ─► begin ─► (body collected) ─► attempt ─► connection ─► reply ─► finish
                                          ▲  │ nothing was sent, or it was not received
                                          └──┘ another mirror, or a new connection (`attempts.py`)

Everything but opening a connection happens in callbacks, from the client's parser to the mirror's
and back, without a task. What an exchange holds (a request in flight on a mirror, a connection, a
place on the wheel) is given back in `_finish`, which runs exactly once.
"""

from __future__ import annotations

from router.admission.admit import blame, entry, refusal
from router.admission.clients import Client
from router.admission.keys import Caller
from router.admission.refusals import too_large
from router.admission.table import UNCOUNTED
from router.asked import Asked
from router.attempts import Attempts
from router.body import EARLY, RequestBody
from router.choice.failure import Failure
from router.eligibility import Eligibility, too_slow
from router.plane import Plane
from router.relay import reset
from router.reply import ClientSide, Reply, outcome_of
from router.respond import local_answer
from router.tally import Finished
from router.traffic import LONG
from router.upstreams import Upstream
from router.wire import cors
from router.wire.answer import CONTINUE, Problem, render
from router.wire.outgoing import render_head
from router.wire.request import RequestHead
from router.wire.upstream import UpstreamConnection
from router.wire.wheel import NEVER


class Exchange:
    """A request from its head to the end of its answer."""

    __slots__ = (
        "_asked",
        "_attempts",
        "_began",
        "_client_stalls",
        "_ends_at",
        "_finished",
        "_place",
        "_reply",
        "body",
        "client",
        "complete_at",
        "deadline",
        "early_tunnel",
        "endpoint",
        "head",
        "id",
        "plane",
    )

    def __init__(self, plane: Plane, client: ClientSide, head: RequestHead, asked: Asked) -> None:
        self.plane = plane
        self.client = client
        self.head = head
        self.id = plane.next_id()
        self.body = RequestBody(head, asked.is_json, plane.router.replay_body, plane.memory)
        self.endpoint = asked.endpoint
        self.complete_at = self._began = plane.clock()
        self.deadline = self._ends_at = NEVER
        self._asked = asked
        self._attempts: Attempts | None = None
        self._reply: Reply | None = None
        self.early_tunnel: list[bytes] = []
        self._client_stalls = False
        self._finished = False
        self._place = UNCOUNTED

    def __repr__(self) -> str:
        return f"<Exchange {self.id} {self.endpoint} {self._attempts}>"

    # From the client

    def begin(self) -> None:
        """It is this request's turn on its connection."""
        plane = self.plane
        self.deadline = self._ends_at = plane.wheel.now + plane.timeouts.total
        plane.wheel.add(self)
        plane.exchanges.add(self)
        self._place, problem = entry(plane, self.head, self.asker)
        if problem is not None:
            self._refuse(problem)
            return
        if self.head.method == b"OPTIONS":
            fields = cors.preflight_fields(self.head.look, plane.router.cors_origins)
            ending = [] if self.may_keep_alive else [(b"connection", b"close")]
            self._answer(204, render(204, [*fields, *ending], None), "success")
            return
        problem = refusal(plane, self.head.length, self._asked.credentials)
        if problem is not None:
            self._refuse(problem)
            return
        self._attempts = Attempts(plane, Eligibility(self._asked, self.body))
        if not self.body.complete:
            self._invite_body()
        if self.body.complete or not self.body.collected:
            self._attempt()

    def _invite_body(self) -> None:
        expects = self.head.look.get(b"expect", b"").lower() == b"100-continue"
        if expects and not self.head.http10 and not self.body.size:
            self.plane.outbox.write(self.client.transport, CONTINUE)

    def request_body(self, data: bytes) -> None:
        """A piece of the request's body."""
        body = self.body
        body.size += len(data)
        if self._finished:
            return
        if body.size > self.plane.router.max_body:
            self._refuse_or_cut(too_large(self.plane.router.max_body))
        elif self._reply is not None:
            self._reply.write(body.framed(data))
        else:
            self._keep(data)

    def _keep(self, data: bytes) -> None:
        was_collected = self.body.collected
        if not self.body.keep(data):
            self.client.pause_client()
        if was_collected and not self.body.collected and self._attempts is not None:
            self._attempt()

    def request_end(self) -> None:
        """The request is complete."""
        self.body.complete = True
        self.complete_at = self.plane.clock()
        if self._finished or self._attempts is None:
            return
        if self._reply is not None:
            self._reply.write(self.body.ending)
            self._await_answer()
        elif self.body.collected:
            self._attempt()

    def tunnel_data(self, data: bytes) -> None:
        """What the client sent behind a WebSocket request, before the mirror has switched."""
        self.early_tunnel.append(data)
        if sum(map(len, self.early_tunnel)) > EARLY:
            self.client.pause_client()

    def client_left(self) -> None:
        """The client is gone: stop everything for it; no mirror is to blame."""
        self._finish("client_abort", keep_alive=False)

    def body_failed(self, problem: Problem) -> None:
        """The rest of the body will not come, or not be understood."""
        self._refuse_or_cut(problem)

    def client_full(self) -> None:
        """The client takes no more for now."""
        self._client_stalls = True
        self.wait(self.plane.timeouts.write_stall)
        if self._reply is not None:
            self._reply.pause()

    def client_drained(self) -> None:
        """The client takes bytes again."""
        self._client_stalls = False
        self.wait(self.plane.timeouts.idle)
        if self._reply is not None:
            self._reply.resume()

    # Attempts

    def _attempt(self) -> None:
        """Ask a mirror, the next one if there was one before."""
        assert self._attempts is not None
        problem = self._attempts.start(self._may_be_stale(), self._send, self.unanswered)
        if problem is not None:
            self._refuse(problem)

    def _may_be_stale(self) -> bool:
        """Whether a reused connection will do: the request can be repeated if it proves stale."""
        return self.body.collected and self._asked.may_be_stale

    def _send(self, upstream: Upstream, connection: UpstreamConnection, opened_in: float) -> None:
        body, asked = self.body, self._asked
        self._reply = Reply(self, upstream, connection, opened_in)
        self.client.resume_client()  # before writing, which may pause it again
        fields = asked.fields_for(upstream)
        prefix, host = upstream.base_path, connection.authority
        head = render_head(self.head, asked.target, prefix, host, fields, body.known_size)
        self._reply.write(b"".join((head, *body.to_send())))
        if body.complete:
            self._await_answer()

    def _await_answer(self) -> None:
        if not self._answering:
            self.wait(self.plane.timeouts.first_byte)

    # From the reply

    @property
    def failed_attempts(self) -> int:
        """How many attempts have failed so far."""
        return len(self._attempts.failed) if self._attempts is not None else 0

    @property
    def with_mirror_key(self) -> bool:
        """Whether the mirror gets its own key instead of the caller's."""
        return self._asked.credentials.caller is not Caller.own

    @property
    def may_keep_alive(self) -> bool:
        """Whether the client's connection can carry another request."""
        head = self.head
        whole = self.body.complete or not head.has_body
        return head.keep_alive and whole and not head.websocket and self.plane.keeps_connections

    @property
    def asker(self) -> Client:
        """Whom it is for, which may be somebody behind the peer."""
        return self._asked.client

    def wait(self, seconds: float) -> None:
        """The next thing must happen within this time."""
        self.deadline = min(self.plane.wheel.now + seconds, self._ends_at)

    def wait_no_more(self) -> None:
        """A tunnel may stay as long as both sides like."""
        self.deadline = self._ends_at = NEVER

    def unanswered(self, failure: Failure, detail: str) -> None:
        """An attempt ended without an answer: another one, or an error."""
        assert self._attempts is not None
        self._leave_mirror()
        if self._attempts.note_failure(failure, detail, self.body.collected):
            self._attempt()
        else:
            self._refuse(self._attempts.all_failed())

    def answered(self, outcome: str, keep_alive: bool) -> None:
        """The client has the answer, or as much of it as there will be."""
        self._finish(outcome, keep_alive)

    # Ends

    @property
    def _answering(self) -> bool:
        return self._reply is not None and self._reply.started

    def expired(self) -> None:
        """The wheel's word: the deadline has passed."""
        if self._client_stalls:
            reset(self.client.transport)
        elif self._reply is not None and self._reply.started:
            self._reply.interrupt("timeout")
        elif self._attempts is not None and self._attempts.mirror:
            self.plane.failed_on(self._attempts.mirror, Failure.timeout)
            self._refuse(too_slow(), "timeout")
        else:
            self._refuse(Problem(408, "request_timeout", "The request took too long to arrive."))

    def end_soon(self, seconds: float) -> None:
        """End within this time if the mirror has been removed."""
        if self._attempts is not None and self._attempts.on_removed_mirror:
            self._ends_at = min(self._ends_at, self.plane.wheel.now + seconds)
            self.deadline = min(self.deadline, self._ends_at)

    def _refuse_or_cut(self, problem: Problem) -> None:
        if self._reply is not None and self._reply.started:
            self._reply.cut()
            self._finish("client_error", keep_alive=False)
        else:
            self._refuse(problem)

    def _refuse(self, problem: Problem, outcome: str = "") -> None:
        self.plane.tally.rejected(problem.code)
        blame(self.plane, self._asked, self.head, problem)
        out = local_answer(self.plane, self.head, self.id, problem, self.may_keep_alive)
        self._answer(problem.status, out, outcome or outcome_of(problem.status))

    def _answer(self, status: int, out: bytes, outcome: str) -> None:
        self.plane.outbox.write(self.client.transport, out)
        self._finish(outcome, self.may_keep_alive, status)

    def _leave_mirror(self) -> None:
        if self._reply is not None:
            self._reply.leave()
            self._reply = None

    def _finish(self, outcome: str, keep_alive: bool, status: int = 0) -> None:
        if self._finished:
            return
        self._finished = True
        self.deadline = NEVER
        self.plane.wheel.remove(self)
        self.plane.exchanges.discard(self)
        self.plane.limits.leave(self._place)
        self._count(outcome, status)
        self._leave_mirror()
        if self._attempts is not None:
            self._attempts.give_back()
        self.body.drop()
        self.client.exchange_done(keep_alive)

    def _count(self, outcome: str, status: int) -> None:
        plane, reply = self.plane, self._reply
        mirror, stream, sent = "", False, 0
        if reply is not None and reply.started:
            mirror, status, stream = reply.mirror, reply.status, reply.stream
            sent = reply.body_bytes
        seconds = plane.clock() - self._began
        received, failed = self.body.size, self.failed_attempts
        alike = (mirror, self.endpoint, status, outcome, stream)
        plane.tally.finished(alike, failed > 0, seconds, received, sent)
        if sent >= LONG and outcome == "success":
            plane.traffic.completed(mirror, sent)
        if plane.access is not None:
            end = Finished(
                self.id,
                self.asker.address,
                self.head.method,
                self._asked.target,
                mirror,
                self.endpoint,
                status,
                outcome,
                stream,
                failed,
                seconds,
                received,
                sent,
            )
            plane.access(end)
