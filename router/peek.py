"""What a JSON request asks for, found without parsing it: the top-level "model".

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


def _is_model(text: bytes) -> bool:
    return text == b'"model"' or (b"\\" in text and _decoded(text) == "model")


def _decoded(text: bytes) -> str | None:
    try:
        value = json.loads(text)
    except ValueError:
        return None
    return value if isinstance(value, str) else None
