"""Contents of a JSON request that metering needs, and the estimated size of its input."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from itertools import chain
from typing import Any, Final, NamedTuple
from urllib.parse import parse_qs

from router.metering.usage import is_number, sane
from router.wire.json_scan import JsonObject, Member, fold, members, members_of_text, storable

_OPTIONS: Final = "stream_options"
_USAGE = "include_usage"
LIMITS = ("max_completion_tokens", "max_tokens", "max_output_tokens")
DECIDING: Final = frozenset(
    (
        "model",
        "models",
        "tools",
        "stream",
        _OPTIONS,
        "background",
        "store",
        "input",
        "messages",
        "prompt",
        "n",
        "best_of",
        "previous_response_id",
        "conversation",
        "service_tier",
        *LIMITS,
    )
)
"""Keys that decide what an answer costs, or who may read it."""
_NUMBERS: Final = ("n", "best_of", *LIMITS)
_READ_OPTIONS: Final = frozenset((_USAGE,))
_ASKS: Final = '{"include_usage":true}'
MOST_MODEL: Final = 128
"""Characters of a model's name that are kept."""
_MOST_NAMED = 64
"""Characters of a key that an error quotes."""
MOST_COUNT: Final = 1000
"""Answers that a request may ask for: OpenAI makes 128 of a dialogue and 10 images at most. Up to
here a mirror may judge for itself, and what it makes is reserved."""
_READ_OF_TOOLS = frozenset(("model",))
KEPT: Final = ("previous_response_id", "conversation")


class RequestScan(NamedTuple):
    """The contents of a body that are metered."""

    model: str
    stream: bool
    background: bool
    """The answer is made later, and fetched."""
    ambiguous_key: str
    """A key that is there twice but for letters' case, or that is read here and is not in lower
    case; "" if there is none. Servers differ in which of equal keys counts, and those written in Go
    take any case."""
    not_whole: str
    """A key that decides how much is made, with a value that is no whole number, which some servers
    take for one; "" if there is none."""
    too_many: str
    """A key that asks for more than `MOST_COUNT`; "" if there is none."""
    other_models: list[str]
    """Further models that it names, to fall back on or for tools; "" for one that is no text."""
    characters: int
    """Of `input`, if that is a text."""
    images: int
    """Images that are asked for."""
    size: int
    """Bytes that an estimate of the input goes by (`counted_size`)."""
    body: bytes | None
    """The body that also asks for the usage; None when it need not."""
    choices: int
    """How many answers are made."""
    most_output: int
    """Tokens that each may have at most, as the request says; 0: it does not."""
    store: bool | None
    """True if the answer is kept; None: it does not say."""
    continues: bool
    """True if the input has more than the request, which the mirror keeps."""


def scan_request(
    body: bytes, ask: bool, limits: Sequence[str] = (), *, everywhere: bool = False
) -> RequestScan | None:
    """The contents of a body; None when it is no JSON object, which no mirror would take, or has
    too many parts to be read (`json_scan.py`).

    `ask`: where its stream tells its usage only to those who ask, do so. `limits`: the keys that
    limit the output where this is asked. `everywhere`: `other_models` has every model that is
    named, however deep.
    """
    read = members(body)
    if read is None:
        return None
    last: dict[str, Member] = {}
    data: dict[str, Any] = {}
    for member in read.members:
        last[member.key], data[member.key] = member, member.value
    model, spoken, stream = data.get("model"), data.get("input"), bool(data.get("stream"))
    count, best_of = _count(data.get("n")), _count(data.get("best_of"))
    options = last.get(_OPTIONS)
    inner, tools = None, last.get("tools")
    if options is not None and isinstance(options.value, dict):
        inner = members_of_text(read.text[options.begin : options.end])
        if inner is None:
            return None
    used = _tools(read.text[tools.begin : tools.end]) if tools is not None else []
    if used is None:
        return None
    deep = _models_anywhere(read.text) if everywhere else []
    if deep is None:
        return None
    return RequestScan(
        model=storable(model[:MOST_MODEL]) if isinstance(model, str) else "",
        stream=stream,
        background=data.get("background") not in (None, False),
        ambiguous_key=_ambiguous_key(read, DECIDING)
        or _ambiguous_key(inner, _READ_OPTIONS)
        or _ambiguous_in_tools(used),
        not_whole=_not_whole(data),
        too_many="n" if count > MOST_COUNT else "best_of" if best_of > MOST_COUNT else "",
        other_models=[*_fallbacks(data.get("models")), *_models_of_tools(used), *deep],
        characters=len(spoken) if isinstance(spoken, str) else 0,
        images=count,
        size=counted_size(len(body), data),
        body=_asking(read, options, inner) if ask and stream else None,
        choices=_prompts(data.get("prompt")) * max(count, best_of),
        most_output=_highest(data, limits),
        store=data["store"] if isinstance(data.get("store"), bool) else None,
        continues=_continues(data),
    )


