"""A client's connection for event streams, which checks every byte."""

import asyncio
from collections.abc import Callable

import httptools

from benchmarks.events import DONE, EVENT_BYTES, WrongEvent, moment_of, now
from benchmarks.load.result import LoadFailed
from benchmarks.requests import CHAT_PATH, chat_body, head


class StreamClient(asyncio.Protocol):
    """Asks for streams of `events` events, one after the other, `streams` times.

    `ended` resolves when all have come whole, with the delay of each event in µs; it raises
    LoadFailed at the first thing that is not as the mirror sent it. `on_event` is called for each.
    `waits` has the µs from each request to the first event of its stream.
    """

    def __init__(
        self, port: int, streams: int, events: int, on_event: Callable[[], None] = lambda: None
    ) -> None:
        self.ended: asyncio.Future[list[int]] = asyncio.get_running_loop().create_future()
        body = chat_body(1_000, stream=True, max_tokens=events)
        self._request = head(CHAT_PATH, port, len(body)) + body
        self._left, self._events, self._on_event = streams, events, on_event
        self._delays: list[int] = []
        self.waits: list[int] = []
        self._asked_at = 0
        self._count = 0
        self._rest = b""
        self._parser: httptools.HttpResponseParser

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        self._transport = transport
        self._ask()

    def _ask(self) -> None:
        self._parser = httptools.HttpResponseParser(self)
        self._count, self._rest = 0, b""
        self._asked_at = now()
        self._transport.write(self._request)

    def data_received(self, data: bytes) -> None:
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError as error:
            self._fail(str(error.__context__ or error))

    def connection_lost(self, error: Exception | None) -> None:
        self._fail("the connection ended early")

    def on_body(self, body: bytes) -> None:
        received = self._rest + body if self._rest else body
        start, moment = 0, now()
        while len(received) - start >= EVENT_BYTES:
            sent = moment_of(received[start : start + EVENT_BYTES])
            self._delays.append(moment - sent)
            if not self._count:
                self.waits.append(moment - self._asked_at)
            self._count += 1
            start += EVENT_BYTES
            self._on_event()
        self._rest = received[start:]

    def on_message_complete(self) -> None:
        status = self._parser.get_status_code()
        if status != 200 or self._rest != DONE or self._count != self._events:
            raise WrongEvent(f"status {status}, {self._count} events, then {self._rest[:200]!r}")
        self._left -= 1
        if self._left:
            asyncio.get_running_loop().call_soon(self._ask)
        elif not self.ended.done():
            self.ended.set_result(self._delays)
            self._transport.close()

    def close(self) -> None:
        """End the connection, whatever is under way."""
        if not self.ended.cancel() and not self.ended.cancelled():
            self.ended.exception()  # the first failure of all connections is the one that is told
        self._transport.close()

    def _fail(self, reason: str) -> None:
        if not self.ended.done():
            self.ended.set_exception(LoadFailed(reason))
            self._transport.close()
