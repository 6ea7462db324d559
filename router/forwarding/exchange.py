"""One request's way: admit, collect, attempt mirrors, relay the answer, give everything back.

    head ─► begin ─► (body collected) ─► attempt ─► connection ─► reply ─► finish
                                          ▲  │ no answer, and the client has nothing of one
                                          └──┘ another mirror, or a new connection (`attempts.py`)

Everything but opening a connection happens in callbacks, from the client's parser to the mirror's
and back, without a task. What an exchange holds (a request in flight on a mirror, a connection, a
place on the wheel) is given back in `_finish`, which runs exactly once.
"""

from __future__ import annotations

from functools import partial

from router.admission.credentials import Caller
from router.admission.errors import too_large
from router.admission.key_scope import NO_MEMORY
from router.admission.limits import RECHECKS, TOO_MANY_OPEN
from router.forwarding.admission import blame, entry, refusal
from router.forwarding.body import EARLY
from router.forwarding.local_response import local_answer
from router.forwarding.pursuit import Pursuit
from router.forwarding.response import outcome_of
from router.forwarding.response_writer import close
from router.forwarding.stats import Finished
from router.upstream.dialect import interruption
from router.upstream.path_stats import LONG
from router.wire import cors
from router.wire.chunked import chunk
from router.wire.error_response import CONTINUE, Problem, render
from router.wire.faults import guarded, report_fault
from router.wire.timer_wheel import NEVER

_ISSUED = Caller.issued


