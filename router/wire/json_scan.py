"""Top level of a JSON request body: the one reader for forwarding and metering.

Both functions agree with `json.loads` on what is an object, on escapes in keys and on the last of
equal keys, and read UTF-8 with or without a byte order mark. `top_values` costs a microsecond and
serves a caller's own key; `members` tells every key with its place, equal ones too, and serves what
is metered or changed.
"""

from __future__ import annotations

import json
import re
from typing import Any, Final, NamedTuple

import msgspec

BOM: Final = b"\xef\xbb\xbf"
_PARTS = (b",", b'"', b"[", b"{")
MOST_PARTS: Final = 400_000
"""Commas, quotes and brackets of a body that `members` reads: to build the values of more holds up
a worker for a tenth of a second. The longest dialogues and lists of tokens that models take have
less."""
MOST_MEMBERS: Final = 1000
"""Top-level keys that `members` reads; requests of OpenAI's and Anthropic's APIs have below 50."""
_DECODER: Final = json.JSONDecoder()
_SPACE: Final = re.compile(r"[ \t\r\n]*+")
_COLON: Final = re.compile(r"[ \t\r\n]*+:[ \t\r\n]*+")
_COMMA: Final = re.compile(r'[ \t\r\n]*+(?:,[ \t\r\n]*+(?=")|(?=\}))')


class Member(NamedTuple):
    """One key of an object, and its value."""

    key: str
    value: Any
    begin: int
    """Where the value begins in the text, in characters."""
    end: int


class JsonObject(NamedTuple):
    """An object that was read."""

    text: str
    members: list[Member]
    """In their order; equal keys are all there."""


class TopValues(msgspec.Struct, gc=False):
    """The JSON of top-level values that forwarding depends on; empty for a key that is not there.

    Of equal keys the last counts, as for `json.loads`.
    """

    model: msgspec.Raw = msgspec.Raw()
    stream: msgspec.Raw = msgspec.Raw()
    store: msgspec.Raw = msgspec.Raw()


_NOTHING: Final = TopValues()
_decode: Final = msgspec.json.Decoder(TopValues).decode


def top_values(body: bytes) -> TopValues:
    """The values that forwarding depends on; all empty where the body is no JSON object.

    What `json.loads` takes and msgspec does not (NaN, half of a surrogate pair, a byte order mark)
    is read by `members`, within its limits.
    """
    try:
        return _decode(body)
    except msgspec.ValidationError:  # some other JSON value
        return _NOTHING
    except (msgspec.DecodeError, RecursionError):
        found = members(body)
    if found is None:
        return _NOTHING
    known = {key: found.text[begin:end] for key, _, begin, end in found.members}
    return TopValues(
        *(msgspec.Raw(known.get(name, "").encode()) for name in TopValues.__struct_fields__)
    )


def has_too_many_parts(body: bytes) -> bool:
    """True if reading the whole of it would hold up the other requests of the worker."""
    return len(body) > MOST_PARTS and sum(map(body.count, _PARTS)) > MOST_PARTS


def members(body: bytes) -> JsonObject | None:
    """All top-level keys and values; None for what is no JSON object, or has too many parts."""
    if has_too_many_parts(body):
        return None
    try:
        text = body.removeprefix(BOM).decode()
    except UnicodeDecodeError:
        return None
    return members_of_text(text)


def members_of_text(text: str) -> JsonObject | None:
    """The same of a text."""
    try:
        return JsonObject(text, _members(text))
    except (ValueError, RecursionError):
        return None


def fold(key: str) -> str:
    """The key without letters' case, as the servers see it that read keys in any case.

    Go folds U+017F to s and U+212A to k, Java also U+0131 to i; `str.casefold` lacks the latter.
    """
    return key if key.isascii() and key.islower() else key.upper().casefold()


def storable(text: str) -> str:
    """The text with "?" for each half of a surrogate pair, which UTF-8 does not have."""
    return text.encode("utf-8", "replace").decode()


def _members(text: str) -> list[Member]:
    """The loop of `json.loads` over an object, except that it keeps all; ValueError as there."""
    found: list[Member] = []
    at = _after(_SPACE, text, 0)
    if not text.startswith("{", at):
        raise ValueError("no object")
    at = _after(_SPACE, text, at + 1)
    if not text.startswith(("}", '"'), at):
        raise ValueError("no key")
    while text[at] == '"':
        if len(found) == MOST_MEMBERS:
            raise ValueError("too many keys")
        key, at = _DECODER.raw_decode(text, at)
        begin = _after(_COLON, text, at)
        value, end = _DECODER.raw_decode(text, begin)
        found.append(Member(key, value, begin, end))
        at = _after(_COMMA, text, end)
    if _after(_SPACE, text, at + 1) != len(text):
        raise ValueError("extra data")
    return found


def _after(pattern: re.Pattern[str], text: str, at: int) -> int:
    found = pattern.match(text, at)
    if found is None:
        raise ValueError("no JSON")
    return found.end()
