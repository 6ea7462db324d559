"""The request `GET /v1/models` without a key, and the response to it.

Without a key OpenAI answers 401, which proves that the whole way works and costs nothing. The
response is read over the connection that was just verified, within bounds on head and body.
Other probes ask other things in the same way.
"""

from __future__ import annotations

import asyncio
import time
from importlib.metadata import PackageNotFoundError, version

import httptools

from monitor.common.config import MirrorConfig
from monitor.common.inflate import READABLE, CannotInflate, inflated
from monitor.probes.failures import failure_of
from monitor.probes.results import TIMED_OUT, HttpAnswer, Operation, StepResult, Way
from monitor.probes.stream import Stream

MAX_HEAD = 65536
MAX_BODY = 65536
LOST_AFTER = 3.0
"""Seconds in which a request is acknowledged: by then it was sent five times (RFC 6298)."""


class _Lost(Exception):
    """The request does not arrive."""


class NotHttp(Exception):
    """Bytes that are not a final HTTP/1 response."""


def _decoded(body: bytes, coding: str) -> tuple[bytes, bool]:
    """The body without its coding, which some servers use unasked, and clients then undo; and
    True if that is all of it."""
    if coding.strip().lower().encode("latin-1") not in READABLE:
        return body, True
    try:
        return inflated(body, MAX_BODY)
    except CannotInflate:
        return body, True


def user_agent() -> str:
    """User agent of probes."""
    try:
        return f"mirrorgate/{version('mirrorgate')}"
    except PackageNotFoundError:
        return "mirrorgate"


def request_head(mirror: MirrorConfig, hostname: str, agent: str) -> bytes:
    """The request, for one of the mirror's names; it never carries a key."""
    return head_of(mirror, f"{mirror.base_path}/v1/models", hostname, agent)


def head_of(
    mirror: MirrorConfig,
    path: str,
    hostname: str,
    agent: str,
    *more: str,
    method: str = "GET",
    accept: str = "application/json",
) -> bytes:
    """The head of any request of ours; `more` are further fields."""
    lines = (
        f"{method} {path} HTTP/1.1",
        f"Host: {mirror.authority_of(hostname)}",
        f"User-Agent: {agent}",
        f"Accept: {accept}",
        "Accept-Encoding: identity",
        *more,
        "Connection: close",
    )
    return "\r\n".join((*lines, "", "")).encode("ascii")


class ResponseReader:
    """Parses one response; interim (1xx) ones before it are skipped."""

    def __init__(self, keep: int = MAX_BODY, most: int = MAX_BODY) -> None:
        """Keep so many bytes of the body, and want no more once it has more than `most`."""
        self._keep, self._most = keep, most
        self.body_bytes = 0
        self._parser = httptools.HttpResponseParser(self)
        self._headers: dict[str, str] = {}
        self._body = bytearray()
        self._head_bytes = 0
        self._head_complete = False
        self.done = False
        """The response is complete, or as much of it is here as is wanted."""

    def feed(self, data: bytes) -> None:
        """Take bytes. Raises NotHttp."""
        if not self._head_complete:
            self._head_bytes += len(data)
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade) as error:
            if not self.done:
                raise NotHttp from error
        if not self._head_complete and self._head_bytes > MAX_HEAD:
            raise NotHttp

    def end(self) -> None:
        """The stream has ended. Raises EOFError when the response has not."""
        framed = "content-length" in self._headers or "transfer-encoding" in self._headers
        if not self._head_complete or (framed and not self.done):
            raise EOFError

    def answer(self) -> HttpAnswer:
        """Return the response that was read."""
        coding = self._headers.get("content-encoding", "")
        body, whole = _decoded(bytes(self._body), coding)
        return HttpAnswer(self.status, self._headers, body, whole and self.body_bytes <= self._keep)

    @property
    def status(self) -> int:
        """The status of the response, once its head is here."""
        return int(self._parser.get_status_code())

    def on_header(self, name: bytes, value: bytes) -> None:
        """A field of the head; trailers are ignored."""
        if not self._head_complete:
            key = name.decode("latin-1").lower()
            self._headers.setdefault(key, value.decode("latin-1"))

    def on_headers_complete(self) -> None:
        """A head is complete: the final one, or that of an interim response."""
        if self._parser.get_status_code() >= 200:
            self._head_complete = True
        else:
            self._headers.clear()

    def on_body(self, body: bytes) -> None:
        """A piece of the body."""
        self.body_bytes += len(body)
        self._body += body[: max(self._keep - len(self._body), 0)]
        self.done = self.done or self.body_bytes > self._most

    def on_message_complete(self) -> None:
        """The response is complete."""
        self.done = self.done or self._head_complete


async def request(
    stream: Stream, mirror: MirrorConfig, way: Way, agent: str, timeout: float
) -> StepResult:
    """Ask for the models, and read the answer within `timeout` seconds."""
    head = request_head(mirror, way.hostname, agent)
    return await exchange(stream, head, ResponseReader(), way, timeout)


async def request_nothing(
    stream: Stream, mirror: MirrorConfig, way: Way, agent: str, timeout: float
) -> StepResult:
    """Ask for a completion without a key and without saying of what: nobody makes one."""
    path, body = f"{mirror.base_path}/v1/chat/completions", b"{}"
    fields = ("Content-Type: application/json", f"Content-Length: {len(body)}")
    head = head_of(mirror, path, way.hostname, agent, *fields, method="POST")
    return await exchange(stream, head + body, ResponseReader(), way, timeout)


async def exchange(
    stream: Stream, message: bytes, reader: ResponseReader, way: Way, timeout: float
) -> StepResult:
    """Send a request, and read the response within `timeout` seconds."""
    started = time.perf_counter()
    failure: str | None = None
    times: list[float] = []
    lost = False
    try:
        async with asyncio.timeout(timeout):
            await stream.write(message)
            await _read(stream, reader, times)
    except _Lost:
        failure, lost = TIMED_OUT, True
    except NotHttp:
        failure = "http_request_failed"
    except (OSError, EOFError) as error:
        failure = failure_of(error)
    return StepResult(
        Operation.http_round_trip,
        failure,
        time.perf_counter() - started,
        way.address,
        hostname=way.hostname,
        http=None if failure else reader.answer(),
        first_byte=times[1] - times[0] if len(times) == 2 else None,
        lost=lost,
    )


async def _read(stream: Stream, reader: ResponseReader, times: list[float]) -> None:
    times.append(time.perf_counter())
    data = await _first(stream)
    times.append(time.perf_counter())
    while data:
        reader.feed(data)
        if reader.done:
            return
        data = await stream.read()
    reader.end()


async def _first(stream: Stream) -> bytes:
    """The first bytes of the response. Raises _Lost when the request has not arrived by then."""
    reading = asyncio.ensure_future(stream.read())
    try:
        done, _ = await asyncio.wait([reading], timeout=LOST_AFTER)
        if not done and stream.unacknowledged():
            raise _Lost
        return await reading
    finally:
        reading.cancel()
        await asyncio.wait([reading])  # it must let go of the socket before that is closed
