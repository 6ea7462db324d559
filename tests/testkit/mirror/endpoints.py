"""The endpoints of a pretend mirror, and how it sends answers or spoils them when told to."""

import asyncio
import hashlib
import json
import zlib
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import TypeVar

from aiohttp import BodyPartReader, WSMessage, WSMsgType, web

from tests.testkit.listener import reset
from tests.testkit.mirror import answers
from tests.testkit.mirror.answers import Json
from tests.testkit.mirror.behaviour import Behaviour, Seen
from tests.testkit.mirror.billing import seconds
from tests.testkit.mirror.payload import blocks, payload

T = TypeVar("T")

STALL = 3600.0

KEPT_BYTES = 1 << 20
KEPT_FILES = 100
MAX_MESSAGE = 16 << 20


@dataclass
class Call:
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


def error_response(status: int, message: str, code: str = "") -> web.Response:
    return web.json_response(answers.error(status, message, code), status=status)


def faulty_response(behaviour: Behaviour) -> web.Response:
    """Return the answer that `behaviour.status` asks for."""
    if behaviour.html:
        page = f"<html><head><title>{behaviour.status}</title></head><body>cdn</body></html>"
        response = web.Response(status=behaviour.status, text=page, content_type="text/html")
    else:
        message = f"The mirror was told to answer {behaviour.status}."
        response = error_response(behaviour.status, message, behaviour.error_code)
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
    reset(transport)


