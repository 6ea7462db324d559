"""What may be asked with a mirror's key, which many callers share: by issued and anonymous callers.

They must not find what others have stored on that account, nor change it, and who has a quota may
only ask for what can be metered. Pure.
"""

from __future__ import annotations

import re
from collections.abc import Container, Sequence

from monitor.money import written
from router.admission.config import LENT
from router.metering.kinds import kind_of
from router.wire.answer import Problem

_ROOT = re.compile(rb"/v1/([^/?]*)")
_READS = (b"GET", b"HEAD")
_FREE = re.compile(
    rb"/v1/(?:responses/input_tokens|responses/[^/]+/cancel|messages/count_tokens)/?"
)
_KEPT = re.compile(
    rb"/v1/(?:responses|chat/completions)/[A-Za-z0-9_.:-]+(?:/input_items|/messages)?/?"
)
"""One stored answer, which only those find who know its id."""
_TALKS = ("realtime", "responses")
_METERED_TALK = re.compile(rb"/v1/responses/?")
"""The WebSocket whose messages tell all that they cost. Realtime's tokens of text and of audio have
prices of their own, and its transcriptions those of another model."""
_EVERYTHING = "*"


def refusal_of_lent(
    endpoints: Container[str],
    method: bytes,
    target: bytes,
    *,
    limited: bool,
    websocket: bool = False,
) -> Problem | None:
    """Why this may not be asked with a mirror's key.

    `endpoints` is `keys.endpoints`; `limited`: the caller's key has a quota; `websocket`: the
    request asks to become a tunnel.
    """
    found = _ROOT.match(target)
    root = found[1].decode() if found is not None else ""
    if _EVERYTHING not in endpoints and (
        root not in endpoints or (root in LENT and not _is_open(method, target, root, websocket))
    ):
        what = _named(method, target)
        message = f"{what} is not open to callers who share a mirror's key: ask the operator."
        return Problem(403, "endpoint_not_allowed", message)
    metered = _talk_is_metered(target) if websocket else _can_be_metered(method, target, root)
    if limited and not metered:
        what = _named(method, target)
        message = f"{what} cannot be metered, so a key with a quota may not ask for it."
        return Problem(403, "endpoint_not_metered", message)
    return None


def _named(method: bytes, target: bytes) -> str:
    return f"{method.decode('latin-1')} {target.partition(b'?')[0].decode('latin-1')}"


def refusal_of_price(model: str) -> Problem:
    """A quota of money needs the price of what is asked for, and there is none."""
    named = f"The model '{model}' has" if model else "A request that names no model has"
    message = f"{named} no price here, so a key with a quota of money may not ask for it."
    return Problem(404, "model_not_found", message)


def refusal_of_unread(limit: int) -> Problem:
    """What a key with a quota, or for some models, asks must be read first; this could not be."""
    message = (
        "With this key, which has a quota or is for some models only, a request must be JSON (by "
        f"its content-type too), not compressed, and have at most {limit} bytes, of which few are "
        "commas, quotes and brackets."
    )
    return Problem(413, "request_too_large", message)


NO_MEMORY = Problem(
    503,
    "queue_full",
    "There is no memory to keep this request in until it is complete: too much is being sent at "
    "once, most of it by this address. Try again shortly.",
    retry_after=2,
)
"""Of a body within the limits that cannot be kept: no fault of the request, so no 413. It is this
code because what it waits for is room, as in the queue for mirrors, and waiting helps."""


def refusal_of_spent(left: int | None, tokens_left: int | None) -> Problem | None:
    """Why no more may be asked for: a quota is used up. Nano-units, tokens; None: no such quota."""
    if (left is None or left > 0) and (tokens_left is None or tokens_left > 0):
        return None
    message = "The quota of this key is used up: ask the operator for more."
    return Problem(429, "insufficient_quota", message, tried=True)


def refusal_of_reserved(
    lefts: Sequence[int | None], rest: Sequence[int | None], amounts: Sequence[int]
) -> Problem:
    """Why no more may be asked for yet: open requests may use up what is left.

    Nano-units and tokens: what is left, what of that is not reserved, and what this one reserves.
    """
    said = [
        f"{_amount(at, left)} left, {_amount(at, left - free)} of it reserved by its open requests"
        f", and this request may use {_amount(at, wanted)}"
        for at, (left, free, wanted) in enumerate(zip(lefts, rest, amounts, strict=True))
        if left is not None and free is not None
    ]
    message = (
        f"This key has {'; '.join(said)}. Wait for an open request to end, allow fewer tokens of "
        "output, or ask the operator for more."
    )
    return Problem(429, "insufficient_quota", message, of_key=True)


def _amount(kind: int, amount: int) -> str:
    return f"{amount} tokens" if kind else written(amount)


def _is_open(method: bytes, target: bytes, root: str, websocket: bool) -> bool:
    """Whether this neither shows nor changes what others have on the account, nor gives out a key
    of it, as Realtime's client secrets are.

    Another spelling of a path, which a mirror may take for the same, is not open: it would not be
    metered.
    """
    if websocket:
        return root in _TALKS
    if kind_of(method, target) is not None:
        return True
    path = target.partition(b"?")[0]
    if _KEPT.fullmatch(path) is not None:
        return method in (*_READS, b"POST", b"DELETE")
    if method == b"POST":
        return _FREE.fullmatch(path) is not None
    return method in _READS and root == "models"


def _talk_is_metered(target: bytes) -> bool:
    return _METERED_TALK.fullmatch(target.partition(b"?")[0]) is not None


def _can_be_metered(method: bytes, target: bytes, root: str) -> bool:
    if method in _READS:  # an answer that was left could be fetched for nothing
        return root == "models"
    if method == b"DELETE":
        return root in ("responses", "chat")
    if kind_of(method, target) is not None:
        return True
    return method == b"POST" and _FREE.fullmatch(target.partition(b"?")[0]) is not None
