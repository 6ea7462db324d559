"""Context of a legacy chat, cut to the window of its model: the oldest turns go first. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from fnmatch import fnmatchcase

WINDOWS = (
    ("gpt-3.5-turbo-0301", 4_096),
    ("gpt-3.5-turbo-0613", 4_096),
    ("gpt-3.5-turbo-instruct*", 4_096),
    ("gpt-3.5-turbo*", 16_385),
    ("gpt-4-32k*", 32_768),
    ("gpt-4-turbo*", 128_000),
    ("gpt-4-*-preview", 128_000),
    ("gpt-4o*", 128_000),
    ("chatgpt-4o*", 128_000),
    ("gpt-4.1*", 1_000_000),
    ("gpt-4*", 8_192),
    ("gpt-5*", 272_000),
    ("o[1-9]*", 128_000),
)
"""Tokens that a model takes, by patterns of which the first that fits counts (OpenAI's list of
models, November 2026)."""
UNKNOWN = 8_192
"""Tokens of any other model."""
LARGEST = 64_000
"""Tokens of context that are sent at most, however large a window is: each message pays for all."""
ANSWER = 4
"""The answer has this part of the window."""
_PER_MESSAGE = 4
"""Tokens that a message takes beside its text (OpenAI's cookbook on counting tokens)."""


def window_of(model: str, configured: int) -> int:
    """Tokens of the model's window; `configured` if that is not 0."""
    if configured:
        return configured
    name = model.rpartition("/")[2].lower()
    return next((size for pattern, size in WINDOWS if fnmatchcase(name, pattern)), UNKNOWN)


def tokens_in(text: str) -> int:
    """An estimate that is rather too high: three letters of ASCII to a token, and for any other
    character one and a half (cl100k_base has 1.0 to 1.3 for Chinese)."""
    plain = sum(map(str.isascii, text)) if not text.isascii() else len(text)
    return plain // 3 + (len(text) - plain) * 3 // 2 + _PER_MESSAGE


def trimmed(turns: Sequence[str], question: str, window: int) -> list[str]:
    """The last turns that the window takes besides the question and its answer.

    `turns` are questions and answers in turn; a question goes together with its answer.
    """
    room = min(window - window // ANSWER, LARGEST) - tokens_in(question)
    at = len(turns)
    while at >= 2:
        room -= tokens_in(turns[at - 2]) + tokens_in(turns[at - 1])
        if room < 0:
            break
        at -= 2
    return list(turns[at:])


def newer_half(turns: Sequence[str]) -> list[str]:
    """The newer half of the turns, or less: questions with their answers."""
    pairs = len(turns) // 2
    return list(turns[2 * (pairs - pairs // 2) :])
