"""Context of a legacy chat, cut to the model's window."""

from __future__ import annotations

import pytest

from router.metering.context_window import (
    LARGEST,
    UNKNOWN,
    newer_half,
    tokens_in,
    trimmed,
    window_of,
)


@pytest.mark.parametrize(
    ("model", "tokens"),
    [
        ("gpt-3.5-turbo", 16_385),
        ("gpt-3.5-turbo-0613", 4_096),
        ("openai/gpt-4o-mini", 128_000),
        ("GPT-4", 8_192),
        ("gpt-4-0613", 8_192),
        ("gpt-4-1106-preview", 128_000),
        ("gpt-4-32k-0613", 32_768),
        ("o3-mini", 128_000),
        ("a-model-of-nobody", UNKNOWN),
    ],
)
def test_windows_of_models(model: str, tokens: int):
    assert window_of(model, 0) == tokens
    assert window_of(model, 1234) == 1234


@pytest.mark.parametrize(
    ("text", "real"),
    [  # tokens by cl100k_base
        ("Hello, how are you doing today?", 8),
        ("你好，请问今天天气怎么样？", 16),
        ("def f(x):\n    return x * 2\n", 12),
        ("", 0),
    ],
)
def test_the_estimate_is_rather_too_high_but_not_by_far(text: str, real: int):
    assert real <= tokens_in(text) <= 2 * real + 5


def test_all_stays_while_it_fits():
    assert trimmed(["q", "r", "s", "t"], "now", 4096) == ["q", "r", "s", "t"]
    assert trimmed([], "now", 4096) == []


def test_the_oldest_turns_go_first_a_question_with_its_answer():
    turns = [text * 100 for text in "abcdef"]
    two = tokens_in(turns[0]) * 2
    window = (two * 2 + tokens_in("now") + 1) * 4 // 3 + 1
    assert trimmed(turns, "now", window) == turns[2:]
    assert trimmed(turns, "now", window - two) == turns[4:]
    assert trimmed(turns, "x" * 10_000, window) == []


def test_a_large_window_is_not_filled():
    turns = ["x" * 30_000] * 20
    kept = trimmed(turns, "now", 1_000_000)
    assert 0 < sum(map(tokens_in, kept)) <= LARGEST


def test_the_older_half_goes():
    turns = [f"{who}{at}" for at in range(5) for who in "qa"]
    assert newer_half(turns) == ["q3", "a3", "q4", "a4"]
    assert newer_half(turns[:2]) == []
    assert newer_half(turns[:4]) == ["q1", "a1"]
