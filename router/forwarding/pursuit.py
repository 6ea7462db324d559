"""A request in pursuit of an answer: mirrors are asked one after the other until one has it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from router.admission.credentials import Caller
from router.admission.key_index import IssuedKey
from router.admission.key_scope import refusal_of_key
from router.balancing.failure import Failure
from router.balancing.pool import Attempt
from router.forwarding.attempts import Attempts
from router.forwarding.local_response import FULL, QUOTED
from router.forwarding.request_policy import RequestPolicy
from router.forwarding.response import Response, outcome_of
from router.forwarding.watched import Watched
from router.metering.metered_request import ANONYMOUS, Request
from router.metering.websocket_meter import converse
from router.upstream.connection import UpstreamConnection
from router.upstream.dialect import error_event
from router.upstream.request_writer import render_head
from router.upstream.upstream import Upstream
from router.wire.error_response import Problem
from router.wire.response import ResponseHead
from router.wire.timer_wheel import NEVER

_OWN, _ISSUED, _ = Caller


class Pursuit(Watched):
    """The mirrors' side of an exchange."""

    __slots__ = ()

    # What lies above

    def answered(self, outcome: str, keep_alive: bool) -> None:
        """The client has the answer, or as much of it as there will be."""
        raise NotImplementedError

    def _end_stream(self, words: bytes, outcome: str) -> None:
        raise NotImplementedError

    # Attempts

    def _attempt(self, now: float) -> None:
        """Ask a mirror, the next one if there was one before."""
        attempts = self._attempts
        if attempts is None:
            policy = self.context.policies.of(self._request, self.body, now)
            unfit = self._lend(policy) if self._request.caller is not _OWN else None
            if unfit is not None:
                self._refuse(unfit)
                return
            self._follow(policy)
            self._attempts = attempts = self._first_attempt(policy, now)
        self.wait(NEVER)  # opening has limits of its own; the last attempt's are over
        problem = self._start(attempts, now)
        if problem is FULL and self.context.line.join(self):
            self._waits = True
            self._remind_at = self._next_look
            self.deadline = min(self._limit, self._remind_at)
        elif problem is not None:
            self._refuse(problem)

    def _start(self, attempts: Attempts, now: float) -> Problem | None:
        collected = self.body.collected
        pooled = collected and self._request.may_be_stale
        return attempts.start(pooled, collected, now)

    def go_on(self) -> bool:
        """Ask for room again; False if there is none yet."""
        attempts = self._attempts
        assert attempts is not None
        attempts.another_turn()
        problem = self._start(attempts, self.context.clock())
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

    def _first_attempt(self, policy: RequestPolicy, now: float) -> Attempts:
        ends_at = now + policy.patience.total
        return Attempts(
            self.context,
            self._request,
            self.body,
            policy,
            now,
            ends_at,
            self._send,
            self.unanswered,
            self.abort,
        )

    def _lend(self, policy: RequestPolicy) -> Problem | None:
        """It is asked with a mirror's key, which is not lent for everything, and is metered."""
        context, head, request, wall = self.context, self.head, self._request, self.context.wall()
        key = request.issued(context.keys, wall) if request.caller is _ISSUED else ANONYMOUS
        if key is None:
            return refusal_of_key(context.keys, request.digest)
        body, collected = self.body.peek(), self.body.collected
        multipart = head.look[b"content-type"] if request.shape[3] else b""
        properties = Request(
            head.method,
            request.target,
            policy.dialect,
            head.websocket,
            multipart,
            body if collected else None,
            self.body.crowded_out,
            -1 if head.chunked else head.length,
        )
        found = context.metering.begin(key, properties, wall)
        if isinstance(found, Problem):
            return found
        if head.websocket:
            return self._converse(key)
        self.metered = found
        if found is not None and not collected:
            found.upload(body)
        return None

    def _converse(self, key: IssuedKey) -> Problem | None:
        """Begin to meter a WebSocket message by message, where its dialect is known."""
        context, request = self.context, self._request

        def current() -> IssuedKey | Problem:
            if request.caller is not _ISSUED:
                return ANONYMOUS
            found = request.issued(context.keys, context.wall())
            return refusal_of_key(context.keys, request.digest) if found is None else found

        def too_fast(key: IssuedKey) -> Problem | None:
            return context.limits.refusal_of_rate(key, context.clock())

        found = converse(context.metering, request.target, key, current, context.wall, too_fast)
        if isinstance(found, Problem):
            return found
        self.dialogue = found
        return None

    def _send(self, upstream: Upstream, connection: UpstreamConnection, opened_in: float) -> None:
        body, request = self.body, self._request
        self._reply = reply = Response(self, upstream, connection, opened_in)
        connection.take(reply, to_head=self.head.method == b"HEAD")
        self.client.resume_client()  # before writing, which may pause it again
        metered, size, parts = self.metered, body.known_size, body.to_send()
        if metered is not None and metered.body is not None:
            size, parts = len(metered.body), [metered.body]
        fields = request.fields_for(upstream, self._silence < NEVER or request.caller is not _OWN)
        prefix, host = upstream.base_path, connection.authority
        head = render_head(self.head, request.target, prefix, host, fields, size)
        connection.ask(b"".join((head, *parts)))
        if body.complete:
            self._await_answer()

    # From the reply

    def hand_over_attempt(self) -> Attempt[Upstream]:
        """The attempt of a tunnel whose client leaves, which its new owner ends."""
        assert self._attempts is not None
        return self._attempts.hand_over()

    def content(self) -> None:
        """The first of the answer goes to the client, and more may follow."""
        context, policy, attempts, reply = self.context, self._policy, self._attempts, self._reply
        if attempts is not None and policy is not None and reply is not None and reply.status < 400:
            now = context.clock()
            attempts.content(now)
            if policy.stream:
                model = policy.model if policy.model in context.models else "other"
                context.stats.first_token(attempts.mirror, model, now - self.complete_at)
        self.heard()

    def unanswered(self, failure: Failure, detail: str, head: ResponseHead | None = None) -> None:
        """An attempt ended without an answer: another one, or an error."""
        attempts = self._attempts
        assert attempts is not None
        commit, look = self._commit, head.table() if head is not None else {}
        self._leave_mirror()
        if attempts.failed_with(failure, detail, commit, self.body.collected, look):
            self._attempt(self.context.clock())
        else:
            self._refuse(attempts.give_up())

    def leaves(self, failure: Failure, detail: str, head: ResponseHead) -> bool:
        """The mirror answers with an error: whether another one is tried instead."""
        attempts = self._attempts
        assert attempts is not None
        if not attempts.leaves(failure, detail, self.body.collected, head.table()):
            return False
        self._leave_mirror()
        self._attempt(self.context.clock())
        return True

    def limited_by_key(self, head: ResponseHead) -> None:
        """The caller's own key has reached its limit there."""
        if self._attempts is not None:
            self._attempts.limited_by_key(head.table())

    def withhold(self) -> None:
        """The answer quotes the mirror's key, or hides what it holds: the client gets an error."""
        self._leave_mirror()
        self._refuse(QUOTED)

    def refused_in_stream(self, status: int, error: Mapping[str, Any] | None) -> None:
        """The client has a head already, and this error instead of an answer."""
        fails = status >= 400
        what = f"an error ({status})" if fails else "what is no stream"
        shown = error or {"message": f"The mirror answered with {what}.", "code": None}
        outcome = outcome_of(status) if fails else "upstream_error"
        self._end_stream(error_event(self.dialect, shown), outcome)

    def cut(self, failure: Failure) -> None:
        """The answer has broken off after the client had its beginning."""
        reply = self._reply
        if self._attempts is None or reply is None:
            return
        self._attempts.cut(failure)
        self.context.stats.interrupted(reply.mirror, failure)
        self.context.traffic.stalled(reply.mirror, reply.body_bytes)
