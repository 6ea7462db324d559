"""The Responses API and the Realtime API as a pretend mirror speaks them. Pure."""

from collections.abc import Iterator, Mapping
from typing import Any

from tests.testkit.mirror_answers import CREATED, Json, last_text, pieces, usage


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
