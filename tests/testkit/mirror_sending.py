"""Ways in which a pretend mirror sends its answers, and spoils them when told to."""

import asyncio
import json
import socket
import struct
import zlib
from collections.abc import AsyncIterator, Iterable
from dataclasses import dataclass
from typing import TypeVar

from aiohttp import web

from tests.testkit import mirror_answers as answers
from tests.testkit.mirror_answers import Json
from tests.testkit.mirror_behaviour import Behaviour, Seen

T = TypeVar("T")

STALL = 3600.0
RESET_ON_CLOSE = struct.pack("ii", 1, 0)
"""SO_LINGER with a time of zero: closing sends an RST and drops what is unsent (socket(7))."""


@dataclass
class Asked:
    """One request on its way through a handler."""

    request: web.Request
    seen: Seen
    behaviour: Behaviour
    body: Json
    """The parsed JSON; empty if it was something else."""

    @property
    def number(self) -> int:
        return self.seen.number

    @property
    def count(self) -> int:
        return self.behaviour.events


def credentials(request: web.Request) -> tuple[str, str]:
    """Return (key, where it was), in the order in which clients prefer the carriers."""
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() == "bearer":
        return token.strip(), "authorization"
    for carrier in ("api-key", "x-api-key", "mj-api-secret"):
        if carrier in request.headers:
            return request.headers[carrier], carrier
    for offered in request.headers.get("sec-websocket-protocol", "").split(","):
        if offered.strip().startswith("openai-insecure-api-key."):
            return offered.strip().removeprefix("openai-insecure-api-key."), "subprotocol"
    return "", ""


def refusal(status: int, message: str, code: str = "") -> web.Response:
    return web.json_response(answers.error(status, message, code), status=status)


def spoilt(behaviour: Behaviour) -> web.Response:
    """Return the answer that `behaviour.status` asks for."""
    if behaviour.html:
        page = f"<html><head><title>{behaviour.status}</title></head><body>cdn</body></html>"
        response = web.Response(status=behaviour.status, text=page, content_type="text/html")
    else:
        message = f"The mirror was told to answer {behaviour.status}."
        response = refusal(behaviour.status, message, behaviour.error_code)
    if behaviour.retry_after:
        response.headers["Retry-After"] = behaviour.retry_after
    return response


def break_connection(request: web.Request, how: str) -> None:
    """End the connection in the middle of things: "reset" sends an RST, "close" a FIN."""
    transport = request.transport
    if transport is None:
        return
    if how == "close":
        transport.close()
        return
    raw = transport.get_extra_info("socket")
    raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET_ON_CLOSE)
    transport.abort()


async def send_json(asked: Asked, document: Json) -> web.StreamResponse:
    """Answer with a document, or with half of it if the answer is to be cut."""
    if asked.behaviour.cut_after is None:
        whole = web.json_response(document)
        if asked.behaviour.compress:
            whole.enable_compression(web.ContentCoding.gzip)
        return whole
    blob = json.dumps(document).encode()
    response = web.StreamResponse(headers={"Content-Type": "application/json"})
    response.content_length = len(blob)
    await response.prepare(asked.request)
    await response.write(blob[: len(blob) // 2])
    asked.seen.end("cut")
    break_connection(asked.request, asked.behaviour.cut)
    return response


async def send_events(asked: Asked, frames: Iterable[tuple[bool, bytes]]) -> web.StreamResponse:
    """Stream (is it content?, frame) as server-sent events, as regularly or badly as wished."""
    response = web.StreamResponse(headers={"Content-Type": "text/event-stream; charset=utf-8"})
    packer = zlib.compressobj(wbits=31) if asked.behaviour.compress else None
    if packer is not None:
        response.headers["Content-Encoding"] = "gzip"
    await response.prepare(asked.request)
    async for frame in paced(asked, frames):
        await response.write(frame if packer is None else _packed(packer, frame))
    if packer is not None and asked.seen.ended is None:
        await response.write(packer.flush())
    return response


def _packed(packer: "zlib._Compress", frame: bytes) -> bytes:
    return packer.compress(frame) + packer.flush(zlib.Z_SYNC_FLUSH)


async def paced(asked: Asked, items: Iterable[tuple[bool, T]]) -> AsyncIterator[T]:
    """Yield the items with the pauses, the stall and the cut of the behaviour."""
    behaviour, sent = asked.behaviour, 0
    for is_content, item in items:
        if is_content or sent:
            if sent == behaviour.stall_after:
                await asyncio.sleep(STALL)
            if sent == behaviour.cut_after:
                asked.seen.end("cut")
                break_connection(asked.request, behaviour.cut)
                return
        if is_content:
            await asyncio.sleep(behaviour.event_delay)
            sent += 1
        yield item
