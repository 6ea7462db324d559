"""Requests of our own that take the way of every request, in process: admitted, limited, metered,
retried and counted as a client's own request would be.

An `InnerClient` stands in the place of the client's connection; what the exchange writes to it is
parsed as a response, up to a bound.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import httptools

from router.admission.client_address import Client
from router.forwarding.context import WorkerContext
from router.forwarding.exchange import Exchange
from router.forwarding.request_context import RequestContext
from router.wire.request import RequestHead


@dataclass(slots=True)
class InnerResponse:
    """A response, whole; `status` 0: there was none, or it broke off or was too large."""

    status: int = 0
    fields: dict[str, str] = field(default_factory=dict)
    """By lower-case name."""
    body: bytes = b""


def request_head(
    method: str, target: str, key: str, look: Mapping[bytes, bytes], length: int = 0
) -> RequestHead:
    """The head of a request with this key; `look`: the fields of the client's own request."""
    plain: list[bytes] = [b"accept", b": ", b"application/json", b"\r\n"]
    plain += [b"accept-encoding", b": ", b"identity", b"\r\n"]
    looked = {b"host": look.get(b"host", b"localhost"), b"authorization": b"Bearer " + key.encode()}
    if length:
        looked[b"content-type"] = b"application/json"
    for name in (b"user-agent", b"x-mirrorgate-timeout"):
        if name in look:
            looked[name] = look[name]
    for name in (b"content-type", b"user-agent"):
        if name in looked:
            plain += [name, b": ", looked[name], b"\r\n"]
    return RequestHead(method.encode(), target.encode(), plain, looked, length=length)


async def ask(
    context: WorkerContext,
    client: Client,
    head: RequestHead,
    body: bytes,
    *,
    endpoint: str,
    most: int,
) -> InnerResponse:
    """The response to this request of a client; `endpoint` is the label that it is counted by,
    `most` the bytes that the response may have. When this is cancelled, the request ends."""
    request = RequestContext(context.config, head, head.target, client)
    inner = InnerClient(context, client.address, most)
    exchange = Exchange(context, inner, head, request)
    exchange.endpoint = endpoint
    exchange.body.keep_whole(body)
    inner.exchange = exchange
    try:
        exchange.begin()
        return await inner.response
    finally:
        exchange.client_left()
        inner.end()


class InnerClient:
    """The client's side of an exchange of our own."""

    def __init__(self, context: WorkerContext, client: str, most: int) -> None:
        self.client = client
        self.exchange: Exchange | None = None
        self.response: asyncio.Future[InnerResponse] = asyncio.get_running_loop().create_future()
        self._context = context
        self._reader = _Reader(most)
        self._collector = _Collector(self._reader, self._lost)
        self.transport: asyncio.Transport = self._collector

    def pause_client(self) -> None:
        """There is nothing to read."""

    def resume_client(self) -> None:
        """There is nothing to read."""

    def cut(self) -> None:
        """End the exchange; there is no response."""
        self.transport.abort()

    def exchange_done(self, keep_alive: bool) -> None:
        """The response is written."""
        self._context.write_batch.flush()
        self._answer()

    def end(self) -> None:
        """Let go of what was said, and of what refers back, so that there are no cycles. A kept
        connection to a mirror knows its last exchange until the next one."""
        self.exchange = None
        del self.response
        self._reader.end()
        self._collector.end()

    def _lost(self) -> None:
        if self.exchange is not None:
            self.exchange.client_left()
        self._answer()

    def _answer(self) -> None:
        if not self.response.done():
            whole = self._reader.whole
            self.response.set_result(self._reader.response if whole else InnerResponse())


class _Collector(asyncio.Transport):
    """Takes what an exchange writes."""

    def __init__(self, reader: _Reader, lost: Callable[[], None]) -> None:
        super().__init__()
        self._reader = reader
        self._lost = lost
        self._closing = False

    def write(self, data: bytes | bytearray | memoryview) -> None:
        if not self._reader.feed(bytes(data)):
            self.abort()

    def is_closing(self) -> bool:
        return self._closing

    def close(self) -> None:
        if not self._closing:
            self._closing = True
            asyncio.get_running_loop().call_soon(self._tell_lost)

    def abort(self) -> None:
        self.close()

    def _tell_lost(self) -> None:
        self._lost()

    def get_write_buffer_size(self) -> int:
        return 0

    def can_write_eof(self) -> bool:
        return False

    def end(self) -> None:
        """Take nothing more."""
        self._closing = True
        self._lost = _nothing


def _nothing() -> None:
    """Stands for the owner once it is gone."""


class _Reader:
    """Parses one response; interim ones are skipped."""

    def __init__(self, most: int) -> None:
        self.response = InnerResponse()
        self.whole = False
        self._most = most
        self._size = 0
        self._parts: list[bytes] = []
        self._parser = httptools.HttpResponseParser(self)

    def end(self) -> None:
        """Let go of the parser, which refers back to this."""
        del self._parser

    def feed(self, data: bytes) -> bool:
        """Read on; False if it is too much, or no response."""
        self._size += len(data)
        if self._size > self._most:
            return False
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError:
            return False
        return True

    def on_message_begin(self) -> None:
        self.response = InnerResponse()

    def on_header(self, name: bytes, value: bytes) -> None:
        text = value.decode("latin-1")
        known = self.response.fields.get(lower := name.decode("latin-1").lower())
        self.response.fields[lower] = text if known is None else f"{known}, {text}"

    def on_body(self, data: bytes) -> None:
        self._parts.append(data)

    def on_message_complete(self) -> None:
        status = self._parser.get_status_code()
        if status >= 200:
            self.response.status, self.response.body = status, b"".join(self._parts)
            self.whole = True
