"""What an issued key may do: what it is counted by, and why it is refused. Pure."""

from __future__ import annotations

from dataclasses import replace
from fnmatch import fnmatchcase
from functools import lru_cache
from math import ceil
from typing import NamedTuple

from router.admission.clients import named_key
from router.admission.config import LimitsConfig
from router.admission.ring import IssuedKey, KeyRing
from router.wire.answer import Problem, moment, unauthorized

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
    """What a key is counted by in the table."""
    return named_key("key", key_id)


def counts(
    config: LimitsConfig, address: bytes, issued: IssuedKey, free: bool = False
) -> tuple[Count, ...]:
    """What a request with an issued key is counted by: all of these must let it in, in this order.

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


def refusal_of_key(ring: KeyRing, digest: bytes) -> Problem:
    """Why `ring.find` does not know a key that looks like one of ours."""
    if not ring.pepper:
        message = "The keys issued here are not known yet. Try again shortly."
        return Problem(503, "keys_unavailable", message, retry_after=2)
    expired = ring.expired(digest)
    if expired is None:
        return unauthorized("This key is unknown or has been revoked. Ask for another one.")
    end = moment(expired.expires_at)
    message = f"This key expired at {end}. Ask for another one."
    return replace(unauthorized(message), of_key=True)  # nobody guesses a key that was good


def allows(issued: IssuedKey, model: str) -> bool:
    """Whether a key may ask for a model; empty: the request names none."""
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
