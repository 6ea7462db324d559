"""The endpoints of a pretend mirror: each answers one kind of request."""

import hashlib
import json
from collections.abc import Awaitable, Callable, Iterable, Iterator
from dataclasses import dataclass, field

from aiohttp import BodyPartReader, WSMessage, WSMsgType, web

from tests.testkit import mirror_answers as answers
from tests.testkit import mirror_dialogues as dialogues
from tests.testkit.mirror_answers import Json
from tests.testkit.mirror_billing import seconds
from tests.testkit.mirror_sending import (
    Asked,
    break_connection,
    paced,
    refusal,
    send_events,
    send_json,
)
from tests.testkit.payload import blocks, payload

Handler = Callable[[Asked], Awaitable[web.StreamResponse]]

KEPT_BYTES = 1 << 20
KEPT_FILES = 100
MAX_MESSAGE = 16 << 20


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


async def chat(asked: Asked) -> web.StreamResponse:
    if asked.body.get("stream"):
        chunks = answers.chat_chunks(asked.body, asked.number, asked.count)
        return await send_events(asked, data_frames(chunks))
    return await send_json(asked, answers.chat(asked.body, asked.number, asked.count))


async def completions(asked: Asked) -> web.StreamResponse:
    if asked.body.get("stream"):
        chunks = answers.completion_chunks(asked.body, asked.number, asked.count)
        return await send_events(asked, data_frames(chunks))
    return await send_json(asked, answers.completion(asked.body, asked.number, asked.count))


async def responses(asked: Asked) -> web.StreamResponse:
    if asked.body.get("stream"):
        events = dialogues.response_events(asked.body, asked.number, asked.count)
        return await send_events(asked, named_frames(events))
    parts = answers.pieces(dialogues.responses_prompt(asked.body), asked.count)
    document = dialogues.response(
        asked.body, asked.number, "".join(parts), "completed", asked.count
    )
    return await send_json(asked, document)


async def messages(asked: Asked) -> web.StreamResponse:
    if asked.body.get("stream"):
        events = dialogues.message_events(asked.body, asked.number, asked.count)
        return await send_events(asked, named_frames(events))
    text = "".join(answers.pieces(answers.last_text(asked.body["messages"]), asked.count))
    document = dialogues.message(asked.body, asked.number, text, asked.count)
    return await send_json(asked, document)


async def embeddings(asked: Asked) -> web.StreamResponse:
    return await send_json(asked, answers.embeddings(asked.body))


async def moderations(asked: Asked) -> web.StreamResponse:
    return await send_json(asked, answers.moderation(asked.body, asked.number))


async def images(asked: Asked) -> web.StreamResponse:
    return await send_json(asked, answers.images(asked.body))


async def speech(asked: Asked) -> web.StreamResponse:
    sound = payload(answers.SPEECH_BYTES, seed=len(asked.body["input"]))
    told = {"x-test-sha256": hashlib.sha256(sound).hexdigest()}
    return web.Response(body=sound, content_type="audio/mpeg", headers=told)


async def transcriptions(asked: Asked) -> web.StreamResponse:
    upload = await receive(asked)
    asked.body.update(upload.fields)
    told = (upload.name, upload.size, upload.sha256, seconds(upload.size))
    return await send_json(asked, answers.transcription(*told))


async def models(asked: Asked) -> web.StreamResponse:
    offered = asked.behaviour.models or answers.DEFAULT_MODELS
    return await send_json(asked, answers.models(offered))


async def model(asked: Asked) -> web.StreamResponse:
    name = asked.request.match_info["name"]
    if name not in (asked.behaviour.models or answers.DEFAULT_MODELS):
        return refusal(404, f"The model '{name}' does not exist")
    return await send_json(asked, answers.model(name))


async def subscription(asked: Asked) -> web.StreamResponse:
    return await send_json(asked, {"object": "billing_subscription", "hard_limit_usd": 120.0})


async def billed_usage(asked: Asked) -> web.StreamResponse:
    return await send_json(asked, {"object": "list", "total_usage": 2050.0})


async def bulk(asked: Asked) -> web.StreamResponse:
    """Send as many generated bytes as the path says."""
    size = int(asked.request.match_info["size"])
    response = web.StreamResponse(headers={"Content-Type": "application/octet-stream"})
    response.content_length = size
    await response.prepare(asked.request)
    if asked.request.method != "HEAD":
        async for block in paced(asked, ((True, block) for block in blocks(size))):
            await response.write(block)
    return response


async def receive(asked: Asked) -> Upload:
    """Read a multipart body of any size, keeping only what is small."""
    upload = Upload()
    async for part in await asked.request.multipart():
        if not isinstance(part, BodyPartReader):
            continue
        if part.filename is None:
            upload.fields[part.name or ""] = await part.text()
        else:
            await _receive_file(part, upload)
    asked.seen.body_bytes, asked.seen.body_sha256 = upload.size, upload.sha256
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

    async def create(self, asked: Asked) -> web.StreamResponse:
        upload = await receive(asked)
        purpose = upload.fields.get("purpose", "")
        described = answers.file_object(
            asked.number, upload.name, purpose, upload.size, upload.sha256
        )
        self._kept[described["id"]] = described, upload.content
        if len(self._kept) > KEPT_FILES:
            del self._kept[next(iter(self._kept))]
        return await send_json(asked, described)

    async def retrieve(self, asked: Asked) -> web.StreamResponse:
        described, _ = self._kept.get(asked.request.match_info["id"], ({}, None))
        if not described:
            return refusal(404, "No such File object", "no_such_file")
        return await send_json(asked, described)

    async def content(self, asked: Asked) -> web.StreamResponse:
        _, content = self._kept.get(asked.request.match_info["id"], ({}, None))
        if content is None:
            return refusal(404, "No such File object, or too large to be kept", "no_such_file")
        return web.Response(body=content, content_type="application/octet-stream")


async def realtime(asked: Asked) -> web.StreamResponse:
    """Talk over a WebSocket: `session.created` first, then an answer to each message."""
    wire = web.WebSocketResponse(protocols=("realtime",), max_msg_size=MAX_MESSAGE)
    await wire.prepare(asked.request)
    await wire.send_json(dialogues.session(asked.request.query.get("model", "")))
    async for message in wire:
        if not await _reply(asked, wire, message):
            break
    return wire


async def _reply(asked: Asked, wire: web.WebSocketResponse, message: WSMessage) -> bool:
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
        asked.seen.end("cut")
        break_connection(asked.request, "reset")
        return False
    async for reply in paced(asked, dialogues.realtime_replies(event, asked.count)):
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
