"""Errors of the router itself, in the order of a table: status, code, and the key of the advice."""

from __future__ import annotations

from typing import NamedTuple


class Failure(NamedTuple):
    """An error, and where the words on it are: `docs.failure.CODE`."""

    status: str
    """Empty: in a stream, after a status of 200."""
    code: str
    common: bool = False
    """True if many callers meet it once; the others are folded."""

    @property
    def key(self) -> str:
        """The key of what it means and what to do."""
        return f"docs.failure.{self.code}"


FAILURES = (
    Failure("400", "malformed_request"),
    Failure("400", "ambiguous_request"),
    Failure("400", "key_in_path"),
    Failure("401", "invalid_api_key", common=True),
    Failure("403", "client_banned", common=True),
    Failure("403", "endpoint_not_allowed"),
    Failure("403", "endpoint_not_metered"),
    Failure("403", "origin_not_allowed"),
    Failure("404", "unknown_url", common=True),
    Failure("404", "model_not_found", common=True),
    Failure("408", "request_timeout"),
    Failure("413", "request_too_large"),
    Failure("415", "unsupported_content_type"),
    Failure("429", "too_many_connections", common=True),
    Failure("429", "rate_limit_exceeded", common=True),
    Failure("429", "upstream_rate_limited"),
    Failure("429", "insufficient_quota", common=True),
    Failure("431", "headers_too_large"),
    Failure("502", "upstream_error", common=True),
    Failure("503", "no_mirror_available", common=True),
    Failure("503", "queue_full"),
    Failure("503", "keys_unavailable"),
    Failure("504", "upstream_timeout", common=True),
    Failure("", "stream_interrupted", common=True),
)
