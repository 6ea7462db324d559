"""The parts of answers that metering reads, as msgspec decodes them."""

from __future__ import annotations

from typing import Any, Final

import msgspec

_Unread = msgspec.Raw
"""JSON of any kind, passed over as it is."""
_NONE: Final = msgspec.Raw()


class Answer(msgspec.Struct, gc=False):
    """The keys that tell the use of a JSON answer: the rest is passed over, not built, such as the
    numbers of embeddings."""

    usage: Any = None
    duration: Any = None
    text: msgspec.Raw = _NONE
    error: Any = None


class Delta(msgspec.Struct, gc=False, frozen=True, forbid_unknown_fields=True):
    """New words of one answer."""

    content: str | None = None
    role: _Unread = _NONE
    reasoning_content: str | None = None
    reasoning: str | None = None
    refusal: str | None = None


class Choice(msgspec.Struct, gc=False, forbid_unknown_fields=True):
    """One answer of those that were asked for."""

    index: _Unread = _NONE
    delta: Delta = Delta()
    logprobs: None = None
    finish_reason: _Unread = _NONE


class Chunk(msgspec.Struct, gc=False, forbid_unknown_fields=True):
    """An event of a chat's stream in its usual shape, held to exactly: what has a key that is not
    named here is no usual chunk.

    OpenAI's API reference, "The chat completion chunk object", with the reasoning of DeepSeek's and
    OpenRouter's.
    """

    choices: list[Choice]
    id: _Unread = _NONE
    object: _Unread = _NONE
    created: _Unread = _NONE
    model: _Unread = _NONE
    service_tier: _Unread = _NONE
    system_fingerprint: _Unread = _NONE
    usage: None = None
    obfuscation: _Unread = _NONE
    provider: _Unread = _NONE