class Exchange(Pursuit):
    """A request from its head to the end of its answer: the client's side, and the ends."""

    __slots__ = ()

    # From the client

    def whole(self, data: bytes) -> None:
        """The request is complete from the beginning, with this body."""
        self.body.keep_whole(data)

    def begin(self) -> None:
        """It is this request's turn on its connection."""
        context = self.context
        self.deadline = self._limit = self._ends_at = context.wheel.now + context.timeouts.total
        context.exchanges.add(self)
        self._enter(RECHECKS)

    def _enter(self, rechecks: tuple[float, ...]) -> None:
        """Take a place, or wait a moment for one that is being given back elsewhere."""
        context = self.context
        if self._finished:
            return
        looks_again = bool(rechecks) and context.limits.may_wait(self.asker)
        self._place, problem = entry(context, self.head, self._request, not looks_again)
        if problem is None:
            if rechecks is not RECHECKS:
                self.client.resume_client()
            self._admit()
        elif looks_again and problem.code == TOO_MANY_OPEN:
            self.client.pause_client()
            again = partial(self._enter, rechecks[1:])
            look = partial(guarded, "a second look", again, self.abort)
            context.limits.wait(self.asker, rechecks[0], look)
        else:
            self._refuse(problem)

    def _admit(self) -> None:
        context = self.context
        if self.head.method == b"OPTIONS":
            fields = cors.preflight_fields(self.head.look, context.router.cors_origins)
            ending = [] if self.may_keep_alive else [(b"connection", b"close")]
            self._answer(204, render(204, [*fields, *ending], None), "success")
            return
        problem = refusal(context, self.head.length, self._request)
        if problem is not None:
            self._refuse(problem)
            return
        self._admitted = True
        if b"expect" in self.head.look and not self.body.complete:
            self._invite_body()
        if self.body.complete or not self.body.collected:
            self._attempt(context.clock())

    def _invite_body(self) -> None:
        expects = self.head.look[b"expect"].lower() == b"100-continue"
        if expects and not self.head.http10 and not self.body.size:
            self.context.write_batch.write(self.client.transport, CONTINUE)

    def request_body(self, data: bytes) -> None:
        """A piece of the request's body."""
        body = self.body
        body.size += len(data)
        if self._finished:
            return
        if self.metered is not None:
            self.metered.upload(data)
        if body.size > self.context.router.max_body:
            self._refuse_or_cut(too_large(self.context.router.max_body))
        elif self._reply is not None:
            self._reply.write(body.framed(data))
        else:
            self._keep(data)

    def _keep(self, data: bytes) -> None:
        body = self.body
        was_collected = body.collected
        if not body.keep(data):
            self.client.pause_client()
        if was_collected and self._admitted:
            if not body.collected:
                self._leave_memory()
                self._attempt(self.context.clock())
            elif body.size > EARLY:
                self.context.memory.arrives(self.asker.key, self)

    def crowded_out(self) -> None:
        """There is no memory for it any more, since its client has most of it."""
        self._refuse(NO_MEMORY)

    def _leave_memory(self) -> None:
        """Keep the body for good: its memory cannot be asked back any more."""
        if self.body.size > EARLY:
            self.context.memory.arrived(self.asker.key, self)

    def request_end(self) -> None:
        """The request is complete."""
        self.body.complete = True
        self._leave_memory()
        self.complete_at = now = self.context.clock()
        self._quiet_since = self.context.wheel.now
        if self._finished or not self._admitted:
            return
        if self._reply is not None:
            self._reply.write(self.body.ending)
            self._await_answer()
        elif self.body.collected:
            self._attempt(now)

    def tunnel_data(self, data: bytes) -> None:
        """Take bytes that the client sent behind a WebSocket request before the mirror has
        switched."""
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
        self._stalls_since = self.context.wheel.now
        self.wait(self.context.timeouts.write_stall)
        if self._reply is not None:
            self._reply.pause()

    def client_drained(self) -> None:
        """The client takes bytes again."""
        self._stalled = self.client_has_stalled
        self._stalls_since = NEVER
        self.wait(self.context.timeouts.idle)
        if self._reply is not None:
            self._reply.resume()

    # Ends

    def answered(self, outcome: str, keep_alive: bool) -> None:
        """The client has the answer, or as much of it as there will be."""
        if self._finished:
            return  # a tunnel that was ended here is gone
        now = self.context.clock()
        if outcome == "success" and self._attempts is not None:
            self._attempts.succeeded(now)
        self._finish(outcome, keep_alive, now=now)

    def end_soon(self, seconds: float) -> None:
        """End within this time if the mirror has been removed."""
        if self._attempts is not None and self._attempts.on_removed_mirror:
            self._ends_at = min(self._ends_at, self.context.wheel.now + seconds)
            self._limit = min(self._limit, self._ends_at)
            self.deadline = min(self.deadline, self._limit)

    def end_if_revoked(self) -> None:
        """Issued keys were revoked: a WebSocket of one ends, as it might stay for hours."""
        request, context, reply = self._request, self.context, self._reply
        if request.caller is not _ISSUED or not self.head.websocket or reply is None:
            return
        if request.issued(context.keys, context.wall()) is None:
            reply.end_revoked()

    def _refuse_or_cut(self, problem: Problem) -> None:
        if self._committed and self._reply is not None:
            self._reply.cut()
            self._finish("client_error", keep_alive=False)
        else:
            self._refuse(problem)

    def _refuse(self, problem: Problem) -> None:
        self.context.stats.rejected(problem.code)
        blame(self.context, self._request, self.head, problem)
        outcome = outcome_of(problem.status)
        if self.told:
            message = interruption(self.dialect, problem.message, problem.code)
            self._end_stream(message, outcome)
            return
        out = local_answer(self.context, self.head, self.id, problem, self.may_keep_alive)
        self._answer(problem.status, out, outcome)

    def _end_stream(self, words: bytes, outcome: str) -> None:
        """The last words in a stream that has begun but has no content; it must not look whole."""
        write_batch, transport = self.context.write_batch, self.client.transport
        write_batch.write(transport, chunk(words))
        write_batch.flush()
        close(transport)
        self._finish(outcome, keep_alive=False, status=200)

    def _answer(self, status: int, out: bytes, outcome: str) -> None:
        self.context.write_batch.write(self.client.transport, out)
        self._finish(outcome, self.may_keep_alive, status)

    def _finish(
        self, outcome: str, keep_alive: bool, status: int = 0, now: float | None = None
    ) -> None:
        if self._finished:
            return
        self._finished = True
        self.deadline = NEVER
        try:
            self._count(outcome, status, self.context.clock() if now is None else now)
            self._settle(outcome)
        except Exception as error:  # what is held must be given back all the same
            report_fault("the end of a request", error)
            keep_alive = False
        self._release()
        self.client.exchange_done(keep_alive)

    def _release(self) -> None:
        """Give back all that is held: what is counted here, and whatever becomes of that, what is
        held of the mirror."""
        context = self.context
        try:
            if self._waits:
                context.line.leave(self)
            self._leave_memory()
            context.exchanges.discard(self)
            context.limits.leave(self._place)
            self.body.drop()
        finally:
            try:
                self._leave_mirror()
            finally:
                if self._attempts is not None:
                    self._attempts.give_back()

    def _count(self, outcome: str, status: int, now: float) -> None:
        context, reply = self.context, self._reply
        mirror, stream, sent = "", False, 0
        if reply is not None and reply.committed:
            mirror, status, stream = reply.mirror, reply.status, reply.stream
            sent = reply.body_bytes
            if sent >= LONG and outcome == "success":
                context.traffic.completed(mirror, sent)
        seconds = now - self._began
        received, failed = self.body.size, self.failed_attempts
        alike = (mirror, self.endpoint, status, outcome, stream)
        context.stats.finished(alike, failed > 0, seconds, received, sent)
        method, target = self.head.method, self._request.target
        context.recent_requests.finished(
            self.id, self._began, seconds, alike, self._attempts, method, target
        )
        if context.access is not None:
            end = Finished(
                self.id,
                self.asker.address,
                method,
                target,
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
            context.access(end)
