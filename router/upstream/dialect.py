"""Dialects of event streams: the meaning of an event, and the form of an interruption."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

from router.balancing.failure import Failure
from router.balancing.rate_limit import is_out_of_quota
from router.balancing.refusals import NO_MODEL
from router.wire.sse import Event


class Dialect(StrEnum):
    """Dialects of events, by API."""

    chat = "chat"
    completions = "completions"
    responses = "responses"
    messages = "messages"
    """Anthropic's, which mirrors serve under the same address."""
    other = "other"


class Sight(StrEnum):
    """Meaning of an event to a client that waits for content."""

    nothing = "nothing"
    """A beginning, a role, a ping: no content yet."""
    content = "content"
    finish = "finish"
    """The answer is complete; maybe a word on its usage follows."""
    done = "done"
    """The end of the stream, `[DONE]`."""
    error = "error"
    garbage = "garbage"
    """Not what this dialect has."""


@dataclass(frozen=True, slots=True)
class Look:
    """The parts of an event that were read."""

    sight: Sight
    error: Mapping[str, Any] | None = None


_NOTHING, _CONTENT, _FINISH = Look(Sight.nothing), Look(Sight.content), Look(Sight.finish)
_GARBAGE = Look(Sight.garbage)
_HEARTBEATS: Final = frozenset((b"ping", b"heartbeat", b"keepalive", b"keep-alive"))
"""Names of events that say only that somebody works."""
_PREPARING = frozenset(
    f"response.{what}"
    for what in (
        "created",
        "queued",
        "in_progress",
        "output_item.added",
        "content_part.added",
        "reasoning_summary_part.added",
    )
)
_RESPONSES_FINISH = frozenset(("response.completed", "response.incomplete"))
_MESSAGES_PREPARING = frozenset(("message_start", "content_block_start", "ping"))
_CALLERS_FAULT = frozenset(
    (
        "400",
        "invalid_request_error",
        "invalid_prompt",
        "context_length_exceeded",
        "content_filter",
        "content_policy_violation",
        "string_above_max_length",
        "image_content_policy_violation",
    )
)
_LIMITED = frozenset(
    ("429", "rate_limit_error", "rate_limit_exceeded", "insufficient_quota", "tokens", "requests")
)
_BAD_KEY = frozenset(("401", "invalid_api_key", "authentication_error"))
_KEY_REFUSED = _BAD_KEY | {"402", "403", "permission_error"}


def dialect_of(endpoint: str, target: bytes) -> Dialect:
    """The dialect that an endpoint streams in; `endpoint` as `router/wire/target.py` names it."""
    if target.startswith(b"/v1/messages"):
        return Dialect.messages
    if endpoint in (Dialect.completions, Dialect.responses):
        return Dialect(endpoint)
    return Dialect.chat if target.startswith(b"/v1/chat/completions") else Dialect.other


def look(dialect: Dialect, event: Event) -> Look:
    """Read the meaning of this event."""
    if event.data.strip() == b"[DONE]":
        return Look(Sight.done)
    try:
        data = _loaded(event.data)
    except (ValueError, RecursionError):
        data = None
    if event.name in _HEARTBEATS and dialect is not Dialect.other:
        return _NOTHING
    if not isinstance(data, dict):
        return _CONTENT if dialect is Dialect.other else _GARBAGE
    error = data.get("error")
    if error and dialect is not Dialect.responses:
        return Look(Sight.error, _as_error(error))
    return _LOOKS[dialect](event, data)


def _loaded(data: bytes) -> Any:
    return json.loads(data.decode("utf-8", "replace"))  # as JavaScript's clients read it


def _chat(event: Event, data: Mapping[str, Any]) -> Look:
    choices = data.get("choices")
    if not isinstance(choices, list):
        if data.get("type") == "ping":
            return _NOTHING
        return _CONTENT if data.get("object") or data.get("id") else _GARBAGE
    seen = _NOTHING
    for choice in choices:
        if not isinstance(choice, dict):
            return _GARBAGE
        said = choice.get("delta") or choice.get("message") or {}
        if not isinstance(said, dict):
            return _GARBAGE
        if choice.get("text") or any(value for key, value in said.items() if key != "role"):
            return _CONTENT
        if choice.get("finish_reason"):
            seen = _FINISH
    return seen


def _responses(event: Event, data: Mapping[str, Any]) -> Look:
    kind = str(data.get("type") or event.name.decode("latin-1"))
    if kind == "error" or (data.get("error") and not kind):
        return Look(Sight.error, _as_error(data.get("error") or data))
    if kind == "response.failed":
        response = data.get("response")
        return Look(
            Sight.error, _as_error(response.get("error") if isinstance(response, dict) else None)
        )
    if kind in _RESPONSES_FINISH:
        return _FINISH
    return _NOTHING if kind in _PREPARING else _CONTENT


def _messages(event: Event, data: Mapping[str, Any]) -> Look:
    kind = str(data.get("type"))
    if kind == "error":
        return Look(Sight.error, _as_error(data.get("error")))
    if kind == "message_stop":
        return _FINISH
    return _NOTHING if kind in _MESSAGES_PREPARING else _CONTENT


