"""Deadlines of an exchange, and comments to its client in a silence.

One deadline on the worker's wheel serves all: the next thing that must happen, a look at a mirror
that takes long, a comment for a client who waits. The state of an exchange is declared here, at the
bottom of its three layers: `Watched`, `Pursuit`, `Exchange`.
"""

from __future__ import annotations

from router.admission.client_address import Client
from router.admission.credentials import Caller, Credentials
from router.admission.shared_table import UNCOUNTED
from router.balancing.failure import Failure
from router.balancing.retry import Commit
from router.balancing.timeouts import SOFT_LEAST
from router.forwarding.asker import ClientSide
from router.forwarding.attempts import Attempts
from router.forwarding.body import RequestBody
from router.forwarding.context import WorkerContext
from router.forwarding.local_response import stream_begins, too_slow
from router.forwarding.request_context import RequestContext
from router.forwarding.request_policy import RequestPolicy
from router.forwarding.response import Response
from router.forwarding.response_writer import reset
from router.metering.metered_request import MeteredRequest
from router.metering.websocket_meter import WebSocketMeter
from router.upstream.dialect import Dialect, keepalive
from router.wire.chunked import chunk
from router.wire.error_response import Problem
from router.wire.request import RequestHead
from router.wire.response import ResponseHead
from router.wire.timer_wheel import NEVER

_OWN = Caller.own
_OTHER = Dialect.other
_AT_ONCE = 0.001
"""Seconds within which a request was complete from the beginning: no need to note that it is."""
STALLED_FOR = 10.0
"""Seconds after which a client that takes nothing is the cause when its mirror breaks off: servers
wait 30 to 60 s for a reader (nginx's `send_timeout`), some less."""
_LOOK_AGAIN = 1.0
"""Seconds after which a mirror that takes long is looked at again."""


