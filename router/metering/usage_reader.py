"""The use that an answer tells, out of the JSON of an answer or of an event.

Shapes: OpenAI's chat and completions (`prompt_tokens`), responses, images and transcriptions
(`input_tokens`, or `seconds`), embeddings; Anthropic's messages, whose `input_tokens` leave out
what was written to or read from the cache. Sources: the API references of both.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any, Final

import msgspec

from router.metering.shapes import Answer
from router.metering.usage import Usage, is_number, sane
from router.upstream.dialect import Dialect

_OBJECT = re.compile(rb'"usage"[ \t\r\n]{0,64}:[ \t\r\n]{0,64}(?=\{)')
_DURATION: Final = re.compile(rb'"duration"[ \t\r\n]{0,64}:[ \t\r\n]{0,64}"?(?=[0-9.])')
_NUMBER: Final = re.compile(rb"[0-9.]{1,16}")
_TOKEN = re.compile(rb'["{}\[\]](?:(?<=")[^"\\]*+(?:\\.[^"\\]*+)*+(?:"|\\?\Z))?', re.DOTALL)
"""A bracket or a whole string; one that is cut off counts to the end of the text."""
_DECODER: Final = json.JSONDecoder()
_MOST_USAGE = 8 << 10
"""Bytes of a `usage` object."""
_decode: Final = msgspec.json.Decoder().decode
_decode_answer: Final = msgspec.json.Decoder(Answer).decode


def parsed(text: bytes) -> dict[str, Any] | None:
    """A JSON object as `json.loads` reads it; None for anything else."""
    try:
        data = _decode(text)
    except (msgspec.DecodeError, RecursionError):  # also for NaN, 1e999 and halves of surrogates
        data = _loaded(text)
    return data if isinstance(data, dict) else None


def answer_of(text: bytes) -> Answer | None:
    """The answer in this JSON; None if it is no object. What is passed over may be anything."""
    try:
        return _decode_answer(text)
    except (msgspec.DecodeError, RecursionError):
        data = _loaded(text)
    if not isinstance(data, dict):
        return None
    words = msgspec.Raw(b'""') if "text" in data else msgspec.Raw()
    return Answer(data.get("usage"), data.get("duration"), words, data.get("error"))


def _loaded(text: bytes) -> object:
    try:
        try:
            return json.loads(text)
        except UnicodeDecodeError:
            return json.loads(text.decode("utf-8", "replace"))  # as JavaScript's clients read it
    except (ValueError, RecursionError):
        return None


def usage_of(told: object) -> Usage | None:
    """Read a `usage` object; None when it has nothing that is known."""
    if not isinstance(told, dict):
        return None
    if "prompt_tokens" in told or "completion_tokens" in told:
        output = sane(told.get("completion_tokens"))
        asked = sane(told.get("prompt_tokens"))
        return _tokens(asked, _cached(told, "prompt_tokens_details"), output)
    if "input_tokens" in told or "output_tokens" in told:
        read = sane(told.get("cache_read_input_tokens"))
        more = read + sane(told.get("cache_creation_input_tokens"))
        cached = read or _cached(told, "input_tokens_details")
        cached = cached or _cached(told, "input_token_details")  # as Realtime spells it
        return _tokens(
            sane(told.get("input_tokens")) + more, cached, sane(told.get("output_tokens"))
        )
    if "seconds" in told:
        return Usage(audio_ms=_milliseconds(told["seconds"]))
    return Usage(input=sane(told["total_tokens"])) if "total_tokens" in told else None


def _tokens(asked: int, cached: int, output: int) -> Usage:
    return Usage(input=asked, cached=min(cached, asked), output=output)


def _cached(told: Mapping[str, Any], name: str) -> int:
    details = told.get(name)
    return sane(details.get("cached_tokens")) if isinstance(details, dict) else 0


def _milliseconds(seconds: object) -> int:
    if isinstance(seconds, str):  # `duration` of a verbose transcription has been both
        try:
            seconds = float(seconds)
        except ValueError:
            return 0
    return round(seconds * 1000) if is_number(seconds) and 0 <= seconds <= 1e6 else 0


def usage_of_answer(answer: Answer) -> Usage | None:
    """Read the usage in the JSON of a whole response."""
    told = usage_of(answer.usage)
    if told is None and answer.duration is not None and bytes(answer.text):
        return Usage(audio_ms=_milliseconds(answer.duration))
    return told


def usage_of_event(dialect: Dialect, data: Mapping[str, Any], before: Usage | None) -> Usage | None:
    """Return the usage known after an event; each event has the whole anew, or the new part in
    Anthropic's."""
    if dialect is Dialect.messages:
        return _of_messages(data, before)
    if dialect is Dialect.responses:
        response = data.get("response")
        data = response if isinstance(response, dict) else {}
    told = usage_of(data.get("usage"))
    return before if told is None else told


