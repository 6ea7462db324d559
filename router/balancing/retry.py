"""Retry decisions: safety of another attempt, its time, and the budget of repeats."""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import IntEnum, StrEnum
from math import ceil
from typing import Final

from router.balancing.config import RetryConfig
from router.balancing.failure import TRAITS, Done, Failure
from router.balancing.window import Window

LONGEST_ADVICE = 60.0
"""Seconds: OpenAI's SDKs obey a Retry-After of up to a minute."""
LAST_MOMENT = 1.0
"""No attempt begins when less than this is left of the request's own time."""


class Commit(IntEnum):
    """Progress of a request, on both sides."""

    nothing_sent = 0
    """Nothing was sent to the mirror."""
    request_sent = 1
    """The request was sent, at least a part of it; no response byte has come."""
    head_received = 2
    """The response head is here; nothing of it went to the client."""
    comments_sent = 3
    """The client has a head and comments, but no content."""
    content_sent = 4
    """The client has content: there is no way back."""


class Repeat(StrEnum):
    """Limits on sending a request again."""

    freely = "freely"
    once = "once"
    """What may have been done already is repeated once."""
    never = "never"


_READS: Final = frozenset((b"GET", b"HEAD", b"OPTIONS"))
_ONCE = frozenset(("chat", "completions", "embeddings", "messages", "moderations", "responses"))


def repeat_of(
    method: bytes, endpoint: str, *, multipart: bool = False, stored: bool = False
) -> Repeat:
    """Return the limit on repeats of a request. `stored`: it leaves something behind, as POST
    /v1/responses does unless it says `"store": false`."""
    if method in _READS:
        return Repeat.freely
    fine = method == b"POST" and endpoint in _ONCE and not multipart and not stored
    return Repeat.once if fine else Repeat.never


class Why(StrEnum):
    """Why there is no further attempt, or what one costs."""

    free = "free"
    paid = "paid"
    """It drew on the budget."""
    ambiguous = "ambiguous"
    """It drew on the budget, and the mirror may have done, and billed, the request already."""
    committed = "committed"
    never = "never"
    """Requests of this kind are not sent twice."""
    again = "again"
    """It has been repeated once already."""
    body_gone = "body_gone"
    attempts = "attempts"
    elapsed = "elapsed"
    budget = "budget"


ALLOWED = frozenset((Why.free, Why.paid, Why.ambiguous))


@dataclass(slots=True)
class Tries:
    """Attempts of one request so far."""

    repeat: Repeat
    began: float
    attempts: int = 0
    """Attempts that have failed, stale connections not counted."""
    ends_at: float = float("inf")
    """When the client's time, or the limit on everything, is over."""
    sent: bool = False
    """True if an attempt was sent, at least a part of it."""
    ambiguous: int = 0
    """Repeats of what a mirror may have done already."""


def decide(
    failure: Failure,
    commit: Commit,
    tries: Tries,
    rules: RetryConfig,
    budget: RetryBudget,
    now: float,
    *,
    replayable: bool,
    should_retry: bool | None = None,
) -> Why:
    """Decide on another attempt after this failure; counts it in `tries` and `budget`.

    The result is in `ALLOWED`, or names the reason against it. `replayable`: the whole body is at
    hand. `should_retry` is the failed response's own `x-should-retry`: true stands for a refusal;
    false forbids to repeat what may have been done. A request that has not been sent can go on
    without its body being at hand, since the body is still to come.
    """
    done = _done(failure, commit, should_retry)
    tries.sent = tries.sent or commit > Commit.nothing_sent
    if failure is not Failure.stale:
        tries.attempts += 1
    why = _harm(done, commit, tries, rules, replayable, should_retry)
    if why is Why.paid and failure is Failure.region_refused:
        why = Why.free  # no request can bring it about, and all keys meet it at once
    if why not in ALLOWED:
        return why
    if tries.attempts >= rules.attempts:
        return Why.attempts
    if now - tries.began >= rules.elapsed or now > tries.ends_at - LAST_MOMENT:
        return Why.elapsed
    if why is not Why.free and not budget.take(now):
        return Why.budget
    if why is Why.ambiguous:
        tries.ambiguous += 1
    return why


