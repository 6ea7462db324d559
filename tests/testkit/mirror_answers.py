"""Responses of a pretend mirror: OpenAI's shapes, filled with content that can be checked. Pure."""

import base64
import hashlib
import json
import struct
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from tests.testkit.payload import payload

Json = dict[str, Any]

CREATED = 1_700_000_000
SPEECH_BYTES = 200_000
DEFAULT_MODELS = (
    "dall-e-3",
    "gpt-3.5-turbo",
    "gpt-4",
    "gpt-4o",
    "gpt-4o-mini",
    "gpt-realtime",
    "o3-mini",
    "omni-moderation-latest",
    "text-embedding-3-small",
    "tts-1",
    "whisper-1",
)

ERRORS = {
    400: ("invalid_request_error", None),
    401: ("invalid_request_error", "invalid_api_key"),
    403: ("request_forbidden", "unsupported_country_region_territory"),
    404: ("invalid_request_error", "model_not_found"),
    429: ("requests", "rate_limit_exceeded"),
}
"""status -> type and code of OpenAI's errors (https://platform.openai.com/docs/guides/error-codes);
others are a `server_error` without a code."""


def error(status: int, message: str, code: str = "", param: str | None = None) -> Json:
    """Return an error in OpenAI's shape; `code` replaces the usual one of that status."""
    kind, usual = ERRORS.get(status, ("server_error", None))
    kind = code if code == "insufficient_quota" else kind
    return {
        "error": {"message": message, "type": kind, "param": param, "code": code or usual},
    }


def models(names: Sequence[str]) -> Json:
    return {"object": "list", "data": [model(name) for name in names]}


def model(name: str) -> Json:
    return {"id": name, "object": "model", "created": CREATED, "owned_by": "openai"}


def pieces(prompt: str, count: int) -> list[str]:
    """Return the answer to `prompt` in `count` pieces: the prompt itself, then numbers."""
    return [prompt, *(f" {number}" for number in range(1, count))][:count]


def usage(prompt: str, count: int, body: Mapping[str, Any]) -> Json:
    """Usage of an answer in `count` pieces; half of the prompt was cached if a key was named."""
    asked = len(prompt.split())
    told = {"prompt_tokens": asked, "completion_tokens": count, "total_tokens": asked + count}
    if body.get("prompt_cache_key"):
        return told | {"prompt_tokens_details": {"cached_tokens": asked // 2}}
    return told


def last_text(messages: Any) -> str:
    """Return the text of the last message, of which the answer is made."""
    content = messages[-1].get("content", "") if messages else ""
    if isinstance(content, list):
        return "".join(part.get("text", "") for part in content)
    return str(content)


def chat(body: Mapping[str, Any], number: int, count: int) -> Json:
    prompt = last_text(body["messages"])
    message = {"role": "assistant", "content": "".join(pieces(prompt, count)), "refusal": None}
    return {
        "id": f"chatcmpl-{number}",
        "object": "chat.completion",
        "created": CREATED,
        "model": body["model"],
        "choices": [{"index": 0, "message": message, "logprobs": None, "finish_reason": "stop"}],
        "usage": usage(prompt, count, body),
    }


def chat_chunks(body: Mapping[str, Any], number: int, count: int) -> Iterator[tuple[bool, Json]]:
    """Yield (is it content?, chunk) for a streamed chat completion."""
    prompt = last_text(body["messages"])
    with_usage = bool((body.get("stream_options") or {}).get("include_usage"))
    frame: Json = {
        "id": f"chatcmpl-{number}",
        "object": "chat.completion.chunk",
        "created": CREATED,
        "model": body["model"],
    }
    if with_usage:
        frame["usage"] = None

    def choice(delta: Json, finish: str | None = None) -> Json:
        return frame | {"choices": [{"index": 0, "delta": delta, "finish_reason": finish}]}

    yield False, choice({"role": "assistant", "content": ""})
    for piece in pieces(prompt, count):
        yield True, choice({"content": piece})
    yield False, choice({}, "stop")
    if with_usage:
        yield False, frame | {"choices": [], "usage": usage(prompt, count, body)}


def completion(body: Mapping[str, Any], number: int, count: int) -> Json:
    prompt = str(body.get("prompt", ""))
    return _completion(body, number, "".join(pieces(prompt, count)), "stop") | {
        "usage": usage(prompt, count, body)
    }


def completion_chunks(
    body: Mapping[str, Any], number: int, count: int
) -> Iterator[tuple[bool, Json]]:
    prompt = str(body.get("prompt", ""))
    for piece in pieces(prompt, count):
        yield True, _completion(body, number, piece, None)
    yield False, _completion(body, number, "", "stop")
    if (body.get("stream_options") or {}).get("include_usage"):
        last = _completion(body, number, "", None) | {"choices": []}
        yield False, last | {"usage": usage(prompt, count, body)}


def _completion(body: Mapping[str, Any], number: int, text: str, finish: str | None) -> Json:
    return {
        "id": f"cmpl-{number}",
        "object": "text_completion",
        "created": CREATED,
        "model": body["model"],
        "choices": [{"index": 0, "text": text, "logprobs": None, "finish_reason": finish}],
    }


def embeddings(body: Mapping[str, Any]) -> Json:
    given = body["input"]
    inputs = given if isinstance(given, list) else [given]
    as_base64 = body.get("encoding_format") == "base64"
    data = [
        {"object": "embedding", "index": index, "embedding": vector(str(text), as_base64)}
        for index, text in enumerate(inputs)
    ]
    used = {"prompt_tokens": len(inputs), "total_tokens": len(inputs)}
    return {"object": "list", "data": data, "model": body["model"], "usage": used}


def vector(text: str, as_base64: bool = False) -> list[float] | str:
    """Return eight numbers that belong to `text`, exact in 32 bits."""
    numbers = [byte / 256 for byte in hashlib.sha256(text.encode()).digest()[:8]]
    if as_base64:
        return base64.b64encode(struct.pack("<8f", *numbers)).decode()
    return numbers


def moderation(body: Mapping[str, Any], number: int) -> Json:
    flagged = "violence" in json.dumps(body["input"])
    result = {
        "flagged": flagged,
        "categories": {"violence": flagged},
        "category_scores": {"violence": 0.9 if flagged else 0.0},
        "category_applied_input_types": {"violence": ["text"]},
    }
    return {"id": f"modr-{number}", "model": "omni-moderation-latest", "results": [result]}


def images(body: Mapping[str, Any]) -> Json:
    picture = base64.b64encode(payload(3000, seed=1)).decode()
    count = body.get("n") or 1
    return {
        "created": CREATED,
        "data": [{"b64_json": picture, "revised_prompt": body["prompt"]}] * count,
    }


def file_object(number: int, name: str, purpose: str, size: int, sha256: str) -> Json:
    return {
        "id": f"file-{number}",
        "object": "file",
        "bytes": size,
        "created_at": CREATED,
        "filename": name,
        "purpose": purpose,
        "status": "processed",
        "sha256": sha256,
    }


def transcription(name: str, size: int, sha256: str, seconds: int) -> Json:
    used = {"type": "duration", "seconds": seconds}
    return {"text": f"{name}: {size} bytes", "bytes": size, "sha256": sha256, "usage": used}
