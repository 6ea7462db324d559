"""What a JSON request asks for, found without parsing it: the top-level "model".

A scan over strings and brackets skips the messages, however long, at the speed of the regular
expression engine; a full parse of 200 KB would hold up every other request of the worker for
about a millisecond.
"""

from __future__ import annotations

import json
import re

_TOKEN = re.compile(rb'"(?:[^"\\]|\\.)*"|[{}\[\]]', re.DOTALL)
_STRING_VALUE = re.compile(rb'\s*:\s*("(?:[^"\\]|\\.)*")', re.DOTALL)


def model_of(body: bytes) -> str | None:
    """The top-level "model" of a JSON object; None when there is none or it is not a string."""
    depth = 0
    for token in _TOKEN.finditer(body):
        text = token[0]
        if text in (b"{", b"["):
            depth += 1
        elif text in (b"}", b"]"):
            depth -= 1
        elif depth == 1 and text == b'"model"':
            value = _STRING_VALUE.match(body, token.end())
            if value is not None:
                return _decoded(value[1])
    return None


def _decoded(text: bytes) -> str | None:
    try:
        value = json.loads(text)
    except ValueError:
        return None
    return value if isinstance(value, str) else None
