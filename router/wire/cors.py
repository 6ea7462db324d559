"""Cross-origin requests of browser apps: decided by our settings, never by a mirror."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from router.wire.error_response import Field

_EXPOSED = (
    b"retry-after, x-request-id, x-should-retry, server-timing, openai-processing-ms,"
    b" openai-version, openai-organization, x-mirrorgate-mirror, x-mirrorgate-attempts,"
    b" x-mirrorgate-queue,"
    b" x-mirrorgate-request-id, x-ratelimit-limit-requests, x-ratelimit-limit-tokens,"
    b" x-ratelimit-remaining-requests, x-ratelimit-remaining-tokens, x-ratelimit-reset-requests,"
    b" x-ratelimit-reset-tokens"
)
_METHODS = b"GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS"


def allowed_origin(origin: bytes | None, origins: Collection[str]) -> bytes | None:
    """Return the value of access-control-allow-origin; None: no such field."""
    if origin is None:
        return None
    if "*" in origins:
        return b"*"
    return origin if origin.decode("latin-1") in origins else None


def response_fields(origin: bytes | None, origins: Collection[str]) -> list[Field]:
    """The fields that let a page of this origin read a response."""
    allowed = allowed_origin(origin, origins)
    if origin is None:
        return []
    vary = [] if "*" in origins else [(b"vary", b"Origin")]
    if allowed is None:
        return vary
    return [
        (b"access-control-allow-origin", allowed),
        (b"access-control-expose-headers", _EXPOSED),
        *vary,
    ]


def preflight_fields(look: Mapping[bytes, bytes], origins: Collection[str]) -> list[Field]:
    """The answer to an OPTIONS request with these looked-at fields."""
    origin = look.get(b"origin")
    requested = look.get(b"access-control-request-headers")
    fields = [(b"allow", _METHODS), *response_fields(origin, origins)]
    if allowed_origin(origin, origins) is not None:
        fields += [
            (b"access-control-allow-methods", _METHODS),
            (b"access-control-allow-headers", requested or b"*"),
            (b"access-control-max-age", b"7200"),
        ]
    return fields
