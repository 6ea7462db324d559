"""One request as raw bytes, and what must become of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

KEY = b"Authorization: Bearer sk-x\r\n"
HOST = b"Host: test\r\n"
JSON = b"Content-Type: application/json\r\n"


@dataclass(frozen=True)
class Case:
    """Bytes of a client, and their required treatment.

    `reject`: 4xx or a bare close, then the connection ends, and nothing whole reaches a mirror.
    `accept`: relayed. `either`: the RFCs leave it open. Whatever it is, what reaches a mirror is
    strict HTTP, and nothing a client hid in it arrives as a request.
    """

    name: str
    data: bytes
    expect: Literal["reject", "accept", "either"] = "reject"
    arriving: int | None = None
    """Whole requests at the mirror; by default one if accepted, none if rejected."""
    ends: bool = False
    """The client says that it will send no more."""
    has: tuple[bytes, ...] = ()
    """What the mirror must get, as it stands."""
    lacks: tuple[bytes, ...] = ()
    """What the mirror must not get, in any case."""
    keeps: bool = False
    """The connection must stay open after an accepted request."""

    @property
    def expected(self) -> int:
        """Number of whole requests that the mirror may get at most; exactly, unless `either`."""
        if self.arriving is not None:
            return self.arriving
        return 0 if self.expect == "reject" else 1


def line(first: bytes, fields: bytes = HOST + KEY, body: bytes = b"") -> bytes:
    """A request with this request line, without its CRLF."""
    return first + b"\r\n" + fields + b"\r\n" + body


def get(fields: bytes = b"", target: bytes = b"/v1/models") -> bytes:
    """A GET with these further fields."""
    return line(b"GET " + target + b" HTTP/1.1", HOST + KEY + fields)


def post(fields: bytes, body: bytes = b"", host: bytes = HOST) -> bytes:
    """A POST with these further fields, which bring their own framing."""
    return line(b"POST /v1/chat/completions HTTP/1.1", host + KEY + JSON + fields, body)


def sized(length: bytes, body: bytes = b"{}") -> bytes:
    """A POST with this Content-Length."""
    return post(b"Content-Length: " + length + b"\r\n", body)


def chunked(body: bytes, fields: bytes = b"") -> bytes:
    """A POST with a chunked body, as raw bytes."""
    return post(b"Transfer-Encoding: chunked\r\n" + fields, body)


def coded(coding: bytes, body: bytes = b"2\r\n{}\r\n0\r\n\r\n") -> bytes:
    """A POST with this Transfer-Encoding."""
    return post(b"Transfer-Encoding: " + coding + b"\r\n", body)


HIDDEN = b"GET /v1/files/hidden HTTP/1.1\r\nHost: test\r\nAuthorization: Bearer sk-x\r\n\r\n"
"""A request within another; it must never arrive as one where the outer is refused."""
