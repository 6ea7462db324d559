"""The points of a request's way at which a client or a mirror may vanish."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field

from tests.testkit.raw_http import OK, SWITCHED, UPGRADE, Script, get, post

_HEAD = b"HTTP/1.1 200 OK\r\n"
_CHUNKED = _HEAD + b"Transfer-Encoding: chunked\r\n"
_EVENTS = b'Content-Type: text/event-stream\r\n\r\n18\r\ndata: {"id":1}\n\ndata: x\n\r\n'
_SPEECH = post("/v1/audio/speech")
"""Its answer is not looked into: the client has what has come of it."""
_PLAIN = post("/v1/files", b"x" * 1000).replace(b"application/json", b"text/plain")


def says(data: bytes) -> Script:
    """A script that answers the first head with this and then only listens."""

    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(data)
        while await reader.read(1 << 16):
            pass

    return script


async def _floods(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.readuntil(b"\r\n\r\n")
    writer.write(_HEAD + b"Content-Length: 1000000000\r\n\r\n")
    while not writer.is_closing():
        writer.write(bytes(1 << 16))
        await writer.drain()


async def _listens(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while await reader.read(1 << 16):
        pass


_SILENT = says(b"")


@dataclass(frozen=True)
class Point:
    """One such point: how a request comes there."""

    name: str
    sent: bytes
    script: Script = _SILENT
    asked: bool = True
    """True if a mirror is connected then."""
    seen: bytes = b""
    """What the client has read last when it is there."""
    stalled: bool = False
    """The client reads no more."""
    half_closes: bool = False
    """A mirror's FIN ends one direction only."""
    table: Mapping[str, str] = field(default_factory=dict)
    """What differs in the mirror's settings."""


BEFORE_A_MIRROR = [
    Point("connected", b"", asked=False),
    Point("in the request line", b"POST /v1/ch", asked=False),
    Point("in the request head", post()[:40], asked=False),
    Point("before the body", post(body=b"{}" * 50)[:-100], asked=False),
    Point("while the body is collected", post(body=b"{}" * 50)[:-7], asked=False),
    Point("after an invitation", post("/v1/chat/completions", b"{}", "Expect: 100-continue")[:-2],
          asked=False, seen=b"100 Continue\r\n\r\n"),
    Point("after another path's head", get("/nowhere", "Content-Length: 9").replace(
        b"GET", b"POST"), asked=False, seen=b"}}"),
    Point("in another path's head", b"GET /healthz HTTP/1.1\r\nHost:", asked=False),
    Point("after a refusal", b"GET /v1/models HTTP/1.1\r\n\r\n", asked=False, seen=b"}}"),
    Point("while a name is resolved", get(), asked=False,
          table={"url": "http://slow.mirror.test", "addresses": ""}),
    Point("while TCP connects", get(), asked=False, table={"url": "deaf"}),
]  # fmt: skip

ON_A_MIRROR = [
    Point("while TLS is made", get(), _listens, table={"url": "https"}),
    Point("while the body is streamed", _PLAIN[:-500]),
    Point("while the body is streamed in chunks", _PLAIN.replace(
        b"Content-Length: 1000", b"Transfer-Encoding: chunked")[:-1000] + b"5\r\nhello\r\n"),
    Point("before an answer", post()),
    Point("after an interim answer", post(), says(b"HTTP/1.1 103 X\r\n\r\n"),
          seen=b"103 X\r\n\r\n"),
    Point("in the answer's head", post(), says(_HEAD + b"Content-Le")),
    Point("after the answer's head", _SPEECH, says(_HEAD + b"Content-Length: 9\r\n\r\n")),
    Point("in a body with a length", _SPEECH, says(_HEAD + b"Content-Length: 9\r\n\r\nhalf"),
          seen=b"half"),
    Point("in a chunk", _SPEECH, says(_CHUNKED + b"\r\nff\r\nhalf"), seen=b"half\r\n"),
    Point("between chunks", _SPEECH, says(_CHUNKED + b"\r\n4\r\nhalf\r\n"), seen=b"half\r\n"),
    Point("before the last chunk", _SPEECH, says(_CHUNKED + b"\r\n4\r\nhalf\r\n0\r\n"),
          seen=b"half\r\n"),
    Point("in a body without framing", _SPEECH, says(_HEAD + b"\r\nhalf"), seen=b"half\r\n"),
    Point("in an event", post(), says(_CHUNKED + _EVENTS), seen=b"x\n\r\n"),
    Point("behind a slow reader", get(), _floods, seen=b"\r\n\r\n", stalled=True),
    Point("in an answer that came early", _PLAIN[:-500], says(_HEAD + b"Content-Length: 9\r\n\r\n"
          b"half"), seen=b"half"),
    Point("before a switch", get("/v1/realtime", *UPGRADE) + b"early"),
    Point("after a switch", get("/v1/realtime", *UPGRADE), says(SWITCHED + b"hi"), seen=b"hi",
          half_closes=True),
    Point("in the queue", get() + get() + get()),
    Point("in the queue with a body", get() + post(body=b"{}" * 50)[:-7]),
    Point("between requests", get(), says(OK), seen=b"}]}"),
]  # fmt: skip