def _ambiguous_key(found: JsonObject | None, read: frozenset[str]) -> str:
    return ambiguous([each.key for each in found.members], read) if found is not None else ""


def ambiguous(keys: Sequence[str], read: frozenset[str]) -> str:
    """A key that could be taken in two ways, as `RequestScan.ambiguous_key`; `read`: those that are
    read."""
    seen: set[str] = set()
    for key in keys:
        folded = fold(key)
        if folded in seen or (folded in read and folded != key):
            return folded[:_MOST_NAMED]
        seen.add(folded)
    return ""


def _not_whole(data: Mapping[str, Any]) -> str:
    """The first key of a number that some servers see otherwise; "" if there is none."""
    for key in _NUMBERS:
        number = data.get(key)
        if number is not None and not (is_number(number) and number % 1 == 0):
            return key
    return ""


def _highest(data: Mapping[str, Any], limits: Sequence[str]) -> int:
    highest = 0
    for limit in limits:
        if limit in data:
            highest = max(highest, sane(data[limit]))
    return highest


def _continues(data: Mapping[str, Any]) -> bool:
    for key in KEPT:
        if data.get(key):
            return True
    return isinstance(data.get("prompt"), dict)


def _fallbacks(models: object) -> list[str]:
    """The models of a list to fall back on, as OpenRouter's API has it."""
    if not models:
        return []
    listed = models if isinstance(models, list) else [models]
    return [model if isinstance(model, str) else "" for model in listed]


PAIRS: Final = json.JSONDecoder(object_pairs_hook=tuple, parse_float=bool, parse_int=bool)
"""Makes of an object the pairs that it has, equal keys too, as no function of Python could for each
of a hundred thousand: a worker would stand still. No number is read, which is worse with floats of
a thousand digits."""
_Pairs = tuple[tuple[str, Any], ...]
_MOST_IN_TOOLS = 20_000
"""Tools and their keys in a request; OpenAI's API takes 128 tools."""


def _tools(text: str) -> list[_Pairs] | None:
    """The tools in this JSON, which was read before; None where it is nested too deeply, or has too
    many."""
    try:
        tools = PAIRS.raw_decode(text)[0]
    except RecursionError:
        return None
    if not isinstance(tools, list):
        return []
    found = [tool for tool in tools if isinstance(tool, tuple)]
    return found if len(found) + sum(map(len, found)) <= _MOST_IN_TOOLS else None


def _ambiguous_in_tools(tools: list[_Pairs]) -> str:
    for tool in tools:
        if ambiguous_key := ambiguous([key for key, _ in tool], _READ_OF_TOOLS):
            return ambiguous_key
    return ""


def _models_of_tools(tools: list[_Pairs]) -> list[str]:
    """The models that tools name, as `image_generation` of responses may."""
    named = (value for tool in tools for key, value in tool if key == "model")
    return [model if isinstance(model, str) else "" for model in named if model is not None]


_NAMING = frozenset(("model", "models", "fallbacks", "engine", "deployment", "deployment_id"))
"""Keys by which servers choose a model; LiteLLM and OpenRouter fall back on further ones."""
_FREE = frozenset(
    (
        "contents",
        "input",
        "item",
        "messages",
        "metadata",
        "parameters",
        "properties",
        "schema",
        "variables",
    )
)
"""Keys whose values are the caller's words and schemas, which may have any keys."""


