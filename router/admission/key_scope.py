"""Permissions of issued keys and of requests that spend a mirror's key. Pure."""

from __future__ import annotations

import re
from collections.abc import Container, Sequence
from dataclasses import replace
from fnmatch import fnmatchcase
from functools import lru_cache
from math import ceil
from typing import Final, NamedTuple

from monitor.common.money import written
from router.admission.client_address import named_key
from router.admission.config import LENT, LimitsConfig
from router.admission.endpoint_kinds import kind_of
from router.admission.key_index import IssuedKey, KeyIndex
from router.wire.error_response import Problem, moment, unauthorized

_ROOT: Final = re.compile(rb"/v1/([^/?]*)")
_READS: Final = (b"GET", b"HEAD")
_READS_AND_CHANGES = (*_READS, b"POST", b"DELETE")
_FREE = re.compile(
    rb"/v1/(?:responses/input_tokens|responses/[^/]+/cancel|messages/count_tokens)/?"
)
_KEPT: Final = re.compile(
    rb"/v1/(?:responses|chat/completions)/[A-Za-z0-9_.:-]+(?:/input_items|/messages)?/?"
)
"""One stored answer, which only those find who know its id."""
_TALKS = ("realtime", "responses")
_METERED_TALK = re.compile(rb"/v1/responses/?")
"""The WebSocket whose messages tell all that they cost. Realtime's tokens of text and of audio have
prices of their own, and its transcriptions those of another model."""
_EVERYTHING: Final = "*"


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
    refused = "no price here, so a key with a quota of money may not ask for it"
    message = f"{named} {refused}: ask the operator for one."
    return Problem(404, "model_not_found", message)


_LONGEST_NAMED = 60
"""Bytes of a Content-Type that an error quotes."""
_ONLY_READ = "With this key, which has a quota or is for some models only, a request must be JSON"


def refusal_of_unread(limit: int) -> Problem:
    """Refusal of a request that could not be read, with a key that has a quota or is for some
    models."""
    message = (
        f"{_ONLY_READ}, not compressed, and have at most {limit} bytes, of which few are commas, "
        "quotes and brackets."
    )
    return Problem(413, "request_too_large", message)


def refusal_of_media(content_type: bytes) -> Problem:
    """Refusal of the same where its Content-Type says that it is no JSON."""
    said = content_type[:_LONGEST_NAMED].decode("latin-1") or "none"
    message = (
        f'{_ONLY_READ} and say so. The Content-Type of this one is {said}: send "Content-Type: '
        "application/json\" (curl: -H 'Content-Type: application/json')."
    )
    return Problem(415, "unsupported_content_type", message)


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
    """True if this neither shows nor changes what others have on the account, nor gives out a key
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
        return method in _READS_AND_CHANGES
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


_LONGEST_NAMED = 100


class Count(NamedTuple):
    """One count that a request enters: what `Table.admit` is asked with."""

    key: bytes
    connections: int
    """Most that may be open at once; 0: any number."""
    rate: float
    """Requests per second; 0: any number."""
    burst: int


@lru_cache(maxsize=4096)
def counted_as(key_id: str) -> bytes:
    """Return the table key under which an issued key is counted."""
    return named_key("key", key_id)


def counts(
    config: LimitsConfig, address: bytes, issued: IssuedKey, free: bool = False
) -> tuple[Count, ...]:
    """Counts that must all let a request with an issued key in, in this order.

    `limits.by = "key"`: the key stands in the place of the address, and its own rate in the place
    of the common one. Else it is the address, and besides the key where it has a rate of its own.
    Only the last one may give a place, so a refusal leaves none behind. A key may get ahead of its
    own rate by a second's worth, `limits.burst` at most.

    `free`: the client is in a network that is never limited; a key's own rate holds all the same.
    """
    rate, burst, by_key = issued.rate, config.burst, config.by == "key"
    most = 0 if free else config.connections
    if rate:
        own = Count(counted_as(issued.id), most if by_key else 0, rate, min(burst, ceil(rate)))
        if free or by_key:
            return (own,)
        return own, Count(address, most, config.requests_per_second, burst)
    if free:
        return ()
    counted = counted_as(issued.id) if by_key else address
    return (Count(counted, most, config.requests_per_second, burst),)


def refusal_of_key(ring: KeyIndex, digest: bytes) -> Problem:
    """Why `ring.find` does not know a key that looks like one of ours."""
    if not ring.pepper:
        message = "The keys issued here are not loaded yet. Try again shortly."
        return Problem(503, "keys_unavailable", message, retry_after=2)
    expired = ring.expired(digest)
    if expired is None:
        return unauthorized("This key is unknown or has been revoked. Ask for another one.")
    end = moment(expired.expires_at)
    message = f"This key expired at {end}. Ask for another one."
    return replace(unauthorized(message), of_key=True)  # nobody guesses a key that was good


def allows(issued: IssuedKey, model: str) -> bool:
    """True if a key may ask for a model; empty: the request names none."""
    return not issued.models or any(fnmatchcase(model, pattern) for pattern in issued.models)


def refusal_of_model(issued: IssuedKey, model: str) -> Problem | None:
    """Why a key may not ask for a model; empty: the request names none that could be read."""
    if allows(issued, model):
        return None
    what = f"the model {model[:_LONGEST_NAMED]!r}" if model else "a request that names no model"
    message = f"This key does not allow {what}. It may use: {', '.join(issued.models)}."
    return Problem(404, "model_not_found", message)


def too_fast(rate: float, seconds: int) -> Problem:
    """The refusal of a request that came too early for the rate of its key."""
    message = (
        f"This key is used for more than {rate:g} requests a second, which is its limit. "
        f"Try again in {seconds} s."
    )
    return Problem(429, "rate_limit_exceeded", message, retry_after=seconds, of_key=True)


def too_many(limit: int, seconds: int) -> Problem:
    """The refusal of one open request too many of a key."""
    message = (
        f"This key has {limit} requests and streams open, which is the limit here. "
        f"Wait for one of them to end, or try again in {seconds} s."
    )
    return Problem(429, "too_many_connections", message, retry_after=seconds, of_key=True)
