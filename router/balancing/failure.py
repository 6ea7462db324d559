"""Failures of attempts on mirrors: their kinds, whose fault they are, and what they allow.

One table for selection, ejection, retries and metrics. Three questions are kept apart: the side
that the failure speaks against (`Blame`), what the mirror may have done before it (`Done`), and
whether a probe that costs nothing can show that it is over (`probe_proves`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final


class Failure(StrEnum):
    """Kinds of failure of an attempt."""

    resolve = "resolve"
    connect = "connect"
    tls = "tls"
    no_descriptor = "no_descriptor"
    """This process has none left for another connection."""
    stale = "stale"
    """A reused connection ended at once, before a byte of the response: it had been closed."""
    broken = "broken"
    """The request was sent, then the connection ended before a response head."""
    malformed = "malformed"
    timeout = "timeout"
    """No response head in time."""
    content_timeout = "content_timeout"
    """A response head, then nothing with content in time."""
    slow = "slow"
    """Far slower than its like, on a mirror that is suspect besides: left before the limit."""
    server_error = "server_error"
    """500, or another 5xx that has no row of its own."""
    gateway = "gateway"
    """502, 504, 520 to 524: something in front of the mirror gave up; it may go on behind it."""
    overloaded = "overloaded"
    """503, 529: it says that it did nothing."""
    limited = "limited"
    """429."""
    key_refused = "key_refused"
    """401, 403 for the mirror's own key."""
    out_of_quota = "out_of_quota"
    """402, or an error that says so, for the mirror's own key."""
    key_limited = "key_limited"
    key_spent = "key_spent"
    """429 for the caller's own key."""
    caller_refused = "caller_refused"
    """401, 402, 403 for the caller's own key, or an error that says that it has no quota."""
    region_refused = "region_refused"
    """403: the API behind the mirror does not serve the mirror's own place, whatever the key."""
    no_model = "no_model"
    """An error that says that it does not have the model."""
    no_endpoint = "no_endpoint"
    """404 or 405 that does not come from the API, or 501: it does not have the path."""
    challenge = "challenge"
    """An HTML page with 403 or 503: a firewall in front of the mirror."""
    page = "page"
    """An HTML page, or text that is no event, where an answer should be."""
    error_event = "error_event"
    """An error inside a stream that began with 200."""
    refused = "refused"
    """An error that can be read, at once or in place of a plain answer: no work was done."""
    empty = "empty"
    """A body without content: a stream that ended before it had any, or no answer at all."""
    cut = "cut"
    """The response ended too early, after the client had its beginning."""
    stalled = "stalled"
    """The response fell silent, after the client had its beginning."""


class Blame(StrEnum):
    """The side that a failure speaks against: the network between us and a response, or the
    responder."""

    local = "local"
    upstream = "upstream"
    nobody = "nobody"


class Done(StrEnum):
    """The work that the mirror may have done on the request when it failed."""

    unsent = "unsent"
    """Nothing of the request was sent."""
    unreceived = "unreceived"
    """It was written to a connection that the mirror had closed (RFC 9110 section 9.2.2)."""
    refused = "refused"
    """The mirror says that it did not act on it."""
    rejected = "rejected"
    """It did not even look at what is asked: the key, the model or the path will not do there."""
    perhaps = "perhaps"
    """It may have been done, and billed."""
    begun = "begun"
    """The client has a part of the answer."""


@dataclass(frozen=True, slots=True)
class Traits:
    """Meaning of a failure."""

    blame: Blame
    done: Done
    probe_proves: bool = False


_LOCAL, _UPSTREAM, _NOBODY = Blame.local, Blame.upstream, Blame.nobody

