"""Kinds of responses that are billed, and their units."""

from __future__ import annotations

import re
from enum import StrEnum
from functools import lru_cache


class Kind(StrEnum):
    """By what an answer is billed."""

    text = "text"
    """Tokens in and out: chat, completions, responses, Anthropic's messages."""
    embeddings = "embeddings"
    images = "images"
    speech = "speech"
    """Characters of what is spoken; newer models by tokens."""
    listening = "listening"
    """Minutes of what is written down; newer models by tokens."""
    free = "free"
    """Moderations: counted, and never billed."""


_POSTS = {
    Kind.text: r"chat/completions|completions|responses|responses/compact|messages",
    Kind.embeddings: "embeddings",
    Kind.images: "images/generations|images/edits|images/variations",
    Kind.speech: "audio/speech",
    Kind.listening: "audio/transcriptions|audio/translations",
    Kind.free: "moderations",
}
_PATH = re.compile("|".join(f"(?P<{k}>{paths})" for k, paths in _POSTS.items()).encode())
_BELOW = b"/v1/"


@lru_cache(maxsize=256)
def kind_of(method: bytes, target: bytes) -> Kind | None:
    """The kind of what is asked for; None when it is not metered."""
    if method != b"POST" or not target.startswith(_BELOW):
        return None
    found = _PATH.fullmatch(target.partition(b"?")[0].removeprefix(_BELOW).rstrip(b"/"))
    return Kind(found.lastgroup) if found is not None and found.lastgroup else None