async def send_json(call: Call, document: Json) -> web.StreamResponse:
    """Answer with a document, or with half of it if the answer is to be cut."""
    if call.behaviour.cut_after is None:
        whole = web.json_response(document)
        if call.behaviour.compress:
            whole.enable_compression(web.ContentCoding.gzip)
        return whole
    blob = json.dumps(document).encode()
    response = web.StreamResponse(headers={"Content-Type": "application/json"})
    response.content_length = len(blob)
    await response.prepare(call.request)
    await response.write(blob[: len(blob) // 2])
    call.seen.end("cut")
    break_connection(call.request, call.behaviour.cut)
    return response


async def send_events(call: Call, frames: Iterable[tuple[bool, bytes]]) -> web.StreamResponse:
    """Stream (is it content?, frame) as server-sent events, as regularly or badly as wished."""
    response = web.StreamResponse(headers={"Content-Type": "text/event-stream; charset=utf-8"})
    packer = zlib.compressobj(wbits=31) if call.behaviour.compress else None
    if packer is not None:
        response.headers["Content-Encoding"] = "gzip"
    await response.prepare(call.request)
    async for frame in paced(call, frames):
        await response.write(frame if packer is None else _packed(packer, frame))
    if packer is not None and call.seen.ended is None:
        await response.write(packer.flush())
    return response


def _packed(packer: "zlib._Compress", frame: bytes) -> bytes:
    return packer.compress(frame) + packer.flush(zlib.Z_SYNC_FLUSH)


async def paced(call: Call, items: Iterable[tuple[bool, T]]) -> AsyncIterator[T]:
    """Yield the items with the pauses, the stall and the cut of the behaviour."""
    behaviour, sent = call.behaviour, 0
    for is_content, item in items:
        if is_content or sent:
            if sent == behaviour.stall_after:
                await asyncio.sleep(STALL)
            if sent == behaviour.cut_after:
                call.seen.end("cut")
                break_connection(call.request, behaviour.cut)
                return
        if is_content:
            await asyncio.sleep(behaviour.event_delay)
            sent += 1
        yield item


Handler = Callable[[Call], Awaitable[web.StreamResponse]]


@dataclass
class Upload:
    """Content of a multipart body: its fields, and its last file without its bytes."""

    fields: dict[str, str] = field(default_factory=dict)
    name: str = ""
    size: int = 0
    sha256: str = ""
    content: bytes | None = None
    """The bytes of a file of at most KEPT_BYTES."""


def data_frames(
    chunks: Iterable[tuple[bool, Json]], done: bool = True
) -> Iterator[tuple[bool, bytes]]:
    """Frame chunks as chat completions do: bare data, then [DONE]."""
    for is_content, chunk in chunks:
        yield is_content, f"data: {json.dumps(chunk, ensure_ascii=False)}\n\n".encode()
    if done:
        yield False, b"data: [DONE]\n\n"


def named_frames(events: Iterable[tuple[bool, Json]]) -> Iterator[tuple[bool, bytes]]:
    """Frame events as the Responses API does: a type, the data, and no [DONE]."""
    for is_content, event in events:
        data = json.dumps(event, ensure_ascii=False)
        yield is_content, f"event: {event['type']}\ndata: {data}\n\n".encode()


async def chat(call: Call) -> web.StreamResponse:
    if call.body.get("stream"):
        chunks = answers.chat_chunks(call.body, call.number, call.count)
        return await send_events(call, data_frames(chunks))
    return await send_json(call, answers.chat(call.body, call.number, call.count))


async def completions(call: Call) -> web.StreamResponse:
    if call.body.get("stream"):
        chunks = answers.completion_chunks(call.body, call.number, call.count)
        return await send_events(call, data_frames(chunks))
    return await send_json(call, answers.completion(call.body, call.number, call.count))


async def responses(call: Call) -> web.StreamResponse:
    if call.body.get("stream"):
        events = answers.response_events(call.body, call.number, call.count)
        return await send_events(call, named_frames(events))
    parts = answers.pieces(answers.responses_prompt(call.body), call.count)
    document = answers.response(call.body, call.number, "".join(parts), "completed", call.count)
    return await send_json(call, document)


async def messages(call: Call) -> web.StreamResponse:
    if call.body.get("stream"):
        events = answers.message_events(call.body, call.number, call.count)
        return await send_events(call, named_frames(events))
    text = "".join(answers.pieces(answers.last_text(call.body["messages"]), call.count))
    document = answers.message(call.body, call.number, text, call.count)
    return await send_json(call, document)


async def embeddings(call: Call) -> web.StreamResponse:
    return await send_json(call, answers.embeddings(call.body))


async def moderations(call: Call) -> web.StreamResponse:
    return await send_json(call, answers.moderation(call.body, call.number))


async def images(call: Call) -> web.StreamResponse:
    return await send_json(call, answers.images(call.body))


async def speech(call: Call) -> web.StreamResponse:
    sound = payload(answers.SPEECH_BYTES, seed=len(call.body["input"]))
    told = {"x-test-sha256": hashlib.sha256(sound).hexdigest()}
    return web.Response(body=sound, content_type="audio/mpeg", headers=told)


async def transcriptions(call: Call) -> web.StreamResponse:
    upload = await receive(call)
    call.body.update(upload.fields)
    told = (upload.name, upload.size, upload.sha256, seconds(upload.size))
    return await send_json(call, answers.transcription(*told))


async def models(call: Call) -> web.StreamResponse:
    offered = call.behaviour.models or answers.DEFAULT_MODELS
    return await send_json(call, answers.models(offered))


async def model(call: Call) -> web.StreamResponse:
    name = call.request.match_info["name"]
    if name not in (call.behaviour.models or answers.DEFAULT_MODELS):
        return error_response(404, f"The model '{name}' does not exist")
    return await send_json(call, answers.model(name))


async def subscription(call: Call) -> web.StreamResponse:
    return await send_json(call, {"object": "billing_subscription", "hard_limit_usd": 120.0})


async def billed_usage(call: Call) -> web.StreamResponse:
    return await send_json(call, {"object": "list", "total_usage": 2050.0})


async def bulk(call: Call) -> web.StreamResponse:
    """Send as many generated bytes as the path says."""
    size = int(call.request.match_info["size"])
    response = web.StreamResponse(headers={"Content-Type": "application/octet-stream"})
    response.content_length = size
    await response.prepare(call.request)
    if call.request.method != "HEAD":
        async for block in paced(call, ((True, block) for block in blocks(size))):
            await response.write(block)
    return response


async def receive(call: Call) -> Upload:
    """Read a multipart body of any size, keeping only what is small."""
    upload = Upload()
    async for part in await call.request.multipart():
        if not isinstance(part, BodyPartReader):
            continue
        if part.filename is None:
            upload.fields[part.name or ""] = await part.text()
        else:
            await _receive_file(part, upload)
    call.seen.body_bytes, call.seen.body_sha256 = upload.size, upload.sha256
    return upload


async def _receive_file(part: BodyPartReader, upload: Upload) -> None:
    digest, size, kept = hashlib.sha256(), 0, bytearray()
    while chunk := await part.read_chunk(1 << 16):
        digest.update(chunk)
        size += len(chunk)
        if size <= KEPT_BYTES:
            kept += chunk
    upload.name, upload.size, upload.sha256 = part.filename or "", size, digest.hexdigest()
    upload.content = bytes(kept) if size <= KEPT_BYTES else None


class Files:
    """Uploaded files; their number is bounded, the oldest make room."""

    def __init__(self) -> None:
        self._kept: dict[str, tuple[Json, bytes | None]] = {}

    async def create(self, call: Call) -> web.StreamResponse:
        upload = await receive(call)
        purpose = upload.fields.get("purpose", "")
        described = answers.file_object(
            call.number, upload.name, purpose, upload.size, upload.sha256
        )
        self._kept[described["id"]] = described, upload.content
        if len(self._kept) > KEPT_FILES:
            del self._kept[next(iter(self._kept))]
        return await send_json(call, described)

    async def retrieve(self, call: Call) -> web.StreamResponse:
        described, _ = self._kept.get(call.request.match_info["id"], ({}, None))
        if not described:
            return error_response(404, "No such File object", "no_such_file")
        return await send_json(call, described)

    async def content(self, call: Call) -> web.StreamResponse:
        _, content = self._kept.get(call.request.match_info["id"], ({}, None))
        if content is None:
            return error_response(
                404, "No such File object, or too large to be kept", "no_such_file"
            )
        return web.Response(body=content, content_type="application/octet-stream")


async def realtime(call: Call) -> web.StreamResponse:
    """Talk over a WebSocket: `session.created` first, then an answer to each message."""
    wire = web.WebSocketResponse(protocols=("realtime",), max_msg_size=MAX_MESSAGE)
    await wire.prepare(call.request)
    await wire.send_json(answers.session(call.request.query.get("model", "")))
    async for message in wire:
        if not await _reply(call, wire, message):
            break
    return wire


async def _reply(call: Call, wire: web.WebSocketResponse, message: WSMessage) -> bool:
    """Answer one message; return whether the conversation goes on."""
    if message.type is WSMsgType.BINARY:
        await wire.send_bytes(message.data)
        return True
    if message.type is not WSMsgType.TEXT:
        return False
    event = json.loads(message.data)
    if event.get("type") == "test.close":
        await wire.close(code=event["code"], message=event["reason"].encode())
        return False
    if event.get("type") == "test.reset":
        call.seen.end("cut")
        break_connection(call.request, "reset")
        return False
    async for reply in paced(call, answers.realtime_replies(event, call.count)):
        await wire.send_json(reply)
    return not wire.closed


def table(files: Files) -> list[tuple[str, str, Handler, tuple[str, ...]]]:
    """Return (method, path, handler, fields that the JSON body must have)."""
    return [
        ("GET", "/v1/models", models, ()),
        ("GET", "/v1/models/{name}", model, ()),
        ("POST", "/v1/chat/completions", chat, ("model", "messages")),
        ("POST", "/v1/completions", completions, ("model", "prompt")),
        ("POST", "/v1/responses", responses, ("model", "input")),
        ("POST", "/v1/messages", messages, ("model", "messages")),
        ("POST", "/v1/embeddings", embeddings, ("model", "input")),
        ("POST", "/v1/moderations", moderations, ("input",)),
        ("POST", "/v1/images/generations", images, ("prompt",)),
        ("POST", "/v1/audio/speech", speech, ("model", "input")),
        ("POST", "/v1/audio/transcriptions", transcriptions, ()),
        ("POST", "/v1/files", files.create, ()),
        ("GET", "/v1/files/{id}", files.retrieve, ()),
        ("GET", "/v1/files/{id}/content", files.content, ()),
        ("GET", "/v1/realtime", realtime, ()),
        ("GET", "/v1/dashboard/billing/subscription", subscription, ()),
        ("GET", "/v1/dashboard/billing/usage", billed_usage, ()),
        ("GET", "/bulk/{size}", bulk, ()),
    ]
