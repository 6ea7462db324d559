"""A pretend mirror that costs little: `python -m benchmarks.mirror --mode reply --port N`.

It reads the whole request and answers JSON of a fixed size. A request for a stream is answered in
mode `sse` with as many events as its `max_tokens` says, in mode `idle` with one, and then nothing.
"""

import argparse
import asyncio
import functools
import re
import ssl
from pathlib import Path

import httptools
import uvloop

from benchmarks.events import DONE, EVENT_BYTES, event, now
from benchmarks.requests import MODELS, reply

KEPT_BODY = 4096
"""Bytes of a request that are looked at."""
INTERVAL = 0.02
"""Seconds between two events."""

_STREAM_HEAD = (
    b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nCache-Control: no-cache\r\n"
    b"Transfer-Encoding: chunked\r\n\r\n"
)
_LAST_CHUNKS = b"%x\r\n%s\r\n0\r\n\r\n" % (len(DONE), DONE)
_STREAM = re.compile(rb'"stream":\s*true')
_COUNT = re.compile(rb'"max_tokens":\s*(\d+)')


class Mirror(asyncio.Protocol):
    """One connection; requests are answered one after the other."""

    def __init__(self, mode: str, answer: bytes) -> None:
        self._mode, self._answer = mode, answer
        self._parser = httptools.HttpRequestParser(self)
        self._body = bytearray()
        self._timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        self._transport = transport

    def connection_lost(self, error: Exception | None) -> None:
        if self._timer is not None:
            self._timer.cancel()

    def data_received(self, data: bytes) -> None:
        self._parser.feed_data(data)

    def on_message_begin(self) -> None:
        self._body.clear()

    def on_body(self, body: bytes) -> None:
        if len(self._body) < KEPT_BODY:
            self._body += body[:KEPT_BODY]

    def on_message_complete(self) -> None:
        if self._parser.get_method() != b"POST":
            self._transport.write(_json_answer(MODELS))
        elif self._mode != "reply" and _STREAM.search(self._body):
            self._begin_stream()
        else:
            self._transport.write(self._answer)

    def _begin_stream(self) -> None:
        found = _COUNT.search(self._body)
        count = int(found[1]) if found else 1
        self._transport.write(_STREAM_HEAD)
        loop = asyncio.get_running_loop()
        self._next(loop, loop.time(), count)

    def _next(self, loop: asyncio.AbstractEventLoop, due: float, left: int) -> None:
        """Send an event; the next is due from when this one was, so that no delay adds up."""
        if left == 0:
            self._transport.write(_LAST_CHUNKS)
            return
        self._transport.write(b"%x\r\n%s\r\n" % (EVENT_BYTES, event(now())))
        if self._mode == "sse":
            self._timer = loop.call_at(due + INTERVAL, self._next, loop, due + INTERVAL, left - 1)


def _json_answer(body: bytes) -> bytes:
    head = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"
    return head % len(body) + body


async def serve(arguments: argparse.Namespace) -> None:
    """Serve until the process is ended."""
    tls = None
    if arguments.cert:
        tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        tls.load_cert_chain(arguments.cert, arguments.key)
    answer = _json_answer(reply(arguments.reply_bytes))
    server = await asyncio.get_running_loop().create_server(
        functools.partial(Mirror, arguments.mode, answer),
        "127.0.0.1",
        arguments.port,
        ssl=tls,
        backlog=4096,
    )
    async with server:
        await server.serve_forever()


def main() -> None:
    parser = argparse.ArgumentParser(prog="benchmarks.mirror")
    parser.add_argument("--mode", choices=("reply", "sse", "idle"), required=True)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--reply-bytes", type=int, default=400)
    parser.add_argument("--cert", type=Path)
    parser.add_argument("--key", type=Path)
    uvloop.run(serve(parser.parse_args()))


if __name__ == "__main__":
    main()
