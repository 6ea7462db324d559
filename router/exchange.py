"""One request's way: admit, collect, attempt mirrors, relay the answer, give everything back.

    head ─► begin ─► (body collected) ─► attempt ─► connection ─► reply ─► finish
                                          ▲  │ no answer, and the client has nothing of one
                                          └──┘ another mirror, or a new connection (`attempts.py`)

Everything but opening a connection happens in callbacks, from the client's parser to the mirror's
and back, without a task. What an exchange holds (a request in flight on a mirror, a connection, a
place on the wheel) is given back in `_finish`, which runs exactly once.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

from router.admission.admit import blame, entry, refusal
from router.admission.clients import Client
from router.admission.keys import Caller
from router.admission.limits import RECHECKS, TOO_MANY_OPEN
from router.admission.refusals import too_large
from router.admission.table import UNCOUNTED
from router.asked import Asked
from router.asker import ClientSide
from router.attempts import Attempts
from router.body import EARLY, RequestBody
from router.choice.failure import Failure
from router.choice.retry import Commit
from router.choice.timeouts import SOFT_LEAST
from router.plan import Plan
from router.plane import Plane
from router.problems import FULL, too_slow
from router.relay import reset
from router.reply import Reply, outcome_of
from router.respond import local_answer, stream_begins
from router.stream.dialect import Dialect, error_event, interruption, keepalive
from router.tally import Finished
from router.traffic import LONG
from router.upstreams import Upstream
from router.wire import cors
from router.wire.answer import CONTINUE, Problem, render
from router.wire.chunks import chunk
from router.wire.outgoing import render_head
from router.wire.request import RequestHead
from router.wire.response import ResponseHead
from router.wire.upstream import UpstreamConnection
from router.wire.wheel import NEVER

_OWN = Caller.own
_OTHER = Dialect.other
_AT_ONCE = 0.001
"""Seconds within which a request was complete from the beginning: no need to note that it is."""
_LOOK_AGAIN = 1.0
"""Seconds after which a mirror that takes long is looked at again."""


class Exchange:
    """A request from its head to the end of its answer."""

    __slots__ = (
        "_admitted",
        "_asked",
        "_attempts",
        "_began",
        "_client_stalls",
        "_ends_at",
        "_finished",
        "_limit",
        "_place",
        "_plan",
        "_quiet_since",
        "_remind_at",
        "_reply",
        "_sent_at",
        "_silence",
        "_waits",
        "body",
        "client",
        "complete_at",
        "deadline",
        "early_tunnel",
        "endpoint",
        "head",
        "id",
        "plane",
        "told",
    )

    def __init__(self, plane: Plane, client: ClientSide, head: RequestHead, asked: Asked) -> None:
        self.plane = plane
        self.client = client
        self.head = head
        self.id = plane.next_id()
        self.body = RequestBody(head, asked.is_json, plane.router.replay_body, plane.memory)
        self.endpoint = asked.endpoint
        self.complete_at = self._began = self._sent_at = plane.clock()
        self.deadline = self._limit = self._ends_at = self._remind_at = NEVER
        self._quiet_since = plane.wheel.now
        self.told = False
        self.early_tunnel: list[bytes] = []
        self._asked = asked
        self._admitted = False
        self._plan: Plan | None = None
        self._attempts: Attempts | None = None
        self._reply: Reply | None = None
        self._client_stalls = False
        self._finished = False
        self._place = UNCOUNTED
        self._silence = NEVER
        """Seconds of silence after which the client is told that we are still at it."""
        self._waits = False
        """Whether it stands in line because every mirror is full."""

    def __repr__(self) -> str:
        return f"<Exchange {self.id} {self.endpoint} {self._attempts}>"

    # From the client

    def begin(self) -> None:
        """It is this request's turn on its connection."""
        plane = self.plane
        self.deadline = self._limit = self._ends_at = plane.wheel.now + plane.timeouts.total
        plane.wheel.add(self)
        plane.exchanges.add(self)
        self._enter(RECHECKS)

    def _enter(self, rechecks: tuple[float, ...]) -> None:
        """Take a place, or wait a moment for one that is being given back elsewhere."""
        plane = self.plane
        if self._finished:
            return
        self._place, problem = entry(plane, self.head, self.asker)
        if problem is None:
            if rechecks is not RECHECKS:
                self.client.resume_client()
            self._admit()
        elif rechecks and problem.code == TOO_MANY_OPEN and plane.limits.may_wait():
            self.client.pause_client()
            plane.limits.wait(rechecks[0], partial(self._enter, rechecks[1:]))
        else:
            self._refuse(problem)

    def _admit(self) -> None:
        plane = self.plane
        if self.head.method == b"OPTIONS":
            fields = cors.preflight_fields(self.head.look, plane.router.cors_origins)
            ending = [] if self.may_keep_alive else [(b"connection", b"close")]
            self._answer(204, render(204, [*fields, *ending], None), "success")
            return
        problem = refusal(plane, self.head.length, self._asked.credentials)
        if problem is not None:
            self._refuse(problem)
            return
        self._admitted = True
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
        if was_collected and not self.body.collected and self._admitted:
            self._attempt()

    def request_end(self) -> None:
        """The request is complete."""
        self.body.complete = True
        self.complete_at = self.plane.clock()
        self._quiet_since = self.plane.wheel.now
        if self._finished or not self._admitted:
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
        if self._attempts is None:
            self._attempts = self._first_attempt()
        self.wait(NEVER)  # opening has limits of its own; the last attempt's are over
        problem = self._start(self._attempts)
        if problem is FULL and self.plane.line.join(self):
            self._waits = True
            self._remind_at = self._next_look
            self.deadline = min(self._limit, self._remind_at)
        elif problem is not None:
            self._refuse(problem)

    def _start(self, attempts: Attempts) -> Problem | None:
        pooled = self.body.collected and self._asked.may_be_stale
        return attempts.start(pooled, self.body.collected, self._send, self.unanswered)

    def go_on(self) -> bool:
        """Ask for room again; False if there is none yet."""
        attempts = self._attempts
        assert attempts is not None
        attempts.another_turn()
        problem = self._start(attempts)
        if problem is FULL:
            return False
        self._waits = False
        if problem is not None:
            self._refuse(problem)
        return True

    def waited_too_long(self) -> None:
        """No mirror had room in time."""
        self._waits = False
        self._refuse(FULL)

    def _first_attempt(self) -> Attempts:
        plane, now = self.plane, self.plane.clock()
        plan = self._plan = plane.planner.plan(self._asked, self.body, now)
        self._ends_at = min(self._ends_at, plane.wheel.now + plan.patience.total)
        if plan.stream and plan.dialect is not _OTHER and not self.head.http10:
            rules = plane.router.stream
            self._silence = rules.keepalive if rules.keepalive_style != "off" else NEVER
        return Attempts(plane, self._asked, self.body, plan, now, now + plan.patience.total)

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

    # From the reply

    @property
    def dialect(self) -> Dialect:
        """What the answer's events are like."""
        return self._plan.dialect if self._plan is not None else Dialect.other

    @property
    def failed_attempts(self) -> int:
        """How many attempts have failed so far."""
        return len(self._attempts.failed) if self._attempts is not None else 0

    @property
    def asker(self) -> Client:
        """Whom it is for, which may be somebody behind the peer."""
        return self._asked.client

    @property
    def with_mirror_key(self) -> bool:
        """Whether the mirror gets its own key instead of the caller's."""
        return self._asked.credentials.caller is not _OWN

    @property
    def may_keep_alive(self) -> bool:
        """Whether the client's connection can carry another request."""
        head = self.head
        whole = self.body.complete or not head.has_body
        return head.keep_alive and whole and not head.websocket and self.plane.keeps_connections

    def content(self) -> None:
        """The first of the answer goes to the client, and more may follow."""
        plane, plan, attempts, reply = self.plane, self._plan, self._attempts, self._reply
        if attempts is not None and plan is not None and reply is not None and reply.status < 400:
            now = plane.clock()
            attempts.content(now)
            if plan.stream:
                model = plan.model if plan.model in plane.models else "other"
                plane.tally.first_token(attempts.mirror, model, now - self.complete_at)
        self.heard()

    def unanswered(self, failure: Failure, detail: str, head: ResponseHead | None = None) -> None:
        """An attempt ended without an answer: another one, or an error."""
        attempts = self._attempts
        assert attempts is not None
        commit, look = self._commit, head.table() if head is not None else {}
        self._leave_mirror()
        if attempts.failed_with(failure, detail, commit, self.body.collected, look):
            self._attempt()
        else:
            self._refuse(attempts.give_up())

    @property
    def _commit(self) -> Commit:
        if self._reply is None:
            return Commit.C0
        if self.told:
            return Commit.C2S
        return Commit.C2 if self._reply.has_head else Commit.C1

    def leaves(self, failure: Failure, detail: str, head: ResponseHead) -> bool:
        """The mirror answers with an error: whether another one is tried instead."""
        attempts = self._attempts
        assert attempts is not None
        if not attempts.leaves(failure, detail, self.body.collected, head.table()):
            return False
        self._leave_mirror()
        self._attempt()
        return True

    def limited_by_key(self, head: ResponseHead) -> None:
        """The caller's own key has reached its limit there."""
        if self._attempts is not None:
            self._attempts.limited_by_key(head.table())

    def refused_in_stream(self, status: int, error: Mapping[str, Any] | None) -> None:
        """The client has a head already, and this error instead of an answer."""
        fails = status >= 400
        what = f"an error ({status})" if fails else "what is no stream"
        shown = error or {"message": f"The mirror answered with {what}.", "code": None}
        outcome = outcome_of(status) if fails else "upstream_error"
        self._end_stream(error_event(self.dialect, shown), outcome)

    def answered(self, outcome: str, keep_alive: bool) -> None:
        """The client has the answer, or as much of it as there will be."""
        if outcome == "success" and self._attempts is not None:
            self._attempts.succeeded(self.plane.clock())
        self._finish(outcome, keep_alive)

    def cut(self, failure: Failure) -> None:
        """The answer has broken off after the client had its beginning."""
        reply = self._reply
        if self._attempts is None or reply is None:
            return
        self._attempts.cut(failure)
        self.plane.tally.interrupted(reply.mirror, failure)
        self.plane.traffic.stalled(reply.mirror, reply.body_bytes)

    # Time

    def wait(self, seconds: float) -> None:
        """The next thing must happen within this time."""
        limit, ends_at, remind_at = self.plane.wheel.now + seconds, self._ends_at, self._remind_at
        self._limit = limit = limit if limit < ends_at else ends_at  # min() costs three times that
        self.deadline = limit if limit < remind_at else remind_at

    def wait_no_more(self) -> None:
        """A tunnel may stay as long as both sides like."""
        self.deadline = self._limit = self._ends_at = self._remind_at = NEVER

    def _await_answer(self) -> None:
        """All is sent; now it is the mirror's turn."""
        plan, attempts = self._plan, self._attempts
        assert plan is not None
        assert attempts is not None
        if self._committed:
            return
        now, tell_at = self.plane.wheel.now + SOFT_LEAST, self._quiet_since + self._silence
        self._remind_at = now if now < tell_at else tell_at
        self._sent_at = self.plane.clock()
        if self._sent_at - self._began > _AT_ONCE:
            attempts.sent(self._sent_at)
        self.wait(plan.patience.head)

    def head_came(self) -> None:
        """A head came; now content must."""
        assert self._plan is not None
        waited = self.plane.clock() - self._sent_at
        self.wait(max(self._plan.patience.content - waited, 0.0))

    def heard(self) -> None:
        """A piece of the answer came; the next must come in time."""
        self._remind_at = self.plane.wheel.now + self._silence
        plan = self._plan
        self.wait(plan.patience.idle if plan is not None else self.plane.timeouts.idle)

    def expired(self) -> None:
        """The wheel's word: the deadline has passed."""
        now = self.plane.wheel.now
        if now < self._limit:
            self._remind(now)
        elif self._client_stalls:
            reset(self.client.transport)
        elif self._reply is not None and self._reply.committed:
            self._reply.interrupt(Failure.stalled)
        elif self._attempts is not None and self._attempts.mirror:
            self._too_late()
        else:
            self._refuse(Problem(408, "request_timeout", "The request took too long to arrive."))

    def _too_late(self) -> None:
        """The mirror has had its time; or the caller has, which is not the mirror's fault."""
        assert self._plan is not None
        head = self._reply is not None and self._reply.has_head
        waited = self.plane.clock() - self._sent_at
        if self._plan.patience.blames(waited):
            failure = Failure.content_timeout if head else Failure.timeout
            self.unanswered(failure, "it did not answer in time")
        else:
            self._leave_mirror()
            self._refuse(too_slow())

    def _remind(self, now: float) -> None:
        """It has been silent for a while: is the mirror suspect? Else tell the client."""
        silence = self._silence
        if self._committed:
            if self._reply is not None and self._reply.between_events:
                self._reply.remind(self._reminder)
            self._remind_at = now + silence
        elif self._takes_suspiciously_long:
            self.unanswered(Failure.slow, "it takes suspiciously long")
            return
        else:
            if now - self._quiet_since >= silence:
                self._tell()
                self._quiet_since = now
            self._remind_at = self._next_look
        self.deadline = min(self._limit, self._remind_at)

    @property
    def _takes_suspiciously_long(self) -> bool:
        attempts = self._attempts
        if attempts is None or self._reply is None:
            return False
        return attempts.should_leave(self._sent_at, self._commit, self.body.collected)

    @property
    def _next_look(self) -> float:
        """When to tell the client next, whoever is tried meanwhile, or to look at the mirror."""
        tell_at = self._quiet_since + self._silence
        if self._reply is None:
            return tell_at
        waited = self.plane.clock() - self._sent_at
        return min(tell_at, self.plane.wheel.now + max(SOFT_LEAST - waited, _LOOK_AGAIN))

    def _tell(self) -> None:
        """Begin the answer with comments: another mirror can still give the content."""
        plane, transport = self.plane, self.client.transport
        if not self.told:
            self.told = True
            plane.outbox.write(transport, stream_begins(plane, self.head, self.id))
            if self._reply is not None:
                self._reply.begun()
        plane.outbox.write(transport, chunk(self._reminder))

    @property
    def _reminder(self) -> bytes:
        style = self.plane.router.stream.keepalive_style
        return keepalive(self.dialect, "chunk" if style == "chunk" else "comment")

    # Ends

    @property
    def _committed(self) -> bool:
        return self._reply is not None and self._reply.committed

    def end_soon(self, seconds: float) -> None:
        """End within this time if the mirror has been removed."""
        if self._attempts is not None and self._attempts.on_removed_mirror:
            self._ends_at = min(self._ends_at, self.plane.wheel.now + seconds)
            self._limit = min(self._limit, self._ends_at)
            self.deadline = min(self.deadline, self._limit)

    def _refuse_or_cut(self, problem: Problem) -> None:
        if self._committed and self._reply is not None:
            self._reply.cut()
            self._finish("client_error", keep_alive=False)
        else:
            self._refuse(problem)

    def _refuse(self, problem: Problem) -> None:
        self.plane.tally.rejected(problem.code)
        blame(self.plane, self._asked, self.head, problem)
        outcome = outcome_of(problem.status)
        if self.told:
            message = interruption(self.dialect, problem.message, problem.code)
            self._end_stream(message, outcome)
            return
        out = local_answer(self.plane, self.head, self.id, problem, self.may_keep_alive)
        self._answer(problem.status, out, outcome)

    def _end_stream(self, words: bytes, outcome: str) -> None:
        """The last words in a stream that has begun but has no content; it must not look whole."""
        outbox, transport = self.plane.outbox, self.client.transport
        outbox.write(transport, chunk(words))
        outbox.flush()
        transport.close()
        self._finish(outcome, keep_alive=False, status=200)

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
        if self._waits:
            self.plane.line.leave(self)
        self.plane.wheel.remove(self)
        self.plane.exchanges.discard(self)
        self._count(outcome, status)
        self._leave_mirror()
        if self._attempts is not None:
            self._attempts.give_back()
        self.plane.limits.leave(self._place)
        self.body.drop()
        self.client.exchange_done(keep_alive)

    def _count(self, outcome: str, status: int) -> None:
        plane, reply = self.plane, self._reply
        mirror, stream, sent = "", False, 0
        if reply is not None and reply.committed:
            mirror, status, stream = reply.mirror, reply.status, reply.stream
            sent = reply.body_bytes
            if sent >= LONG and outcome == "success":
                plane.traffic.completed(mirror, sent)
        seconds = plane.clock() - self._began
        received, failed = self.body.size, self.failed_attempts
        alike = (mirror, self.endpoint, status, outcome, stream)
        plane.tally.finished(alike, failed > 0, seconds, received, sent)
        method, target = self.head.method, self._asked.target
        plane.trail.finished(self.id, self._began, seconds, alike, self._attempts, method, target)
        if plane.access is not None:
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
            plane.access(end)