def _of_messages(data: Mapping[str, Any], before: Usage | None) -> Usage | None:
    message = data.get("message")
    begins = data.get("type") == "message_start" and isinstance(message, dict)
    told = usage_of(message.get("usage") if begins and message else data.get("usage"))
    if told is None or before is None:
        return before if told is None else told
    said_input = told.input or told.cached
    return Usage(
        input=told.input if said_input else before.input,
        cached=told.cached if said_input else before.cached,
        output=max(told.output, before.output),
    )


def says_only_usage(data: Mapping[str, Any]) -> bool:
    """True if a chunk of chat or completions is the one that `include_usage` adds."""
    return data.get("choices") == [] and isinstance(data.get("usage"), dict)


def is_last(data: Mapping[str, Any]) -> bool:
    """True if an event with usage says it of the whole answer."""
    kind, choices = data.get("type"), data.get("choices")
    if isinstance(choices, list):
        return all(isinstance(each, dict) and each.get("finish_reason") for each in choices)
    return kind not in ("message_start", "response.created", "response.in_progress")


def usage_near_end(head: bytes, tail: bytes) -> Usage | None:
    """The use in a JSON object of which only beginning and end are at hand.

    A key counts only if it is one of the outermost object: what follows its value must close one
    bracket, what precedes it must have opened one. Others are the caller's own words, as in the
    schema of a tool.
    """
    for at in _closed_by(tail, -1, -1):
        read = _object_at(tail, at)
        if read is not None:
            return usage_of(read)
    at = _of_outermost(_OBJECT, head)
    return usage_of(_object_at(head, at)) if at else None


def duration_near_begin(head: bytes) -> Usage | None:
    """The length of the audio that a long transcription tells before its text."""
    at = _of_outermost(_DURATION, head)
    told = _NUMBER.match(head, at) if at else None
    return Usage(audio_ms=_milliseconds(told[0].decode())) if told is not None else None


def inner_usage_near_end(tail: bytes) -> Usage | None:
    """The last use in the end of an event that was too long to be kept, in the event's outermost
    object or in one that this has; the event may be cut off behind it."""
    for at in _closed_by(tail, -2, 0):
        told = usage_of(_object_at(tail, at))
        if told is not None:
            return told
    return None


def _closed_by(tail: bytes, least: int, most: int) -> Iterator[int]:
    """Where values of "usage" begin, the last first, behind which the brackets opened, less those
    closed, are `least` to `most`. Each byte is looked at once: there may be thousands."""
    depth, begun = 0, len(tail)
    for found in reversed(list(_OBJECT.finditer(tail))):
        at = found.end()
        depth += _depth(tail, at, begun)
        begun = found.start()
        if least <= depth <= most:
            yield at


def _of_outermost(key: re.Pattern[bytes], head: bytes) -> int:
    """Where the value of this key begins, if the outermost object has it; else 0."""
    depth = at = 0
    for found in key.finditer(head):
        depth += _depth(head, at, found.start())
        at = found.start()
        if depth == 1:
            return found.end()
    return 0


def _object_at(text: bytes, at: int) -> object:
    """The object that begins there; None if it does not end."""
    some = text[at : at + _MOST_USAGE].decode("latin-1")  # names and numbers: one byte each
    try:
        return _DECODER.raw_decode(some)[0]
    except (ValueError, RecursionError):
        return None


def _depth(text: bytes, start: int, end: int) -> int:
    """Number of brackets that are opened there and not closed."""
    depth = 0
    for token in _TOKEN.finditer(text, start, end):
        first = token[0]
        if first in (b"{", b"["):
            depth += 1
        elif first in (b"}", b"]"):
            depth -= 1
    return depth
