"""Responses of a pretend mirror: the shapes of OpenAI's and Anthropic's APIs, with content that can
be checked. Pure."""

import base64
import hashlib
import json
import struct
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from tests.testkit.mirror.payload import payload

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
    """Return the answer; to a request with tools, a call of the first of them."""
    prompt = last_text(body["messages"])
    message: Json = {"role": "assistant", "content": "".join(pieces(prompt, count))}
    if body.get("tools"):
        message |= {"content": None, "tool_calls": [_tool_call(body["tools"][0], prompt)]}
    reason = "tool_calls" if body.get("tools") else "stop"
    choice = {"index": 0, "message": message | {"refusal": None}, "logprobs": None}
    return {
        "id": f"chatcmpl-{number}",
        "object": "chat.completion",
        "created": CREATED,
        "model": body["model"],
        "choices": [choice | {"finish_reason": reason}],
        "usage": usage(prompt, count, body),
    }


def _tool_call(tool: Mapping[str, Any], prompt: str) -> Json:
    """A call with the prompt as each of its arguments."""
    function = tool.get("function", {})
    names = function.get("parameters", {}).get("properties", {})
    arguments = json.dumps(dict.fromkeys(names, prompt))
    name = function.get("name", "")
    return {
        "id": "call_1",
        "type": "function",
        "function": {"name": name, "arguments": arguments},
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


def response(body: Mapping[str, Any], number: int, text: str, status: str, count: int) -> Json:
    """Return a Responses API object with `text` as its only output."""
    asked = len(responses_prompt(body).split())
    used = {
        "input_tokens": asked,
        "input_tokens_details": {"cached_tokens": 0},
        "output_tokens": count,
        "output_tokens_details": {"reasoning_tokens": 0},
        "total_tokens": asked + count,
    }
    done = status == "completed"
    return {
        "id": f"resp_{number}",
        "object": "response",
        "created_at": CREATED,
        "status": status,
        "error": None,
        "incomplete_details": None,
        "instructions": None,
        "metadata": {},
        "model": body["model"],
        "output": [_item(number, text, status)] if done else [],
        "parallel_tool_calls": True,
        "temperature": 1.0,
        "tool_choice": "auto",
        "tools": [],
        "top_p": 1.0,
        "usage": used if done else None,
    }


def responses_prompt(body: Mapping[str, Any]) -> str:
    given = body.get("input", "")
    return given if isinstance(given, str) else last_text(given)


def response_events(
    body: Mapping[str, Any], number: int, count: int
) -> Iterator[tuple[bool, Json]]:
    """Yield (is it content?, event) for a streamed response, in the order that OpenAI documents."""
    parts = pieces(responses_prompt(body), count)
    text = "".join(parts)
    place = {"item_id": f"msg_{number}", "output_index": 0, "content_index": 0}
    begun, ended = (
        {"response": response(body, number, text, status, count)}
        for status in ("in_progress", "completed")
    )
    empty, full = _part(""), _part(text)
    events: list[tuple[str, Json]] = [
        ("response.created", begun),
        ("response.in_progress", begun),
        (
            "response.output_item.added",
            {"output_index": 0, "item": _item(number, None, "in_progress")},
        ),
        ("response.content_part.added", place | {"part": empty}),
        *(("response.output_text.delta", place | {"delta": p, "logprobs": []}) for p in parts),
        ("response.output_text.done", place | {"text": text, "logprobs": []}),
        ("response.content_part.done", place | {"part": full}),
        (
            "response.output_item.done",
            {"output_index": 0, "item": _item(number, text, "completed")},
        ),
        ("response.completed", ended),
    ]
    for sequence, (kind, fields) in enumerate(events):
        event = {"type": kind, "sequence_number": sequence} | fields
        yield kind == "response.output_text.delta", event


def _item(number: int, text: str | None, status: str) -> Json:
    content = [] if text is None else [_part(text)]
    return {
        "id": f"msg_{number}",
        "type": "message",
        "role": "assistant",
        "status": status,
        "content": content,
    }


def _part(text: str) -> Json:
    return {"type": "output_text", "text": text, "annotations": [], "logprobs": []}


def session(model: str) -> Json:
    """Return the first event of a Realtime connection."""
    described = {"id": "sess_1", "object": "realtime.session", "type": "realtime", "model": model}
    return {"type": "session.created", "event_id": "event_0", "session": described}


def realtime_replies(event: Mapping[str, Any], count: int) -> Iterator[tuple[bool, Json]]:
    """Yield (is it content?, event): what the server says to an event of the client."""
    match event.get("type"):
        case "session.update":
            yield False, {"type": "session.updated", "session": event["session"]}
        case "conversation.item.create":
            yield False, {"type": "conversation.item.added", "item": event["item"]}
            yield False, {"type": "conversation.item.done", "item": event["item"]}
        case "response.create":
            yield from _realtime_response(event, count)
        case other:
            yield False, {"type": "test.echo", "heard": other, "event": dict(event)}


def _realtime_response(event: Mapping[str, Any], count: int) -> Iterator[tuple[bool, Json]]:
    about = event.get("response") or {}
    parts = pieces(str(about.get("instructions", "")), count)
    place = {"response_id": "resp_1", "item_id": "item_1", "output_index": 0, "content_index": 0}
    described = {"id": "resp_1", "object": "realtime.response", "output": []}
    yield False, {"type": "response.created", "response": described | {"status": "in_progress"}}
    for part in parts:
        yield True, {"type": "response.output_text.delta", "delta": part} | place
    yield False, {"type": "response.output_text.done", "text": "".join(parts)} | place
    yield False, {"type": "response.done", "response": described | {"status": "completed"}}


def message(body: Mapping[str, Any], number: int, text: str, count: int) -> Json:
    """Return an answer as Anthropic's Messages API has it; what was cached is no input there."""
    told = usage(last_text(body["messages"]), count, body)
    cached = told.get("prompt_tokens_details", {}).get("cached_tokens", 0)
    used = {
        "input_tokens": told["prompt_tokens"] - cached,
        "cache_read_input_tokens": cached,
        "output_tokens": count,
    }
    return {
        "id": f"msg_{number}",
        "type": "message",
        "role": "assistant",
        "model": body["model"],
        "content": [{"type": "text", "text": text}] if text else [],
        "stop_reason": "end_turn" if text else None,
        "usage": used,
    }


def message_events(body: Mapping[str, Any], number: int, count: int) -> Iterator[tuple[bool, Json]]:
    """Yield (is it content?, event) for a streamed message."""
    begun = message(body, number, "", count)
    begun["usage"] = begun["usage"] | {"output_tokens": 1}
    yield False, {"type": "message_start", "message": begun}
    yield False, {"type": "content_block_start", "index": 0, "content_block": {"type": "text"}}
    yield False, {"type": "ping"}
    for piece in pieces(last_text(body["messages"]), count):
        delta = {"type": "text_delta", "text": piece}
        yield True, {"type": "content_block_delta", "index": 0, "delta": delta}
    yield False, {"type": "content_block_stop", "index": 0}
    used = {"output_tokens": count}
    yield False, {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": used}
    yield False, {"type": "message_stop"}
