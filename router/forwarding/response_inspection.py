"""Inspection of a response as long as the client has nothing of it: is it an answer?

An error, a page, an empty or a broken body is none, and another mirror may have one. Pure modules
judge (`upstream/stream_hold.py`, `upstream/plain_answers.py`, `balancing/refusals.py`); this one
calls them and reports to the exchange.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final

from router.balancing.failure import Failure, failure_of_readable_error
from router.balancing.rate_limit import classify, is_spent, openai_error, should_retry
from router.balancing.refusals import LOOKED_INTO, Said, plain_path, refused, words_of
from router.forwarding.interfaces import ResponseOwner
from router.upstream.dialect import Dialect, error_event
from router.upstream.plain_answers import (
    ANY,
    Pace,
    PlainHold,
    is_long_and_good,
    readable_error,
    shape_of,
)
from router.upstream.stream_hold import COMMIT, WAIT, Hold, Refusal, failure_of
from router.wire.response import ResponseHead

_DRIPS = "its response comes too slowly to be useful"
_ERROR_WITHIN = 2.0
"""Seconds for the body of an error that came at once."""
_OVERLOADED_WITHIN = 0.5
"""Seconds for the body of a 503, which may say that it does not have the model."""
_REFUSAL_WITHIN = 10.0
"""Seconds for the body of another error: nobody thinks about that."""
_NOT_SHOWN = {
    Failure.challenge: "a challenge page of a CDN in front of it",
    Failure.key_refused: "it refuses the key that it is given here",
    Failure.out_of_quota: "the key that it is given here is out of quota",
}
"""Answers that are never passed on: a page that no SDK reads, or one that may quote our key."""
_SAYS: Final = {
    Failure.server_error: "it answers with an error",
    Failure.gateway: "a gateway in front of it failed",
    Failure.overloaded: "it is overloaded",
}
_REFUSES = "it refuses such requests"
_LIMITED = "it is rate limiting"
_OPEN = (Failure.limited, Failure.no_endpoint)
"""Failures that only the body of an error can tell from others."""


def hold_of(
    exchange: ResponseOwner, head: ResponseHead, parts: list[bytes], *, relinks: bool = False
) -> Hold | PlainHold | None:
    """Return the hold for the beginning of a good response, None where nothing need be held.
    `relinks`: its links will be replaced, for which it must be whole."""
    lent = exchange.request.uses_mirror_key
    if not exchange.head_sent and (head.bodiless or exchange.head.method == b"HEAD"):
        return None
    if head.is_event_stream:
        return Hold(exchange.dialect, encoding=head.encoding, lent=lent)
    shape = shape_of(exchange.head, exchange.endpoint, exchange.dialect, head)
    begins = parts[0].lstrip()[:1] if parts else b""
    if relinks and shape is None and head.is_json and begins in (b"{", b"["):
        shape = ANY
    if exchange.head_sent:  # it is no stream, which may be an error's fault
        shape = shape or ANY
    elif shape is None or (parts and is_long_and_good(head, parts[0])):
        return None
    return PlainHold(shape, head.encoding, lent=lent)


class Inspection:
    """The inspection of one response; not made for those that are plainly good."""

    __slots__ = (
        "_began",
        "_exchange",
        "_head",
        "_hold",
        "_looked_at",
        "_pace",
        "_wheel",
        "read_whole",
    )

    def __init__(
        self,
        exchange: ResponseOwner,
        head: ResponseHead,
        began: float,
        hold: Hold | PlainHold | None = None,
    ) -> None:
        """`began`: when the request was sent, on the wheel's clock; `hold`: of a good response."""
        self._exchange = exchange
        self._head = head
        self._began = began
        self._wheel = exchange.context.wheel
        self._hold: Hold | PlainHold | Refusal | None = hold
        self._pace: Pace | None = None
        """Of what is held."""
        self._looked_at = 0.0
        self.read_whole = True
        """True if the body has been read to its end, when it may pass."""

    @property
    def head(self) -> ResponseHead:
        """The head; of a stream that is called something else, as if it were called so."""
        return self._head

    def take(self) -> list[bytes]:
        """Return and forget what is held."""
        return self._hold.take() if self._hold is not None else []

    @property
    def failure_when_late(self) -> Failure:
        """Meaning of a body that does not come: of an error, its status must do."""
        status, callers_key = self._head.status, not self._exchange.request.uses_mirror_key
        if status < 400:
            return Failure.content_timeout
        if callers_key and status == 429:
            return Failure.key_limited
        return (
            failure_of(self._head, callers_key) or self._refusal_of(None) or Failure.content_timeout
        )

    def judge_head(self) -> bool:
        """Judge the head of an error, or of a non-stream whose client has the head of a stream.
        False if this response is given up; else its body is inspected, or may pass."""
        head, exchange = self._head, self._exchange
        callers_key, head_sent = not exchange.request.uses_mirror_key, exchange.head_sent
        failure = failure_of(head, callers_key) if head.status >= 400 else None
        if failure is None:
            # of what cannot be repeated a 400 is the client's; the others are learnt from
            another = head.status in LOOKED_INTO and (exchange.body.collected or head.status > 400)
            may_quote = head.status >= 400 and not callers_key
            if another or may_quote or (head_sent and (head.status >= 400 or head.encoding)):
                self._hold = Refusal()
                if head.status >= 400:
                    exchange.deadlines.wait(_REFUSAL_WITHIN)
        elif failure in _NOT_SHOWN:
            exchange.unanswered(failure, _NOT_SHOWN[failure], head)
            return False
        elif failure in _OPEN:
            self._hold = Refusal()
            exchange.deadlines.wait(_REFUSAL_WITHIN)
        elif failure is Failure.overloaded and head.is_json:
            self._hold = Refusal()
            exchange.deadlines.wait(_OVERLOADED_WITHIN)
        elif self._may_be_refusal(failure):
            self._hold = Refusal(failure)
            exchange.deadlines.wait(_ERROR_WITHIN)
        elif exchange.try_elsewhere(failure, f"{_SAYS[failure]} ({head.status})", head):
            return False
        elif head_sent or not callers_key:
            self._hold = Refusal()
        return True

    def _may_be_refusal(self, failure: Failure) -> bool:
        """True if the body of this error can show that no work was done."""
        head = self._head
        early = head.is_json and failure_of_readable_error(failure, self._took) is not failure
        return early and should_retry(head.table()) is not False

    @property
    def _took(self) -> float:
        """Seconds since the request was sent, to a tick."""
        return self._wheel.now - self._began

    def feed(self, parts: list[bytes], ended: bool) -> list[bytes] | None:
        """Return the bytes that may pass now; None while that is open, or when it is no answer."""
        hold, head, exchange = self._hold, self._head, self._exchange
        if hold is None:
            return parts
        if isinstance(hold, Refusal):
            return self._look_into(hold, parts, ended)
        verdict, rest = hold.verdict, list(parts)
        while verdict is WAIT and rest:
            verdict = hold.feed(rest.pop(0))
        if verdict is WAIT and ended:
            verdict = hold.ended()
        if verdict is WAIT:
            self._wait(hold)
            return None
        if isinstance(hold, PlainHold) and hold.is_stream and exchange.dialect is not Dialect.other:
            self._head = replace(head, media=b"text/event-stream")
            self._hold = Hold(exchange.dialect, lent=exchange.request.uses_mirror_key)
            return self.feed(hold.take() + rest, ended)
        if verdict is COMMIT and exchange.head_sent and not head.is_event_stream:
            self._end_stream(readable_error(b"".join(hold.take())))
            return None
        if verdict is COMMIT:
            self.read_whole = hold.read_whole
            return hold.take() + rest
        assert verdict.failure is not None
        if not verdict.readable or exchange.head_sent:
            exchange.unanswered(verdict.failure, verdict.detail, head)
        elif not exchange.try_elsewhere(verdict.failure, verdict.detail, head):
            return hold.take() + rest
        return None

    def _wait(self, hold: Hold | PlainHold | Refusal) -> None:
        """Stay undecided as long as bytes come, and come fast enough."""
        now = self._wheel.now
        if not hold.begun:
            self._pace = None
        elif now != self._looked_at:
            self._looked_at = now
            if self._pace is None:
                self._pace = Pace(now)
            if self._pace.drips(hold.begun, now):
                self._exchange.unanswered(Failure.content_timeout, _DRIPS, self._head)
            elif not self._head.is_event_stream and self._head.status < 400:
                self._exchange.deadlines.heard()

    def _look_into(self, refusal: Refusal, parts: list[bytes], ended: bool) -> list[bytes] | None:
        exchange, head = self._exchange, self._head
        for part in parts:
            refusal.feed(part)
        if ended:
            refusal.ended()
        if not refusal.complete:
            self._wait(refusal)
            return None
        body = refusal.body(head.encoding)
        if refusal.failure is not None and self._tries_elsewhere(body, refusal.failure):
            return None
        error, said = openai_error(body), words_of(body)
        callers_key = not exchange.request.uses_mirror_key
        spent = said is not None and is_spent(said.code, said.type)
        if spent and head.status < 500 and not callers_key:
            exchange.unanswered(Failure.out_of_quota, _NOT_SHOWN[Failure.out_of_quota], head)
            return None
        if head.status == 429 and not classify(callers_key, readable_error(body)).pass_on:
            exchange.unanswered(Failure.limited, _LIMITED, head)
            return None
        failure = self._refusal_of(said)
        if (
            failure is not None
            and ended
            and exchange.try_elsewhere(failure, _REFUSES, head, aside=True)
        ):
            return None
        overloaded = failure is None and failure_of(head, callers_key) is Failure.overloaded
        says = f"{_SAYS[Failure.overloaded]} ({head.status})"
        if overloaded and exchange.try_elsewhere(Failure.overloaded, says, head):
            return None
        if exchange.head_sent:
            self._end_stream(error)
            return None
        return refusal.take()

    def _tries_elsewhere(self, body: bytes, failure: Failure) -> bool:
        """True if another mirror is tried instead of this error, which came at once."""
        says = f"{_SAYS[failure]} ({self._head.status})"
        if readable_error(body) is not None:
            failure = failure_of_readable_error(failure, self._took)
        return self._exchange.try_elsewhere(failure, says, self._head)

    def _refusal_of(self, said: Said | None) -> Failure | None:
        """Meaning of an error that another mirror might not give; None: it is the request's."""
        exchange, status = self._exchange, self._head.status
        if status == 429:
            spent = said is not None and is_spent(said.code, said.type)
            return Failure.key_spent if spent else Failure.key_limited
        model = exchange.policy.model if exchange.policy is not None else ""
        path, callers_key = (
            plain_path(exchange.request.target),
            not exchange.request.uses_mirror_key,
        )
        return refused(status, said, model, path, own_key=callers_key)

    def end_stream(self) -> None:
        """End a stream that has only comments so far with the mirror's error, which was kept."""
        hold = self._hold
        body = hold.body(self._head.encoding) if isinstance(hold, Refusal) else b""
        self._end_stream(openai_error(body))

    def _end_stream(self, error: Mapping[str, Any] | None) -> None:
        exchange, status = self._exchange, self._head.status
        fails = status >= 400
        what = f"an error ({status})" if fails else "what is no stream"
        shown = error or {"message": f"The mirror answered with {what}.", "code": None}
        outcome = outcome_of(status) if fails else "upstream_error"
        exchange.end_stream(error_event(exchange.dialect, shown), outcome)


def outcome_of(status: int) -> str:
    """Return the outcome by which a response with this status is counted."""
    if status < 400:
        return "success"
    return "client_error" if status < 500 else "upstream_error"
