"""Our own part of answers: the fields added to a mirror's response, and errors made here."""

from __future__ import annotations

from router.plane import Plane
from router.wire import cors
from router.wire.answer import Problem, render
from router.wire.outgoing import VIA
from router.wire.request import RequestHead

_ALWAYS = (
    b"x-mirrorgate-request-id: %b\r\n"
    b"server-timing: connect;dur=%b, first-byte;dur=%.1f, retries;desc=%d\r\n"
    b"via: " + VIA + b"\r\n"
)


def added_fields(
    plane: Plane,
    head: RequestHead,
    request_id: bytes,
    mirror: bytes,
    failed: int,
    connect_seconds: float,
    first_byte: float,
) -> bytes:
    """The fields that we add to a mirror's response, as they are written."""
    added = _ALWAYS % (
        request_id,
        b"%.1f" % (connect_seconds * 1000) if connect_seconds else b"0.0",
        first_byte * 1000,
        failed,
    )
    if plane.router.expose_mirror:
        added += b"x-mirrorgate-mirror: %b\r\n" % mirror
    if failed:
        added += b"x-mirrorgate-attempts: %d\r\n" % (failed + 1)
    origin = head.look.get(b"origin")
    if origin is not None:
        for field in cors.response_fields(origin, plane.router.cors_origins):
            added += b"%b: %b\r\n" % field
    return added


def stream_begins(plane: Plane, head: RequestHead, request_id: bytes) -> bytes:
    """The head of a stream that begins with comments, before any mirror has answered."""
    fields = [
        (b"content-type", b"text/event-stream; charset=utf-8"),
        (b"cache-control", b"no-cache"),
        (b"x-accel-buffering", b"no"),
        (b"x-mirrorgate-request-id", request_id),
        *cors.response_fields(head.look.get(b"origin"), plane.router.cors_origins),
        (b"transfer-encoding", b"chunked"),
    ]
    return render(200, fields, None)


def local_answer(
    plane: Plane, head: RequestHead, request_id: bytes, problem: Problem, keep_alive: bool
) -> bytes:
    """An error made here, as bytes; to a HEAD request without its body."""
    fields = [
        *problem.fields(),
        (b"x-request-id", request_id),
        (b"x-mirrorgate-request-id", request_id),
        *cors.response_fields(head.look.get(b"origin"), plane.router.cors_origins),
    ]
    if not keep_alive:
        fields.append((b"connection", b"close"))
    body = problem.body()
    out = render(problem.status, fields, body)
    return out[: -len(body)] if head.method == b"HEAD" else out


def refusal_answer(request_id: bytes, problem: Problem) -> bytes:
    """The answer to what did not become a request; the connection ends after it."""
    fields = [
        *problem.fields(),
        (b"x-request-id", request_id),
        (b"x-mirrorgate-request-id", request_id),
        (b"connection", b"close"),
    ]
    return render(problem.status, fields, problem.body())
