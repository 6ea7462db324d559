"""Events of clients over a WebSocket (Responses API, Realtime), read exactly or not at all."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from router.metering.request_scan import DECIDING, KEPT, MOST_MODEL, ambiguous
from router.wire.json_scan import fold, has_too_many_parts

_READ = DECIDING | {
    "type",
    "event_id",
    "response",
    "session",
    "audio",
    "transcription",
    "stream_id",
}
HOLDERS = (
    ("response",),
    ("session",),
    ("session", "audio"),
    ("session", "audio", "input"),
    ("session", "audio", "input", "transcription"),
    ("session", "input_audio_transcription"),
)
"""Objects of an event that are read."""
_ENVELOPE = frozenset(("type", "event_id", "stream_id", "response"))
"""Keys of an event whose parameters stand in "response" alone."""
_BOUNDS = ("max_output_tokens", "store")
"""Parameters by which an answer is taken to cost less."""
_FREE = frozenset(("parameters", "metadata", "variables", "item"))
"""Keys whose values are the caller's words and schemas, which may have any keys."""


class _Object(dict[str, Any]):
    """A JSON object that knows what else was written than its keys tell."""

    twice = ""
    """A key that could be taken in two ways."""
    models: Sequence[Any] = ()
    """Every value of "model", in whatever case."""


def _object(pairs: list[tuple[str, Any]]) -> _Object:
    found = _Object(pairs)
    found.twice = ambiguous([key for key, _ in pairs], _READ)
    found.models = [value for key, value in pairs if fold(key) == "model"]
    return found


def request_of(event: Mapping[str, Any]) -> Mapping[str, Any]:
    """The parameters of a `response.create`, which stand in the event or in its "response".

    Where they stand in both, servers read one or the other: a bound counts if both have it.
    """
    inner = event.get("response")
    if not isinstance(inner, Mapping):
        return event
    merged = {**event, **inner}
    if not event.keys() <= _ENVELOPE:
        for bound in _BOUNDS:
            if event.get(bound) != inner.get(bound):
                merged.pop(bound, None)
    return merged


def is_continued(request: Mapping[str, Any]) -> bool:
    """True if the input has more than the request, which the mirror keeps."""
    return any(request.get(key) for key in KEPT) or isinstance(request.get("prompt"), Mapping)


def models_named(event: Mapping[str, Any]) -> list[str]:
    """Models that stand anywhere in an event, as in its tools."""
    found: list[str] = []
    stack: list[Any] = [event]
    while stack:
        each = stack.pop()
        if isinstance(each, _Object):
            found += [model_name(model) for model in each.models if isinstance(model, str)]
            for key, value in each.items():
                if key not in _FREE and not (key == "input" and isinstance(value, list)):
                    stack.append(value)
        elif isinstance(each, list):
            stack += each
    return found


def read_event(payload: bytes) -> tuple[_Object | None, str, bool]:
    """An event, a key of it that could be taken in two ways, and whether it is too much to read."""
    if has_too_many_parts(payload):
        return None, "", True
    try:
        event = json.loads(payload.decode(), object_pairs_hook=_object)
    except (ValueError, RecursionError):
        return None, "", False
    if not isinstance(event, _Object):
        return None, "", False
    read = [event, *(nested(event, *names) for names in HOLDERS)]
    twice = next((each.twice for each in read if isinstance(each, _Object) and each.twice), "")
    inner = event.get("response")
    if not twice and isinstance(inner, _Object):
        twice = next((name for name in inner if name in _READ and name in event), "")
    return event, twice, False


def nested(event: object, *names: str) -> Any:
    for name in names:
        event = event.get(name) if isinstance(event, Mapping) else None
    return event


def model_name(model: object) -> str:
    return model[:MOST_MODEL] if isinstance(model, str) else ""
