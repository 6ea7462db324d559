"""One request's way: admit, collect, attempt mirrors, relay the response, give everything back.

    head ─► begin ─► (body collected) ─► attempt ─► connection ─► response ─► finish
                                          ▲  │ no answer, and the client has nothing of one
                                          └──┘ another mirror, or a new connection (`attempts.py`)

Everything but opening a connection happens in callbacks, from parser to parser, without a task.
What an exchange holds is given back in `_finish`, which runs exactly once.
"""

from __future__ import annotations

from functools import partial
from typing import Final

from router.admission.credentials import Caller
from router.admission.errors import too_large
from router.admission.key_scope import NO_MEMORY
from router.admission.limits import RECHECKS, TOO_MANY_OPEN
from router.admission.shared_table import UNCOUNTED
from router.balancing.failure import Failure
from router.balancing.retry import Commit
from router.forwarding.admission import blame, entry, metering_of, refusal
from router.forwarding.attempts import Attempts
from router.forwarding.context import WorkerContext
from router.forwarding.deadlines import Deadlines
from router.forwarding.interfaces import ClientSide, ResponseOwner
from router.forwarding.local_response import (
    FULL,
    keepalive_words,
    local_answer,
    models_answer,
    preflight_answer,
    queue_full,
    stream_head,
    too_slow,
)
from router.forwarding.request_context import RequestContext
from router.forwarding.request_policy import RequestPolicy, silence_of
from router.forwarding.response import Response
from router.forwarding.response_inspection import outcome_of
from router.forwarding.stats import Finished
from router.metering.metered_request import MeteredRequest
from router.metering.websocket_meter import WebSocketMeter
from router.upstream.connection import UpstreamConnection
from router.upstream.dialect import Dialect, interruption
from router.upstream.model_names import renamed_query
from router.upstream.path_stats import LONG
from router.upstream.request_body import EARLY, RequestBody
from router.upstream.request_writer import render_head
from router.upstream.upstream import Upstream
from router.wire.chunked import chunk
from router.wire.closing import close, reset
from router.wire.error_response import CONTINUE, Problem
from router.wire.faults import guarded, report_fault
from router.wire.request import RequestHead
from router.wire.response import ResponseHead
from router.wire.timer_wheel import NEVER

_OWN: Final = Caller.own
_ISSUED: Final = Caller.issued
_OTHER: Final = Dialect.other
_AT_ONCE: Final = 0.001
"""Seconds within which a request was complete from the beginning: no need to note that it is."""


