"""What a JSON request asks for, exactly; and asking for the use.

A stream of chat or completions tells it only to those who ask for it (OpenAI's API reference:
`stream_options.include_usage`). The wish is spliced into the body; all else of it goes to the
mirror as it came.
"""

from __future__ import annotations

import json
import re
from typing import Any, NamedTuple

from router.metering.sizes import counted_size

_REST_OF_STRING = r'[^"\\]*+(?:\\.[^"\\]*+)*+'
_TOKEN = re.compile(rf'["{{}}\[\]](?:(?<="){_REST_OF_STRING}")?', re.DOTALL)
"""A bracket or a whole string."""
_COLON = re.compile(r"[ \t\r\n]*+:[ \t\r\n]*+")
_OPTIONS = "stream_options"
_READ = ("model", "stream", _OPTIONS, "background", "input", "n")
_QUOTED = tuple(f'"{key}"' for key in _READ)
_ESCAPED = re.compile(r"\\u00[4-7]")
"""A letter that need not be escaped, as a key in disguise has."""
_WISH = '"stream_options":{"include_usage":true}'
_PARTS = (b",", b'"', b"[", b"{")
MOST_PARTS = 400_000
"""What a body may be made of: to read more would hold up all others of the worker for more than a
tenth of a second. The longest dialogues and lists of tokens that models take have less."""
MOST_MODEL = 128
"""Characters of a model's name that are kept."""
_MOST_IMAGES = 100


class Wanted(NamedTuple):
    """What a body asks for."""

    model: str
    stream: bool
    background: bool
    """Whether the answer is made later, and fetched."""
    twice: str
    """A key of those read here that stands twice, or in other letters' case; "" if none does.
    Which one counts differs from server to server; those written in Go take any case."""
    characters: int
    """Of `input`, if that is a text."""
    images: int
    """How many are wanted."""
    size: int
    """Bytes that an estimate of the input goes by (`sizes.py`)."""
    body: bytes | None
    """The body with the wish for usage; None when it needs none."""


def wanted(body: bytes, ask: bool) -> Wanted | None:
    """What a body asks for; None when it is no JSON object, which no mirror would take, or when it
    is of too many parts to be read.

    `ask`: where its stream tells its use only to those who ask, do so.
    """
    if len(body) > MOST_PARTS and sum(map(body.count, _PARTS)) > MOST_PARTS:
        return None
    try:
        text = body.decode()
        data = json.loads(text)
    except (ValueError, RecursionError):
        return None
    if not isinstance(data, dict):
        return None
    model, spoken, stream = data.get("model"), data.get("input"), bool(data.get("stream"))
    return Wanted(
        model=model[:MOST_MODEL] if isinstance(model, str) else "",
        stream=stream,
        background=data.get("background") not in (None, False),
        twice=_twice(text, data),
        characters=len(spoken) if isinstance(spoken, str) else 0,
        images=_images(data.get("n")),
        size=counted_size(len(body), data),
        body=_with_wish(text, data) if ask and stream else None,
    )


def _twice(text: str, data: dict[str, Any]) -> str:
    for key in data:
        if key not in _READ and key.casefold() in _READ:
            return key.casefold()
    if _ESCAPED.search(text) is None and max(map(text.count, _QUOTED)) < 2:
        return ""
    outermost: list[str] = []

    def note(pairs: list[tuple[str, Any]]) -> None:
        outermost[:] = [key for key, _ in pairs]

    json.loads(text, object_pairs_hook=note)  # for the outermost object last
    return next((key for key in _READ if outermost.count(key) > 1), "")


def _images(number: object) -> int:
    counts = isinstance(number, int) and not isinstance(number, bool)
    return min(max(int(str(number)), 1), _MOST_IMAGES) if counts else 1


def _with_wish(text: str, data: dict[str, Any]) -> bytes | None:
    if _OPTIONS not in data:
        at = text.index("{") + 1
        return f"{text[:at]}{_WISH},{text[at:]}".encode()
    options = data[_OPTIONS]
    if options is None:
        options = {}
    if not isinstance(options, dict) or options.get("include_usage") is True:
        return None
    begin, end = _place_of_options(text)
    return f"{text[:begin]}{json.dumps({**options, 'include_usage': True})}{text[end:]}".encode()


def _place_of_options(text: str) -> tuple[int, int]:
    """Where their value begins and ends in valid JSON; of several the last counts."""
    depth, begin = 0, 0
    for token in _TOKEN.finditer(text):
        first = token[0]
        if first in ("{", "["):
            depth += 1
        elif first in ("}", "]"):
            depth -= 1
        elif depth == 1 and (colon := _COLON.match(text, token.end())) and _names_options(first):
            begin = colon.end()
    return begin, json.JSONDecoder().raw_decode(text, begin)[1]


def _names_options(key: str) -> bool:
    return key == '"stream_options"' or ("\\" in key and json.loads(key) == _OPTIONS)
