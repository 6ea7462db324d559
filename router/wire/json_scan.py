"""Top level of a JSON request body: the one reader for forwarding and metering.

Both functions agree with `json.loads` on what is an object, on escapes in keys and on the last of
equal keys, and read UTF-8 with or without a byte order mark. `top_values` costs a microsecond and
serves a caller's own key; `members` tells every key with its place, equal ones too, and serves what
is metered or changed.
"""

from __future__ import annotations

import json
import re
from json.scanner import make_scanner
from math import nan
from typing import Any, Final, NamedTuple

import msgspec

from router.wire.top_values import TopValues

BOM: Final = b"\xef\xbb\xbf"
MOST_PARTS: Final = 400_000
"""Commas, quotes and brackets of a body that `members` reads: to build the values of more holds up
a worker for a tenth of a second. The longest dialogues and lists of tokens that models take have
less."""
MOST_BRACKETS: Final = 100_000
"""Opening brackets among these: an object or a list costs five times a number. A turn of a dialogue
has four at most."""
MOST_MEMBERS: Final = 1000
"""Top-level keys that `members` reads; requests of OpenAI's and Anthropic's APIs have below 50."""
_value_at: Final = make_scanner(
    json.JSONDecoder(parse_float=str.encode)  # type: ignore[arg-type]  # typeshed errs
)
"""Reads the value that begins at a place: it and its end; StopIteration where none begins. Floats
are bytes: to work out 5000 of 800 digits each holds up a worker for a fifth of a second."""
_LONGEST_FLOAT: Final = 100
_LONGEST_KEY: Final = 100
_SPACES: Final = " \t\r\n"
_SPACE: Final = re.compile(f"[{_SPACES}]*+")


class Member:
    """One key of an object, and its value."""

    __slots__ = ("begin", "end", "key", "value")

    def __init__(self, key: str, value: Any, begin: int, end: int) -> None:
        """The value stands from `begin` to `end` in the text, in characters.

        Floats within it are left as they are written, in bytes; one of more than 100 digits that is
        the value itself is NaN.
        """
        self.key = key
        self.value = value
        self.begin = begin
        self.end = end

    def __repr__(self) -> str:
        return f"<Member {self.key!r} at {self.begin}>"


class JsonObject(NamedTuple):
    """An object that was read."""

    text: str
    members: list[Member]
    """In their order; equal keys are all there."""


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
    known = {each.key: found.text[each.begin : each.end] for each in found.members}
    return TopValues(
        *(msgspec.Raw(known.get(name, "").encode()) for name in TopValues.__struct_fields__)
    )


def has_too_many_parts(body: bytes) -> bool:
    """True if reading the whole of it would hold up the other requests of the worker."""
    if len(body) <= MOST_BRACKETS:
        return False
    brackets = body.count(b"[") + body.count(b"{")
    return brackets > MOST_BRACKETS or (brackets + body.count(b",") + body.count(b'"') > MOST_PARTS)


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
    except (ValueError, IndexError, StopIteration, RecursionError):
        return None


def fold(key: str) -> str:
    """The key without letters' case, as the servers see it that read keys in any case.

    Go folds U+017F to s and U+212A to k, Java also U+0131 to i; `str.casefold` lacks the latter.
    A key longer than any that is known stays as it is: one may have megabytes.
    """
    if (key.isascii() and key.islower()) or len(key) > _LONGEST_KEY:
        return key
    return key.upper().casefold()


def storable(text: str) -> str:
    """The text with "?" for each half of a surrogate pair, which UTF-8 does not have."""
    return text.encode("utf-8", "replace").decode()


def _members(text: str) -> list[Member]:
    """The loop of `json.loads` over an object, except that it keeps all.

    Raises ValueError, IndexError or StopIteration where `json.loads` raises ValueError.
    """
    found: list[Member] = []
    at = _after_space(text, 0)
    if text[at] != "{":
        raise ValueError("no object")
    at = _after_space(text, at + 1)
    ends = text[at] == "}"
    while not ends:
        if len(found) == MOST_MEMBERS:
            raise ValueError("too many keys")
        if text[at] != '"':
            raise ValueError("no key")
        key, at = _value_at(text, at)
        at = _after_space(text, at)
        if text[at] != ":":
            raise ValueError("no colon")
        begin = _after_space(text, at + 1)
        value, end = _value_at(text, begin)
        if isinstance(value, bytes):
            value = float(value) if len(value) <= _LONGEST_FLOAT else nan
        found.append(Member(key, value, begin, end))
        at = _after_space(text, end)
        ends = text[at] == "}"
        if not ends:
            if text[at] != ",":
                raise ValueError("no comma")
            at = _after_space(text, at + 1)
    if _after_space(text, at + 1) != len(text):
        raise ValueError("extra data")
    return found


def _after_space(text: str, at: int) -> int:
    """The first place from there on that is no white space."""
    size = len(text)
    if at < size and text[at] in _SPACES:
        at += 1
        if at < size and text[at] in _SPACES:  # rare, and a match costs five times a look
            found = _SPACE.match(text, at)
            return found.end() if found is not None else at
    return at
