"""What a mirror's response is worth, while the client has nothing of it: an answer to pass on, one
to wait for, or none.

Decided by the head where that says enough, else by the beginning of the body (`hold.py`), which is
kept until then.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from router.choice.failure import Failure, failure_of_status
from router.choice.rate_limited import openai_error
from router.stream.dialect import Dialect
from router.stream.hold import Hold
from router.wire.response import ResponseHead

MOST_REFUSAL = 64 << 10
"""Bytes of an error's body that are kept to look into it."""


def needs_look(head: ResponseHead, dialect: Dialect) -> bool:
    """Whether the body of a good response may show that it is none."""
    return dialect is not Dialect.other or head.is_event_stream


def is_plainly_good(head: ResponseHead, piece: bytes) -> bool:
    """Whether the first piece of a body shows at once that it is an answer: JSON, and no error.

    Most are; it saves looking closely, 2 µs a request.
    """
    begins = piece[:64]
    return head.media == b"application/json" and begins[:1] == b"{" and b'"error"' not in begins


def hold_of(head: ResponseHead, dialect: Dialect, *, lent: bool) -> Hold:
    """What keeps the beginning of a good response; `lent`: the mirror was given its own key."""
    media = head.look.get(b"content-type", b"")
    return Hold(dialect, media, encoded=bool(head.encoding), lent=lent)


def failure_of(head: ResponseHead, own_key: bool) -> Failure | None:
    """What the head of a response says against the attempt."""
    if head.status < 400:
        return None
    html = head.media == b"text/html"
    return failure_of_status(head.status, html=html, own_key=own_key)


class Refusal:
    """Keeps the body of an error, to see whose it is."""

    __slots__ = ("_complete", "_held", "_size")

    def __init__(self) -> None:
        self._held: list[bytes] = []
        self._size = 0
        self._complete = False

    @property
    def complete(self) -> bool:
        """Whether all of it is here, or as much as is kept."""
        return self._complete or self._size > MOST_REFUSAL

    def feed(self, piece: bytes) -> None:
        """A piece of the body."""
        self._held.append(piece)
        self._size += len(piece)

    def ended(self) -> None:
        """The body is complete."""
        self._complete = True

    def take(self) -> list[bytes]:
        """What is kept."""
        held, self._held = self._held, []
        return held

    def error(self) -> Mapping[str, Any] | None:
        """The error that it holds, if it has OpenAI's shape."""
        return openai_error(b"".join(self._held)) if self._complete else None