def models_of_query(query: bytes) -> list[str]:
    """Every model that a query names."""
    found: list[str] = []
    for name, values in parse_qs(query.replace(b";", b"&")).items():
        if fold(name.decode("utf-8", "replace")) in _NAMING:
            found += [value.decode("utf-8", "replace") for value in values]
    return found


def _models_anywhere(text: str) -> list[str] | None:
    """Every model that this JSON names, which was read before, wherever in it; None where it is
    nested too deeply."""
    found: list[str] = []
    try:
        stack: list[Any] = [PAIRS.decode(text)]
    except RecursionError:
        return None
    while stack:
        each = stack.pop()
        if isinstance(each, list):
            stack += each
        if not isinstance(each, tuple):
            continue
        for key, value in each:
            folded = fold(key)
            if folded in _NAMING:
                named = value if isinstance(value, list) else [value]
                found += [one for one in named if isinstance(one, str)]
            if folded not in _FREE:
                stack.append(value)
    return found


def _prompts(prompt: object) -> int:
    """Number of prompts of completions: a list of tokens is one."""
    if not isinstance(prompt, list):
        return 1
    return max(1, sum(isinstance(each, str | list) for each in prompt))


def _count(number: object) -> int:
    """The number of answers or images that `n` asks for; Python's servers take 2.0 for 2."""
    if number is None or not is_number(number) or number % 1:
        return 1
    return int(max(number, 1))


def _asking(read: JsonObject, options: Member | None, inner: JsonObject | None) -> bytes | None:
    """The body with the request for the usage; None when it has that, or has strange options."""
    if options is None:  # there is at least "stream"
        begin = end = read.text.index("{") + 1
        new = f'"{_OPTIONS}":{_ASKS},'
    elif options.value is None:
        begin, end, new = options.begin, options.end, _ASKS
    elif inner is None:
        return None
    else:
        begin, end, new = _in_options(inner)
        begin, end = begin + options.begin, end + options.begin
    return f"{read.text[:begin]}{new}{read.text[end:]}".encode() if new else None


def _in_options(inner: JsonObject) -> tuple[int, int, str]:
    """Where to put what; `""` if the usage is asked for."""
    for each in inner.members:
        if each.key == _USAGE:
            return each.begin, each.end, "" if each.value is True else "true"
    return 1, 1, f'"{_USAGE}":true' + ("," if inner.members else "")


_LARGE: Final = 4096
"""Letters from which a text in an attachment is taken for the attachment itself."""
ATTACHED = 4000
"""Bytes of words that an attachment counts as: a thousand tokens."""
_ATTACHMENTS = ("url", "image_url", "file_url", "data", "file_data")
"""Keys whose texts are attachments; in a `source` of the type "text", `data` is words."""
_WORDS = ("text", "input_text", "output_text", "refusal", "thinking", "tool_result", "tool_use")


def counted_size(size: int, data: Mapping[str, Any]) -> int:
    """Of a body of so many bytes, with this JSON object in it: those that estimates go by."""
    if size < _LARGE:
        return size
    large = [len(text) for text in _attached(data) if len(text) >= _LARGE]
    return size - sum(large) + ATTACHED * len(large)


def _attached(data: Mapping[str, Any]) -> Iterator[str]:
    """Texts in what is attached to the turns of a dialogue, in OpenAI's and Anthropic's shapes."""
    for turn in chain(_list(data.get("messages")), _list(data.get("input"))):
        for part in _list(turn.get("content")):
            if part.get("type") not in _WORDS:
                inner = (value for value in part.values() if isinstance(value, dict))
                for fields in (part, *(each for each in inner if each.get("type") != "text")):
                    texts = (fields.get(key) for key in _ATTACHMENTS)
                    yield from (text for text in texts if isinstance(text, str))


def _list(value: object) -> Iterator[dict[str, Any]]:
    return (
        (each for each in value if isinstance(each, dict)) if isinstance(value, list) else iter(())
    )