def _other(event: Event, data: Mapping[str, Any]) -> Look:
    if event.name == b"error":
        return Look(Sight.error, _as_error(data.get("error") or data))
    return _CONTENT


_LOOKS: Final = {
    Dialect.chat: _chat,
    Dialect.completions: _chat,
    Dialect.responses: _responses,
    Dialect.messages: _messages,
    Dialect.other: _other,
}


_RESPONSES_END = _RESPONSES_FINISH | {"response.failed", "response.cancelled", "response.done"}


def says_complete(dialect: Dialect, event: Event) -> bool:
    """True if a stream that ends with this event, or soon after it, is whole.

    Wider than `Sight.finish`, as mirrors differ: some give the last words and the reason why they
    end in one event, some only say what was used. An error ends a stream visibly, too.
    """
    if event.data.strip() == b"[DONE]":
        return True
    try:
        data = _loaded(event.data)
    except (ValueError, RecursionError):
        return False
    if not isinstance(data, dict):
        return False
    if data.get("error") or event.name == b"error":
        return True
    if dialect is Dialect.responses:
        kind = str(data.get("type") or event.name.decode("latin-1"))
        return kind in _RESPONSES_END or kind == "error"
    if dialect is Dialect.messages:
        delta = data.get("delta")
        stops = isinstance(delta, dict) and delta.get("stop_reason")
        return data.get("type") in ("message_stop", "error") or bool(stops)
    choices = data.get("choices")
    if not choices:
        return bool(data.get("usage") or data.get("done"))
    return isinstance(choices, list) and any(
        isinstance(choice, dict)
        and bool(choice.get("finish_reason") or choice.get("finish_details"))
        for choice in choices
    )


def _as_error(error: Any) -> Mapping[str, Any]:
    return error if isinstance(error, dict) else {"message": str(error)}


def failure_of_error(error: Mapping[str, Any], *, lent: bool = False) -> Failure | None:
    """Failure that an error inside a good response means; None when the request itself is at fault,
    and would be anywhere. `lent`: the mirror was given its own key."""
    if is_out_of_quota(error):
        return Failure.out_of_quota if lent else Failure.key_spent
    names = {str(error.get("type")).lower(), str(error.get("code")).lower()}
    if names & _LIMITED:
        return Failure.limited if lent else Failure.key_limited
    if names & NO_MODEL:
        return Failure.no_model
    if names & (_BAD_KEY if lent else _KEY_REFUSED):
        return Failure.key_refused if lent else Failure.caller_refused
    return None if names & _CALLERS_FAULT else Failure.error_event


KEEPALIVE = b": keepalive\n"
"""A comment. No blank line: after an event with an `id` some SDKs take that for an empty event."""
PLACE = "x_mirrorgate_queue"
"""Field of a chunk with the place in the queue, as in the header of the same name."""


def keepalive(dialect: Dialect, place: int = 0, chunk: Mapping[str, Any] | None = None) -> bytes:
    """Return the bytes to send while a stream waits: a comment, or in chat and completions an event
    without content, if there is a `chunk`.

    `chunk`: the fields by which clients know an answer, its "id", "created" and "model". Some put
    the whole together with those of the first event. `place`: the one in the queue, from 1, if that
    is what it waits in; a field of the event, for some readers take no comments.
    """
    if chunk is None or dialect not in (Dialect.chat, Dialect.completions):
        return b": waiting, position %d\n" % place if place else KEEPALIVE
    of_chat = dialect is Dialect.chat
    said: dict[str, Any] = {"delta": {}} if of_chat else {"text": ""}
    data = {
        **chunk,
        "object": "chat.completion.chunk" if of_chat else "text_completion",
        **({PLACE: place} if place else {}),
        "choices": [{"index": 0, **said, "logprobs": None, "finish_reason": None}],
    }
    return b"data: %b\n\n" % _json(data)


def interruption(dialect: Dialect, message: str, code: str = "stream_interrupted") -> bytes:
    """The event that ends a broken stream; no `[DONE]` may follow.

    Where the SDKs look for a name of the event, it has one; in chat and completions they take any
    event with an "error".
    """
    error = {"message": message, "type": "server_error", "param": None, "code": code}
    return error_event(dialect, error)


def error_event(dialect: Dialect, error: Mapping[str, Any]) -> bytes:
    """The event that says this error."""
    data: dict[str, Any] = {"error": dict(error)}
    if dialect in (Dialect.chat, Dialect.completions):
        return b"data: %b\n\n" % _json(data)
    if dialect is Dialect.responses:
        flat = {name: error.get(name) for name in ("code", "message", "param")}
        data = {"type": "error", **flat, **data}
    elif dialect is Dialect.messages:
        data = {"type": "error", "error": {**error, "type": "api_error"}}
    return b"event: error\ndata: %b\n\n" % _json(data)


def _json(data: Mapping[str, Any]) -> bytes:
    return json.dumps(data, ensure_ascii=False).encode("utf-8", "replace")
