"""What a JSON request asks for, found without parsing it: the top-level "model", and hints.

A scan over strings and brackets builds no objects and stops at the model, so that long messages
hold up the other requests of the worker as little as can be. Every pattern is possessive: a body
made to provoke backtracking is read in linear time too.
"""

from __future__ import annotations

import json
import re

_REST_OF_STRING = rb'[^"\\]*+(?:\\.[^"\\]*+)*+'
_TOKEN = re.compile(rb'["{}\[\]](?:(?<=")%b(?:"|\\?\Z))?' % _REST_OF_STRING, re.DOTALL)
"""A bracket or a whole string; one that is cut off counts to the end of the text."""
_STRING_VALUE = re.compile(rb'[ \t\r\n]*+:[ \t\r\n]*+("%b")' % _REST_OF_STRING, re.DOTALL)
_MODEL_VALUE = re.compile(rb'[ \t\r\n]*+:[ \t\r\n]*+"([^"\\]{1,128})"')
_TRUE = re.compile(rb"[ \t\r\n]*+:[ \t\r\n]*+true")
_FALSE = re.compile(rb"[ \t\r\n]*+:[ \t\r\n]*+false")
_BACKSLASH = 0x5C


def model_of(body: bytes) -> str | None:
    """The top-level "model" of a JSON object; None when there is none or it is not a string.

    Of several the first counts. A body that is not JSON gives None or anything it calls its model.
    """
    depth = 0
    for token in _TOKEN.finditer(body):
        text = token[0]
        if text in (b"{", b"["):
            depth += 1
        elif text in (b"}", b"]"):
            depth -= 1
        elif depth == 1 and _is_model(text):
            value = _STRING_VALUE.match(body, token.end())
            if value is not None:
                return _decoded(value[1])
    return None


def hints(body: bytes) -> tuple[str, bool]:
    """The model, and whether a stream is asked for, by the first keys of these names at any depth.

    Good enough to choose how long to wait, and found without reading a long conversation: of which
    strings these are no keys, since a quotation mark within a string has a backslash before it.
    """
    model = _after(body, b'"model"', _MODEL_VALUE)
    return model[1].decode("utf-8", "replace") if model else "", has(body, b'"stream"', _TRUE)


def keeps_nothing(body: bytes) -> bool:
    """Whether a body says `"store": false`."""
    return has(body, b'"store"', _FALSE)


def has(body: bytes, key: bytes, value: re.Pattern[bytes]) -> bool:
    """Whether the first such key has this value."""
    return _after(body, key, value) is not None


def _after(body: bytes, key: bytes, value: re.Pattern[bytes]) -> re.Match[bytes] | None:
    at = body.find(key)
    while at > 0 and body[at - 1] == _BACKSLASH:
        at = body.find(key, at + 1)
    return value.match(body, at + len(key)) if at >= 0 else None


def _is_model(text: bytes) -> bool:
    return text == b'"model"' or (b"\\" in text and _decoded(text) == "model")


def _decoded(text: bytes) -> str | None:
    try:
        value = json.loads(text)
    except ValueError:
        return None
    return value if isinstance(value, str) else None