class Watched:
    """The state of an exchange, and its time."""

    __slots__ = (
        "_admitted",
        "_attempts",
        "_began",
        "_ends_at",
        "_finished",
        "_limit",
        "_place",
        "_policy",
        "_quiet_since",
        "_remind_at",
        "_reply",
        "_request",
        "_sent_at",
        "_silence",
        "_stalled",
        "_stalls_since",
        "_waits",
        "body",
        "client",
        "complete_at",
        "context",
        "deadline",
        "dialogue",
        "early_tunnel",
        "endpoint",
        "head",
        "id",
        "metered",
        "told",
    )

    def __init__(
        self, context: WorkerContext, client: ClientSide, head: RequestHead, request: RequestContext
    ) -> None:
        self.context = context
        self.client = client
        self.head = head
        self.id = context.next_id()
        owner, most = request.client.key, context.router.replay_body
        self.body = RequestBody(head, request.is_json, most, context.memory, owner)
        self.endpoint = request.endpoint
        self.complete_at = self._began = self._sent_at = context.clock()
        self.deadline = self._limit = self._ends_at = self._remind_at = NEVER
        self._quiet_since = context.wheel.now
        self.told = False
        self.early_tunnel: list[bytes] = []
        self.metered: MeteredRequest | None = None
        """What counts the use of a mirror's key, if that is lent."""
        self.dialogue: WebSocketMeter | None = None
        """The same of a WebSocket."""
        self._request = request
        self._admitted = False
        self._policy: RequestPolicy | None = None
        self._attempts: Attempts | None = None
        self._reply: Response | None = None
        self._stalls_since = NEVER
        """When the client began to take no more."""
        self._stalled = False
        self._finished = False
        self._place = UNCOUNTED
        self._silence = NEVER
        """Seconds of silence after which the client is told that we are still at it."""
        self._waits = False
        """True if it stands in line because every mirror is full."""

    def __repr__(self) -> str:
        return f"<Exchange {self.id.decode()} {self.endpoint} {self._attempts}>"

    # What lies above

    def unanswered(self, failure: Failure, detail: str, head: ResponseHead | None = None) -> None:
        """An attempt ended without an answer."""
        raise NotImplementedError

    def _refuse(self, problem: Problem) -> None:
        raise NotImplementedError

    def abort(self) -> None:
        """End after a fault of ours: the client's connection is cut, and with it all this holds."""
        self.client.cut()

    # What it is about

    @property
    def dialect(self) -> Dialect:
        """The dialect of the response's events."""
        return self._policy.dialect if self._policy is not None else Dialect.other

    @property
    def admitted(self) -> bool:
        """True if it may go to a mirror."""
        return self._admitted

    @property
    def asker(self) -> Client:
        """The client of the request, perhaps behind the peer."""
        return self._request.client

    @property
    def failed_attempts(self) -> int:
        """Number of attempts that have failed so far."""
        return len(self._attempts.failed) if self._attempts is not None else 0

    @property
    def credentials(self) -> Credentials:
        """The keys that the client showed."""
        return self._request.credentials

    @property
    def with_mirror_key(self) -> bool:
        """True if the mirror gets its own key instead of the caller's."""
        return self._request.caller is not _OWN

    @property
    def may_keep_alive(self) -> bool:
        """True if the client's connection can carry another request."""
        head = self.head
        if not head.keep_alive or head.websocket or not self.context.keeps_connections:
            return False
        return self.body.complete or not head.has_body

    @property
    def client_stalls(self) -> bool:
        """True if the client takes no more for now."""
        return self._stalls_since < NEVER

    @property
    def _committed(self) -> bool:
        return self._reply is not None and self._reply.committed

    @property
    def _commit(self) -> Commit:
        if self._reply is None:
            return Commit.C0
        if self.told:
            return Commit.C2S
        return Commit.C2 if self._reply.has_head else Commit.C1

    def _leave_mirror(self) -> None:
        if self._reply is not None:
            self._reply.leave()
            self._reply = None

    def _settle(self, outcome: str) -> None:
        """Account for what was used of a mirror's key, once; what a client has left is read on."""
        metered, reply, attempts = self.metered, self._reply, self._attempts
        if metered is None:
            return
        sent, received = False, self.body.size
        if reply is not None and attempts is not None and self.body.complete:
            sent, left = True, outcome == "client_abort"
            if left and self.context.abandoned.take(reply, attempts, metered, received):
                self.metered = None
                return
        metered.settle(outcome, self.context.wall(), sent=sent, received=received)

    # Time

    def _follow(self, policy: RequestPolicy) -> None:
        """Apply the request's policy: its timeouts and its keepalive comments."""
        self._policy, context = policy, self.context
        self._ends_at = min(self._ends_at, context.wheel.now + policy.patience.total)
        if policy.stream and policy.dialect is not _OTHER and not self.head.http10:
            rules = context.router.stream
            self._silence = rules.keepalive if rules.keepalive_style != "off" else NEVER

    def wait(self, seconds: float) -> None:
        """The next thing must happen within this time."""
        limit, ends_at, remind_at = self.context.wheel.now + seconds, self._ends_at, self._remind_at
        self._limit = limit = limit if limit < ends_at else ends_at  # min() costs three times that
        self.deadline = limit if limit < remind_at else remind_at

    def wait_no_more(self) -> None:
        """A tunnel may stay as long as both sides like."""
        self.deadline = self._limit = self._ends_at = self._remind_at = NEVER

    def _await_answer(self) -> None:
        """All is sent; now it is the mirror's turn."""
        policy, attempts = self._policy, self._attempts
        assert policy is not None
        assert attempts is not None
        if self._committed:
            return
        now, tell_at = self.context.wheel.now + SOFT_LEAST, self._quiet_since + self._silence
        self._remind_at = now if now < tell_at else tell_at
        self._sent_at = self.context.clock()
        if self._sent_at - self._began > _AT_ONCE:
            attempts.sent(self._sent_at)
        self.wait(policy.patience.head)

    def head_came(self) -> None:
        """A head came; now content must."""
        assert self._policy is not None
        waited = self.context.clock() - self._sent_at
        self.wait(max(self._policy.patience.content - waited, 0.0))

    def heard(self) -> None:
        """A piece of the answer came; the next must come in time."""
        self._remind_at = self.context.wheel.now + self._silence
        policy = self._policy
        self.wait(policy.patience.idle if policy is not None else self.context.timeouts.idle)

    def expired(self) -> None:
        """The wheel's word: the deadline has passed."""
        now = self.context.wheel.now
        if now < self._limit:
            self._remind(now)
        elif self._stalls_since < NEVER:
            reset(self.client.transport)
        elif self._reply is not None and self._reply.committed:
            self._reply.interrupt(None if self._caller_had_enough else Failure.stalled)
        elif self._attempts is not None and self._attempts.mirror:
            self._too_late()
        else:
            self._refuse(Problem(408, "request_timeout", "The request took too long to arrive."))

    def _too_late(self) -> None:
        """The mirror has had its time; or the caller has, which is not the mirror's fault."""
        assert self._policy is not None
        head = self._reply is not None and self._reply.has_head
        waited = self.context.clock() - self._sent_at
        if self._policy.patience.blames(waited) and not self._caller_had_enough:
            failure = Failure.content_timeout if head else Failure.timeout
            self.unanswered(failure, "it did not answer in time")
        else:
            self._settle("client_abort")
            self._leave_mirror()
            self._refuse(too_slow())

    @property
    def client_has_stalled(self) -> bool:
        """True if the client has taken nothing for so long that a mirror may have given up."""
        return self._stalled or self.context.wheel.now - self._stalls_since >= STALLED_FOR

    @property
    def _caller_had_enough(self) -> bool:
        """True if it is the limit that the caller has set itself which is over."""
        if self._policy is None or self.context.wheel.now < self._ends_at:
            return False
        return self._policy.patience.total == self._policy.patience.asked

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
        waited = self.context.clock() - self._sent_at
        return min(tell_at, self.context.wheel.now + max(SOFT_LEAST - waited, _LOOK_AGAIN))

    def _tell(self) -> None:
        """Begin the answer with comments: another mirror can still give the content."""
        context, transport = self.context, self.client.transport
        if not self.told:
            self.told = True
            context.write_batch.write(transport, stream_begins(context, self.head, self.id))
            if self._reply is not None:
                self._reply.begun()
        context.write_batch.write(transport, chunk(self._reminder))

    @property
    def _reminder(self) -> bytes:
        style = self.context.router.stream.keepalive_style
        return keepalive(self.dialect, "chunk" if style == "chunk" else "comment")