TRAITS = {
    Failure.resolve: Traits(_LOCAL, Done.unsent, probe_proves=True),
    Failure.connect: Traits(_LOCAL, Done.unsent, probe_proves=True),
    Failure.tls: Traits(_LOCAL, Done.unsent, probe_proves=True),
    Failure.no_descriptor: Traits(_NOBODY, Done.unsent),
    Failure.stale: Traits(_NOBODY, Done.unreceived),
    Failure.broken: Traits(_LOCAL, Done.perhaps),
    Failure.timeout: Traits(_LOCAL, Done.perhaps),
    Failure.malformed: Traits(_UPSTREAM, Done.perhaps),
    Failure.content_timeout: Traits(_UPSTREAM, Done.perhaps),
    Failure.slow: Traits(_UPSTREAM, Done.perhaps),
    Failure.server_error: Traits(_UPSTREAM, Done.perhaps),
    Failure.gateway: Traits(_UPSTREAM, Done.perhaps),
    Failure.overloaded: Traits(_UPSTREAM, Done.refused),
    Failure.limited: Traits(_NOBODY, Done.refused),
    Failure.key_refused: Traits(_NOBODY, Done.refused),
    Failure.out_of_quota: Traits(_NOBODY, Done.refused),
    Failure.key_limited: Traits(_NOBODY, Done.rejected),
    Failure.key_spent: Traits(_NOBODY, Done.rejected),
    Failure.caller_refused: Traits(_NOBODY, Done.rejected),
    Failure.region_refused: Traits(_NOBODY, Done.rejected),
    Failure.no_model: Traits(_NOBODY, Done.rejected),
    Failure.no_endpoint: Traits(_NOBODY, Done.rejected),
    Failure.challenge: Traits(_UPSTREAM, Done.refused),
    Failure.page: Traits(_UPSTREAM, Done.refused),
    Failure.error_event: Traits(_UPSTREAM, Done.perhaps),
    Failure.refused: Traits(_UPSTREAM, Done.refused),
    Failure.empty: Traits(_UPSTREAM, Done.perhaps),
    Failure.cut: Traits(_UPSTREAM, Done.begun),
    Failure.stalled: Traits(_UPSTREAM, Done.begun),
}

_OVERLOADED = frozenset((503, 529))
_GATEWAY = frozenset((502, 504, *range(520, 525)))
OF_OWN_KEY = frozenset((Failure.key_refused, Failure.out_of_quota))
"""Failures of the key that a mirror lends: another mirror may serve, and the key is checked."""
OF_REQUESTS = frozenset(
    (
        Failure.key_limited,
        Failure.key_spent,
        Failure.caller_refused,
        Failure.region_refused,
        Failure.no_model,
        Failure.no_endpoint,
    )
)
"""Refusals of one kind of request: another mirror may serve it, else the client has the first."""
_KEY = frozenset((401, 402, 403))
_NOT_IMPLEMENTED = 501
_UNPAID = 402
_FIREWALL = frozenset((403, 503))


def failure_of_status(status: int, *, html: bool, own_key: bool) -> Failure | None:
    """Failure that a response's status means; None when the client should have the response.

    `html`: the body is an HTML page; `own_key`: the key is the caller's own, so that what a mirror
    thinks of it is between those two. All other 4xx are the request's fault, wherever it is sent.
    """
    if status < 400:
        return None
    if html and status in _FIREWALL:
        return Failure.challenge
    if status == 429:
        return Failure.limited
    if status in _KEY:
        if own_key:
            return None
        return Failure.out_of_quota if status == _UNPAID else Failure.key_refused
    if status < 500:
        return None
    if status in _OVERLOADED:
        return Failure.overloaded
    if status == _NOT_IMPLEMENTED:
        return Failure.no_endpoint
    return Failure.gateway if status in _GATEWAY else Failure.server_error


AT_ONCE: Final = 0.3
"""Seconds, a long way over the sea and back included, in which no model has begun to answer."""


def failure_of_readable_error(failure: Failure, seconds: float) -> Failure:
    """Failure that a 5xx means whose body is a readable error, so many seconds after the request.

    A reset after seconds may hide work; an error that is said at once is a refusal before any.
    """
    early = seconds <= AT_ONCE and failure in (Failure.server_error, Failure.gateway)
    return Failure.refused if early else failure


def weight_of(failure: Failure, retry_after: bool) -> float:
    """Weight of the failure against the mirror, 0 to 1.

    A mirror that says when to come back is busy rather than broken: that counts half.
    """
    if TRAITS[failure].blame is Blame.nobody:
        return 0.0
    return 0.5 if failure is Failure.overloaded and retry_after else 1.0


@dataclass(frozen=True, slots=True)
class FailedAttempt:
    """A failed attempt, for the error that the client may see."""

    mirror: str
    failure: Failure
    detail: str


def broke_off_once(failed: Sequence[FailedAttempt]) -> bool:
    """True if the last attempt broke off without an answer, as the first one on its mirror."""
    if not failed or failed[-1].failure is not Failure.broken:
        return False
    return [attempt.mirror for attempt in failed].count(failed[-1].mirror) == 1
