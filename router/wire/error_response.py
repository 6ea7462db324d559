"""Answers made here, in OpenAI's error shape, and the heads of all answers."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from http import HTTPStatus

from router.wire.websocket import VERSION

JSON_TYPE = (b"content-type", b"application/json")
QUEUE = b"x-mirrorgate-queue"
CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
_TYPES = {
    429: "rate_limit_error",
    500: "server_error",
    502: "server_error",
    503: "server_error",
    504: "server_error",
}
_OF_CODES = {"insufficient_quota": "insufficient_quota"}
"""Types that a code has whatever the status; trying again does not help against these."""
Field = tuple[bytes, bytes]
_OF_STATUSES: dict[int, tuple[Field, ...]] = {
    426: (
        (b"connection", b"upgrade"),
        (b"upgrade", b"websocket"),
        (b"sec-websocket-version", VERSION),
    )
}
"""Fields that a status must have (RFC 6455 section 4.4, RFC 9110 section 15.5.22)."""


@dataclass(frozen=True, slots=True)
class Problem:
    """An error that we answer; the message says the next step."""

    status: int
    code: str
    message: str
    retry_after: int | None = None
    """Seconds after which trying again may help."""
    tried: bool = False
    """Mirrors were tried already: the SDK must not multiply the attempts."""
    queued: int = 0
    """The place in the queue at which it has waited, or the number of those who wait."""
    of_key: bool = False
    """An issued key is used too much or too late, which says nothing against the address."""

    def body(self) -> bytes:
        """The JSON body."""
        error = {
            "message": self.message,
            "type": _OF_CODES.get(self.code) or _TYPES.get(self.status, "invalid_request_error"),
            "param": None,
            "code": self.code,
        }
        return json.dumps({"error": error}, ensure_ascii=False).encode("utf-8", "replace")

    def fields(self) -> Iterable[Field]:
        """The fields that belong to this problem."""
        yield JSON_TYPE
        yield from _OF_STATUSES.get(self.status, ())
        if self.retry_after is not None:
            yield b"retry-after", str(self.retry_after).encode()
        if self.queued:
            yield QUEUE, b"%d" % self.queued
        if self.tried or self.code in _OF_CODES:
            yield b"x-should-retry", b"false"


def unauthorized(message: str) -> Problem:
    """401, with what is wrong about the key."""
    return Problem(401, "invalid_api_key", message)


def moment(seconds: float) -> str:
    """A time since the epoch, as messages tell it."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M UTC")


@lru_cache(maxsize=256)
def status_line(status: int, reason: bytes = b"") -> bytes:
    """The status line, with the usual reason phrase when none is given."""
    return b"HTTP/1.1 %d %b\r\n" % (status, reason or _phrase(status))


def _phrase(status: int) -> bytes:
    try:
        return HTTPStatus(status).phrase.encode()
    except ValueError:
        return b""


def render(status: int, fields: Iterable[Field], body: bytes | None) -> bytes:
    """A whole answer; `body` None leaves out body and length, as a 204 wants it."""
    lines = [status_line(status)]
    lines.extend(b"%b: %b\r\n" % field for field in fields)
    if body is not None:
        lines.append(b"content-length: %d\r\n" % len(body))
    lines.append(b"\r\n")
    if body:
        lines.append(body)
    return b"".join(lines)