class Exchange(ResponseOwner):
    """A request from its head to the end of its response."""

    __slots__ = (
        "_attempts",
        "_began",
        "_finished",
        "_place",
        "_response",
        "admitted",
        "body",
        "client",
        "complete_at",
        "context",
        "deadlines",
        "dialect",
        "dialogue",
        "early_tunnel",
        "endpoint",
        "head",
        "head_sent",
        "id",
        "metered",
        "policy",
        "queued",
        "request",
    )

    def __init__(
        self, context: WorkerContext, client: ClientSide, head: RequestHead, request: RequestContext
    ) -> None:
        self.context = context
        self.client = client
        self.head = head
        self.request = request
        self.id = context.next_id()
        owner, most = request.client.key, context.router.replay_body
        self.body = RequestBody(head, request.is_kept, most, context.memory, owner)
        self.endpoint = request.endpoint
        self.complete_at = self._began = now = context.clock()
        """When the request was complete and let in, on the worker's clock."""
        self.deadlines = Deadlines(context.wheel, context.clock, now, context.timeouts.idle)
        self.admitted = False
        """True if it may go to a mirror."""
        self.policy: RequestPolicy | None = None
        self.dialect = _OTHER
        """The dialect of the response's events."""
        self.head_sent = False
        """True if the client has been sent a head and comments, because the response took long."""
        self.early_tunnel: list[bytes] = []
        """Bytes that the client sent behind a WebSocket request."""
        self.metered: MeteredRequest | None = None
        """Meter of a request with a mirror's key."""
        self.dialogue: WebSocketMeter | None = None
        """Meter of a WebSocket with a mirror's key, if its messages are known."""
        self._attempts: Attempts | None = None
        self._response: Response | None = None
        self._place = UNCOUNTED
        self.queued = 0
        """Its place in the queue when it came there, because every mirror was full."""
        self._finished = False

    def __repr__(self) -> str:
        return f"<Exchange {self.id.decode()} {self.endpoint} {self._attempts}>"

    # From the client

    def begin(self, looked: int = 0) -> None:
        """Start, as the current request of its connection: take a place among the client's.
        `looked`: earlier looks that found none, since one may be about to be given back."""
        context, client = self.context, self.request.client
        if not looked:
            self.deadlines.begin(context.timeouts.total)
            context.exchanges.add(self)
        elif self._finished:
            return
        looks_again = looked < len(RECHECKS) and context.limits.may_wait(client)
        self._place, problem = entry(context, self.head, self.request, not looks_again)
        if problem is None:
            if looked:
                self.complete_at = context.clock()  # it waited for its own client, not for us
                self.client.resume_client()
            if self._admit():
                self._attempt(context.clock())
        elif looks_again and (problem.code == TOO_MANY_OPEN or context.limits.short):
            self.client.pause_client()
            look = partial(guarded, "a second look", partial(self.begin, looked + 1), self.abort)
            context.limits.wait(client, RECHECKS[looked], look)
        else:
            self._refuse(problem)

    def _admit(self) -> bool:
        """Admit or answer it; True if all is there for an attempt."""
        context, head, body = self.context, self.head, self.body
        if head.method == b"OPTIONS":
            self._tell(preflight_answer(context, head, self.may_keep_alive()), 204)
            return False
        problem = refusal(context, head.length, self.request)
        if problem is not None:
            self._refuse(problem)
            return False
        self.admitted = True
        if body.complete:
            return True
        expects = head.look.get(b"expect", b"").lower() == b"100-continue"
        if expects and not head.http10 and not body.size:
            context.write_batch.write(self.client.transport, CONTINUE)
        return not body.collected

    def request_body(self, data: bytes) -> None:
        """A piece of the request's body."""
        body = self.body
        body.size += len(data)
        if self._finished:
            return
        if self.metered is not None:
            self.metered.upload(data)
        if body.size > self.context.router.max_body:
            self.body_failed(too_large(self.context.router.max_body))
        elif self._response is not None:
            self._response.write(body.framed(data))
        else:
            self._keep(data)

    def _keep(self, data: bytes) -> None:
        body = self.body
        was_collected = body.collected
        if not body.keep(data):
            self.client.pause_client()
        if was_collected and self.admitted:
            if not body.collected:
                body.keep_for_good(self)
                self._attempt(self.context.clock())
            elif body.size > EARLY:
                self.context.memory.arrives(self.request.client.key, self)

    def crowded_out(self) -> None:
        """Refuse: there is no memory for the body any more, since its client has most of it."""
        self._refuse(NO_MEMORY)

    def request_end(self) -> None:
        """The request is complete."""
        body = self.body
        body.complete = True
        body.keep_for_good(self)
        self.complete_at = now = self.context.clock()
        self.deadlines.request_complete()
        if self._finished or not self.admitted:
            return
        if self._response is not None:
            self._response.write(body.ending)
            self._await_response()
        elif body.collected:
            self._attempt(now)

    def tunnel_data(self, data: bytes) -> None:
        """Keep bytes behind a WebSocket request until the mirror switches protocols."""
        self.early_tunnel.append(data)
        if sum(map(len, self.early_tunnel)) > EARLY:
            self.client.pause_client()

    def client_left(self) -> None:
        """The client is gone: stop everything for it; no mirror is to blame."""
        self._finish("client_abort", keep_alive=False)

    def body_failed(self, problem: Problem) -> None:
        """The rest of the body will not come, or is not understood or accepted."""
        response = self._response
        if response is not None and response.committed:
            response.cut()
            self._finish("client_error", keep_alive=False)
        else:
            self._refuse(problem)

    def client_full(self) -> None:
        """The client takes no more for now."""
        self.deadlines.client_full(self.context.timeouts.write_stall)
        if self._response is not None:
            self._response.pause()

    def client_drained(self) -> None:
        """The client takes bytes again."""
        response = self._response
        self.deadlines.client_drained(relays=response is not None and response.committed)
        if response is not None:
            response.resume()

    # Attempts

    def _attempt(self, now: float) -> None:
        """Try a mirror, the next one if there was one before."""
        attempts = self._attempts
        if attempts is None:
            attempts = self._first_attempt(now)
            if attempts is None:
                return
        else:
            self.deadlines.wait(NEVER)  # opening has limits of its own; the last one's are over
        problem = attempts.start(now)
        if problem is FULL and self.context.queue.join(self, self.request.client.key):
            self.queued = len(self.context.queue)
            self.deadlines.look_later(awaits_response=False)
        elif problem is not None:
            self._give_up(problem)

    def _first_attempt(self, now: float) -> Attempts | None:
        """Settle the policy of the request and its metering; None if it was refused."""
        context, request, head, body = self.context, self.request, self.head, self.body
        policy = context.policies.of(request, body, now)
        if request.caller is not _OWN:
            found = metering_of(context, request, head, body, policy.dialect)
            if isinstance(found, Problem):
                self._refuse(found)
                return None
            self.metered, self.dialogue = found
            if request.endpoint == "models" and self._tell(
                models_answer(context, head, request, self.id, self.may_keep_alive())
            ):
                return None
        self.policy, self.dialect = policy, policy.dialect
        self.deadlines.follow(policy.patience, silence_of(policy, head, context.router.stream))
        self._attempts = Attempts(context, request, body, policy, now, self)
        return self._attempts

    def go_on(self) -> bool:
        """Try again: it is this request's turn in the queue. False if there is no room yet."""
        attempts = self._attempts
        assert attempts is not None
        attempts.another_turn()
        problem = attempts.start(self.context.clock())
        if problem is not None and problem is not FULL:
            self._give_up(problem)
        return problem is not FULL

    def waited_too_long(self) -> None:
        """No mirror had room in time."""
        self._give_up(FULL)

    def send(self, upstream: Upstream, connection: UpstreamConnection, opened_in: float) -> None:
        """Send the request to a mirror that an attempt has a connection to."""
        context, body, request, attempts = self.context, self.body, self.request, self._attempts
        assert attempts is not None
        self._response = response = Response(self, attempts, upstream, connection, opened_in)
        connection.take(response, to_head=self.head.method == b"HEAD")
        self.client.resume_client()  # before writing, which may pause it again
        target, names, metered = request.target, upstream.renames, self.metered
        if names and request.model:
            target = renamed_query(target, names)
        elif names and request.shape[3]:
            body.rename_models(self.head.look[b"content-type"], names)
        size, parts = body.outgoing(metered.body if metered is not None else None, names)
        fields = request.fields_for(upstream, self.deadlines.comments)
        if context.tracer is not None:
            fields += attempts.trace_fields()
        prefix, host = b"" if request.mirror else upstream.base_path, connection.authority
        head = render_head(self.head, target, prefix, host, fields, size, chunked=body.chunked)
        connection.ask(b"".join((head, *parts)))
        if body.complete:
            self._await_response()

    def _await_response(self) -> None:
        """All is sent; now it is the mirror's turn."""
        attempts, response = self._attempts, self._response
        if attempts is None or response is None or response.committed:
            return
        now = self.context.clock()
        if now - self._began > _AT_ONCE:
            attempts.sent(now)
        self.deadlines.await_response(now)

    # From the response

    def unanswered(self, failure: Failure, detail: str, head: ResponseHead | None = None) -> None:
        """Make another attempt, or answer with an error, after one that gave the client nothing.

        `head` is the response that was no answer.
        """
        attempts = self._attempts
        assert attempts is not None
        commit = self._response.commit if self._response is not None else Commit.nothing_sent
        look = head.table() if head is not None else {}
        self._leave_mirror()
        if attempts.failed_with(failure, detail, commit, look):
            self._attempt(self.context.clock())
        else:
            self._give_up(attempts.give_up())

    def try_elsewhere(
        self, failure: Failure, detail: str, head: ResponseHead, *, aside: bool = False
    ) -> bool:
        """Try another mirror instead of an error that this one answers with; False if not allowed.

        `aside`: the error may be the mirror's alone. The client gets the first of those, after all,
        if no mirror has a better answer.
        """
        attempts, response = self._attempts, self._response
        assert attempts is not None
        assert response is not None
        if attempts.answered_error(failure, detail, head.table()):
            if aside:
                response.set_aside()
                attempts.keep(partial(self._pass_on, response))
            self._leave_mirror()
            self._attempt(self.context.clock())
            return True
        unknown = attempts.unknown_model(failure)
        if unknown is not None:
            self.withhold(unknown)
            return True
        first = attempts.take_kept() if aside else None
        if first is None:
            return False
        self._leave_mirror()
        first()
        return True

    def _pass_on(self, response: Response) -> None:
        """Give the client the response that was set aside."""
        self._response = response
        response.pass_on()

    def _give_up(self, problem: Problem) -> None:
        """Give the client the first response that was set aside, else this error."""
        first = self._attempts.take_kept() if self._attempts is not None else None
        if first is not None:
            first()
        else:
            self._refuse(problem)

    def withhold(self, problem: Problem) -> None:
        """Give the client this error instead of the response."""
        self._leave_mirror()
        self._refuse(problem)

    def answered(self, outcome: str, keep_alive: bool) -> None:
        """The client has the response, or as much of it as there will be."""
        if self._finished:
            return  # a tunnel that was ended here is gone
        now = self.context.clock()
        if outcome == "success" and self._attempts is not None:
            self._attempts.succeeded(now)
        self._finish(outcome, keep_alive, now=now)

    # From the wheel and the worker

    @property
    def deadline(self) -> float:
        """The time of the next look, in seconds of the wheel's clock."""
        return self.deadlines.deadline

    def expired(self) -> None:
        """A deadline has passed: look at the mirror, comment, or end."""
        response, attempts, deadlines = self._response, self._attempts, self.deadlines
        has_head, heard_at = False, 0.0
        if response is not None:
            has_head, heard_at = response.has_head, response.heard_at
        if not deadlines.over:
            self._look()
        elif deadlines.client_stalls:
            reset(self.client.transport)
        elif response is not None and response.committed:
            response.interrupt(None if deadlines.caller_gave_up else Failure.stalled)
        elif self.queued and self.context.queue.place(self):
            self._give_up(FULL)
        elif attempts is None or not attempts.mirror:
            self._refuse(Problem(408, "request_timeout", "The request took too long to arrive."))
        elif not deadlines.blames_mirror:
            self._settle("client_abort")
            self.withhold(too_slow())
        elif not deadlines.extend(
            attempts.answered_at, heard_at, attempts.usual_seconds, has_head=has_head
        ):
            failure = response.failure_when_late if response is not None else Failure.timeout
            self.unanswered(failure, "it did not answer in time")

    def _look(self) -> None:
        """It has been silent for a while: leave a suspect mirror, or tell the client."""
        assert self.policy is not None, "nothing is looked at before"
        response, attempts, deadlines = self._response, self._attempts, self.deadlines
        if response is not None and response.committed:
            if response.between_events:
                response.send_keepalive(keepalive_words(self.context, self.policy, self.id))
            deadlines.look_after_comment()
        elif (
            response is not None
            and attempts is not None
            and attempts.should_leave(deadlines.sent_at, response.commit)
        ):
            self.unanswered(Failure.slow, "it takes suspiciously long")
        else:
            if deadlines.comment_due:
                place = self.context.queue.place(self)
                words = chunk(keepalive_words(self.context, self.policy, self.id, place))
                if not self.head_sent:  # another mirror can still give the content
                    self.head_sent = True
                    words = stream_head(self.context, self.head, self.id, place) + words
                    if response is not None:
                        response.note_head_sent()
                self.context.write_batch.write(self.client.transport, words)
                deadlines.commented()
            deadlines.look_later(awaits_response=response is not None)

    def end_soon(self, seconds: float) -> None:
        """End within this time if the mirror has been removed."""
        if self._attempts is not None and self._attempts.on_removed_mirror:
            self.deadlines.end_within(seconds)

    def end_if_revoked(self) -> None:
        """Issued keys were revoked: a WebSocket of one ends, as it might stay for hours."""
        request, context, response = self.request, self.context, self._response
        if request.caller is not _ISSUED or not self.head.websocket or response is None:
            return
        if request.issued(context.keys, context.wall()) is None:
            response.end_revoked()

    def abort(self) -> None:
        """End after a fault of ours: cut the client's connection, which ends the rest."""
        self.client.cut()

    # Ends

    def _tell(self, reply: bytes | Problem | None, status: int = 200, end: str = "success") -> bool:
        """Give an answer that was made here; False if there is none."""
        if isinstance(reply, Problem):
            self._refuse(reply)
        elif reply is not None:
            self.context.write_batch.write(self.client.transport, reply)
            self._finish(end, self.may_keep_alive(), status)
        return reply is not None

    def may_keep_alive(self) -> bool:
        """True if the client's connection can carry another request."""
        head, context = self.head, self.context
        if not head.keep_alive or head.websocket or context.draining or context.connections.full:
            return False
        return self.body.complete or not head.has_body

    def _refuse(self, problem: Problem) -> None:
        if problem is FULL:
            problem = queue_full(self.context, self.queued)
        self.context.stats.rejected(problem.code)
        blame(self.context, self.request, self.head, problem)
        outcome = outcome_of(problem.status)
        if self.head_sent:
            self.end_stream(interruption(self.dialect, problem.message, problem.code), outcome)
            return
        out = local_answer(self.context, self.head, self.id, problem, self.may_keep_alive())
        self._tell(out, problem.status, outcome)

    def end_stream(self, words: bytes, outcome: str) -> None:
        """End a stream that has begun but has no content; it must not look whole."""
        write_batch, transport = self.context.write_batch, self.client.transport
        write_batch.write(transport, chunk(words))
        write_batch.flush()
        close(transport)
        self._finish(outcome, keep_alive=False, status=200)

    def _finish(
        self, outcome: str, keep_alive: bool, status: int = 0, now: float | None = None
    ) -> None:
        if self._finished:
            return
        self._finished = True
        self.deadlines.stop()
        try:
            self._count(outcome, status, self.context.clock() if now is None else now)
            self._settle(outcome)
        except Exception as error:  # what is held must be given back all the same
            report_fault("the end of a request", error)
            keep_alive = False
        self._release()
        self.client.exchange_done(keep_alive)

    def _count(self, outcome: str, status: int, now: float) -> None:
        context, response, attempts = self.context, self._response, self._attempts
        mirror, stream, sent = "", False, 0
        if response is not None and response.committed:
            mirror, status, stream = response.mirror, response.status, response.stream
            sent = response.body_bytes
            if sent >= LONG and outcome == "success":
                context.traffic.completed(mirror, sent)
        began, method, target = self._began, self.head.method, self.request.shown
        seconds, received = now - began, self.body.size
        failed = attempts.count_last(answered=bool(mirror)) if attempts is not None else 0
        alike = (mirror, self.endpoint, status, outcome, stream)
        context.stats.finished(self.id, alike, failed > 0, seconds, received, sent)
        context.recent_requests.finished(self.id, began, seconds, alike, attempts, method, target)
        if context.access is not None or context.tracer is not None:
            address, sizes = self.request.client.address, (received, sent)
            end = Finished(self.id, address, method, target, *alike, failed, seconds, *sizes)
            if context.access is not None:
                context.access(end)
            if attempts is not None:
                attempts.record(end, now)

    def _settle(self, outcome: str) -> None:
        """Charge the use of a mirror's key, once; a response that its client left is read on."""
        metered, response, attempts = self.metered, self._response, self._attempts
        if metered is None:
            return
        sent, received, abandoned = False, self.body.size, self.context.abandoned
        if response is not None and attempts is not None and self.body.complete:
            sent = True
            if outcome == "client_abort" and abandoned.takes(metered):
                detached = response.detach()
                if detached is not None:
                    self.metered = None
                    abandoned.take(detached, attempts.hand_over(), metered, received)
                    return
        metered.settle(outcome, self.context.wall(), sent=sent, received=received)

    def _leave_mirror(self) -> None:
        if self._response is not None:
            self._response.leave()
            self._response = None

    def _release(self) -> None:
        """Give back all that is held, here and of the mirror, whatever raises on the way."""
        context = self.context
        try:
            if self.queued:
                context.queue.leave(self)
            self.body.keep_for_good(self)
            context.exchanges.discard(self)
            context.limits.leave(self._place)
            self.body.drop()
        finally:
            try:
                self._leave_mirror()
            finally:
                if self._attempts is not None:
                    self._attempts.give_back()
