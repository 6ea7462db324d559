"""The errors after mirrors have been tried; each text names the next step."""

from __future__ import annotations

from collections.abc import Sequence

from router.admission.clients import Client
from router.admission.keys import Caller
from router.admission.refusals import banned
from router.choice.failure import OF_OWN_KEY, FailedAttempt, Failure
from router.choice.retry import advice
from router.plane import Plane
from router.wire.answer import Problem, unauthorized

FULL = Problem(
    503,
    "queue_full",
    "Every mirror is at the limit that its operator has set. Try again shortly.",
    retry_after=2,
)
"""No room for now: to be told when the line is full too, or the wait in it was too long."""
OUTAGE = Problem(
    503,
    "no_mirror_available",
    "No mirror is in rotation right now. Try again shortly.",
    retry_after=5,
)
"""Also while mirrors refuse their own keys: the caller's key is good."""
UNSERVED = Problem(
    404, "unknown_url", "No mirror that takes this key serves this path: ask the operator."
)
QUOTED = Problem(
    502,
    "upstream_error",
    "The mirror's answer is not shown, for it quotes a key of ours or is compressed unasked.",
    tried=True,
)
_OF_KEYS = OF_OWN_KEY | {Failure.stale}
"""Where a mirror refused its own key, perhaps after a connection that was closed already."""
_TOO_SLOW = (Failure.timeout, Failure.content_timeout, Failure.slow)


def all_failed(failed: Sequence[FailedAttempt], named: bool) -> Problem:
    """The error after the last attempt; `named`: the client may know which mirrors there are.

    An SDK may repeat what was tried only once, as it would without us.
    """
    refused = failed[-1].failure in OF_OWN_KEY
    if refused and all(attempt.failure in _OF_KEYS for attempt in failed):
        return OUTAGE
    if failed[-1].failure in _TOO_SLOW:
        return too_slow()
    mirrors = dict.fromkeys(attempt.mirror for attempt in failed)
    tried = ", ".join(mirrors) if named else str(len(mirrors))
    message = f"No mirror could answer (tried {tried}; the last one: {failed[-1].detail})."
    return Problem(502, "upstream_error", message, tried=len(failed) > 1)


def all_limited(wait: float) -> Problem:
    """The error when every mirror that fits has asked to be left alone for a while."""
    told = advice(tried=True, wait=wait)
    message = f"The mirrors limit how much may be asked. Try again in {told.retry_after} s."
    tried = told.should_retry is False
    return Problem(429, "upstream_rate_limited", message, retry_after=told.retry_after, tried=tried)


def too_slow() -> Problem:
    """The error when a mirror did not answer in time."""
    message = "The mirror did not answer in time. Try again, or ask for less."
    return Problem(504, "upstream_timeout", message, tried=True)


def ban_problem(plane: Plane, client: Client) -> Problem | None:
    """The refusal of this client's address, if it is banned now."""
    ban = plane.bans.find(client, plane.wall())
    return banned(ban, plane.config.contact) if ban is not None else None


def no_key_fits(plane: Plane) -> Problem:
    """401: no configured mirror takes this caller's key; says which keys are accepted."""
    return unauthorized(f"No mirror here takes this key. {accepted_keys(plane)}")


def accepted_keys(plane: Plane) -> str:
    """One sentence on the keys that are accepted here."""
    kinds = plane.router.callers
    patterns = sorted({p for u in plane.upstreams for p in u.mirror.client_keys})
    texts = []
    if Caller.own in kinds and patterns:
        own = (
            "your own OpenAI key" if "*" in patterns else f"your own key like {', '.join(patterns)}"
        )
        texts.append(own)
    if Caller.issued in kinds:
        texts.append(f'a key issued here ("{plane.config.keys.prefix}…")')
    return f'Send {" or ".join(texts) or "a key"} as "Authorization: Bearer …".'
