"""Events of clients over a WebSocket (Responses API, Realtime), read exactly or not at all."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Final

from router.metering.request_scan import DECIDING, KEPT, MOST_MODEL, PAIRS, ambiguous
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
_DECODER: Final = json.JSONDecoder(parse_float=str.encode)
"""Leaves floats as they are written, in bytes: what is read has none."""
_FREE = frozenset(("parameters", "metadata", "variables", "item"))
"""Keys whose values are the caller's words and schemas, which may have any keys."""


_Pairs = tuple[tuple[str, Any], ...]


class Event(dict[str, Any]):
    """An event, with what else was written than its keys tell."""

    pairs: _Pairs = ()
    """All that it has, equal keys too, and so each object within it."""


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


def models_named(event: Event) -> list[str]:
    """Models that stand anywhere in an event, as in its tools."""
    found: list[str] = []
    stack: list[Any] = [event.pairs]
    while stack:
        each = stack.pop()
        if isinstance(each, list):
            stack += each
        if not isinstance(each, tuple):
            continue
        values = {}
        for key, value in each:
            values[key] = value
            if isinstance(value, str) and fold(key) == "model":
                found.append(model_name(value))
        for key, value in values.items():
            if key not in _FREE and not (key == "input" and isinstance(value, list)):
                stack.append(value)
    return found


def read_event(payload: bytes) -> tuple[Event | None, str, bool]:
    """An event, a key of it that could be taken in two ways, and whether it is too much to read."""
    if has_too_many_parts(payload):
        return None, "", True
    try:
        text = payload.decode()
        data, pairs = _DECODER.decode(text), PAIRS.decode(text)
    except (ValueError, RecursionError):
        return None, "", False
    if not isinstance(data, dict):
        return None, "", False
    event = Event(data)
    event.pairs = pairs
    read = [pairs, *(_last(pairs, *names) for names in HOLDERS)]
    twice = next(filter(None, map(_twice, read)), "")
    inner = event.get("response")
    if not twice and isinstance(inner, dict):
        twice = next((name for name in inner if name in _READ and name in event), "")
    return event, twice, False


def _twice(pairs: object) -> str:
    return ambiguous([key for key, _ in pairs], _READ) if isinstance(pairs, tuple) else ""


def _last(pairs: object, *names: str) -> object:
    """The value that stands there; of equal keys the last."""
    for name in names:
        pairs = dict(pairs).get(name) if isinstance(pairs, tuple) else None
    return pairs


def nested(event: object, *names: str) -> Any:
    for name in names:
        event = event.get(name) if isinstance(event, Mapping) else None
    return event


def model_name(model: object) -> str:
    return model[:MOST_MODEL] if isinstance(model, str) else ""
