"""How an attempt on a mirror fails, and whether another one is safe then."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Failure(StrEnum):
    """How an attempt on a mirror failed."""

    resolve = "resolve"
    connect = "connect"
    tls = "tls"
    stale = "stale"
    """A reused connection ended at once, before a byte of the response: it had been closed."""
    broken = "broken"
    """The request was sent, then the connection ended before a response head."""
    malformed = "malformed"
    timeout = "timeout"
    cut = "cut"
    """The response ended too early, after the client had its beginning."""


NOTHING_SENT = frozenset((Failure.resolve, Failure.connect, Failure.tls))


def may_retry(failure: Failure, replayable: bool) -> bool:
    """Whether another attempt is safe: nothing was sent, or it was not received.

    A stale connection is taken for RFC 9110 section 9.2.2's case of a request that was never
    applied; it may be repeated when its body is still at hand.
    """
    return failure in NOTHING_SENT or (failure is Failure.stale and replayable)


@dataclass(frozen=True, slots=True)
class FailedAttempt:
    """What became of one attempt, for the error that the client may see."""

    mirror: str
    failure: Failure
    detail: str
