"""How large a request is for an estimate of its input: by its words, not by its attachments.

A picture of megabytes in base64 is some thousand tokens to a model (OpenAI's and Anthropic's guides
to images), so its letters must not count as words do.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import chain
from typing import Any

_LARGE = 4096
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