def might_leave(
    commit: Commit,
    tries: Tries,
    rules: RetryConfig,
    budget: RetryBudget,
    now: float,
    *,
    replayable: bool,
) -> bool:
    """True if another mirror might be tried now because this one is slow; counts nothing."""
    why = decide(
        Failure.slow, commit, replace(tries), rules, RetryBudget(0.0), now, replayable=replayable
    )
    return why in ALLOWED and budget.left(now) >= 1.0


def has_another_chance(tries: Tries, rules: RetryConfig) -> bool:
    """True unless the next attempt is the last one if its mirror may have done what is asked."""
    again = tries.repeat is Repeat.freely or not tries.ambiguous
    return again and tries.attempts + 1 < rules.attempts


def _done(failure: Failure, commit: Commit, should_retry: bool | None) -> Done:
    """Return the work that the mirror may have done: more than the failure usually means, if more
    was sent."""
    done = TRAITS[failure].done
    if commit is Commit.nothing_sent:
        return Done.unsent
    if done is Done.unsent:
        return Done.perhaps
    return Done.refused if should_retry and done is Done.perhaps else done


def _harm(
    done: Done,
    commit: Commit,
    tries: Tries,
    rules: RetryConfig,
    replayable: bool,
    should_retry: bool | None,
) -> Why:
    if commit is Commit.content_sent or done is Done.begun:
        return Why.committed
    if done is Done.unsent and (replayable or not tries.sent):
        return Why.free
    if done is Done.rejected:
        return Why.paid if replayable else Why.body_gone
    if tries.repeat is Repeat.never:
        return Why.never
    if not replayable:
        return Why.body_gone
    if done is Done.unreceived:
        return Why.free
    if done is Done.refused or tries.repeat is Repeat.freely:
        return Why.paid
    if rules.ambiguous == "never" or should_retry is False:
        return Why.never
    return Why.again if tries.ambiguous else Why.ambiguous


@dataclass(frozen=True, slots=True)
class Advice:
    """Retry advice for the client's SDK."""

    retry_after: int | None
    should_retry: bool | None
    """False: `x-should-retry: false`; None: the field is left out."""


def advice(tried: bool, wait: float | None) -> Advice:
    """Return the retry advice after a failure: SDKs must not multiply attempts that we have made,
    unless something may work again within a minute."""
    seconds = None if wait is None else max(1, ceil(wait))
    soon = seconds is not None and seconds <= LONGEST_ADVICE
    return Advice(seconds, False if tried and not soon else None)


SECONDS = 10.0
_TOGETHER: Final = 0.05
"""Seconds of requests that are counted together; asked for what is left, all are."""
ALWAYS = 10
"""Repeats within 10 s that are allowed whatever the traffic."""


class RetryBudget:
    """One worker's budget."""

    __slots__ = ("_counted_at", "_fresh", "_requests", "_retries", "share")

    def __init__(self, share: float, beside: RetryBudget | None = None) -> None:
        """`beside`: another one, which counts the same requests."""
        self.share = share
        self._requests: Window = Window(SECONDS) if beside is None else beside._requests
        self._retries = Window(SECONDS)
        self._fresh = 0
        """Requests that are not in the window yet."""
        self._counted_at = float("-inf")

    def __repr__(self) -> str:
        return f"<RetryBudget {self.share:.0%}, {self._retries!r}>"

    def request(self, now: float) -> None:
        """A client's request has come."""
        self._fresh += 1
        if now - self._counted_at > _TOGETHER:
            self._count(now)

    def _count(self, now: float) -> None:
        self._requests.add(self._fresh, now)
        self._fresh, self._counted_at = 0, now

    def left(self, now: float) -> float:
        """Number of repeats that are allowed now."""
        self._count(now)
        allowed = max(ALWAYS, self.share * self._requests.sum(now))
        return allowed - self._retries.sum(now)

    def take(self, now: float) -> bool:
        """Use one repeat, if there is one."""
        if self.left(now) < 1.0:
            return False
        self._retries.add(1, now)
        return True
