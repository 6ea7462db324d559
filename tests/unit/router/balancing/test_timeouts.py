"""Timeouts of a request."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.balancing.config import ClassConfig, TimeoutConfig
from router.balancing.load import Baseline, Kind
from router.balancing.timeouts import (
    Classes,
    Patience,
    asked_timeout,
    is_reasoning,
    leave_early,
    soft_limit,
)


def _patience(
    endpoint: str, model: str, stream: bool, *classes: ClassConfig
) -> tuple[float, float, float, float]:
    found = Classes(TimeoutConfig(), classes).patience(endpoint, model, stream)
    return found.head, found.content, found.idle, found.total


@pytest.mark.parametrize(
    ("endpoint", "model", "stream", "limits"),
    [
        ("chat", "gpt-4o", True, (30, 120, 120, 3600)),
        ("chat", "gpt-4o", False, (600, 600, 120, 3600)),
        ("models", "", False, (600, 600, 120, 3600)),
        ("chat", "o3-mini", True, (900, 900, 300, 3600)),
        ("chat", "o3-mini", False, (900, 900, 300, 3600)),
        ("embeddings", "o3-mini", False, (600, 600, 120, 3600)),
    ],
)
def test_the_limits_where_nothing_is_configured(
    endpoint: str, model: str, stream: bool, limits: tuple[float, ...]
) -> None:
    assert _patience(endpoint, model, stream) == limits


def test_the_first_class_that_fits_counts_and_leaves_the_rest_as_it_is() -> None:
    classes = (
        ClassConfig(endpoint="chat", model="slow-*", first_content=400.0),
        ClassConfig(endpoint="chat", idle=7.0),
    )
    assert _patience("chat", "slow-1", True, *classes) == (30, 400, 120, 3600)
    assert _patience("chat", "other", True, *classes) == (30, 120, 7, 3600)
    assert _patience("embeddings", "other", False, *classes) == (600, 600, 120, 3600)


def test_an_operators_class_comes_before_ours() -> None:
    own = ClassConfig(model="o3*", first_byte=60.0)
    assert _patience("chat", "o3", True, own) == (60, 60, 120, 3600)


def test_content_never_has_less_time_than_the_head() -> None:
    assert _patience("chat", "m", True, ClassConfig(first_byte=500.0)) == (500, 500, 120, 3600)


def test_models_of_clients_do_not_fill_the_memory() -> None:
    classes = Classes(TimeoutConfig(), ())
    for number in range(10_000):
        classes.patience("chat", f"model-{number}", True)
    assert len(classes._known) <= 256


@pytest.mark.parametrize(
    ("model", "reasons"),
    [
        ("o1", True),
        ("o3-mini", True),
        ("openai/o4-mini-2025", True),
        ("gpt-5.1", True),
        ("DeepSeek-R1", True),
        ("deepseek-reasoner", True),
        ("claude-opus-thinking", True),
        ("gpt-4o", False),
        ("gpt-4o-mini", False),
        ("text-embedding-3-large", False),
        ("o", False),
        ("", False),
    ],
)
def test_which_models_think_first(model: str, reasons: bool) -> None:
    assert is_reasoning(model) is reasons


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        (b"30", 30.0),
        (b" 1.5 ", 1.5),
        (b"500ms", 0.5),
        (b"2m", 120.0),
        (b"0", None),
        (b"0s", None),
        (b"-1", None),
        (b"inf", None),
        (b"1e9", None),
        (b"", None),
        (b"30 s", None),
        (b"\xff", None),
    ],
)
def test_what_a_caller_may_ask(value: bytes, seconds: float | None) -> None:
    assert asked_timeout(value) == seconds


@given(st.floats(0.001, 1e9))
def test_a_caller_lowers_and_never_raises(asked: float) -> None:
    usual = Patience(30.0, 120.0, 60.0, 3600.0)
    lowered = usual.lowered_to(asked)
    assert lowered.head == min(30.0, asked)
    assert lowered.content == min(120.0, asked)
    assert lowered.idle == min(60.0, asked)
    assert lowered.total == min(3600.0, asked)
    assert usual.lowered_to(None) is usual


def test_a_callers_haste_is_not_the_mirrors_fault() -> None:
    hasty = Patience(30.0, 120.0, 60.0, 3600.0).lowered_to(5.0)
    assert not hasty.blames(5.0)
    assert hasty.blames(3.0)
    assert Patience(30.0, 120.0, 60.0, 3600.0).blames(30.0)


def test_the_soft_limit_is_four_times_what_one_in_twenty_exceeds_within_bounds() -> None:
    quick, slow = Baseline(Kind("chat", stream=True), 0.0), Baseline(Kind("chat"), 0.0)
    for number in range(200):
        quick.observe(0.3, float(number))
        slow.observe(8.0, float(number))
    assert soft_limit(quick, 120.0) == 10.0
    assert soft_limit(slow, 600.0) == pytest.approx(4 * slow.p95)
    assert 25.0 < soft_limit(slow, 600.0) < 60.0
    assert soft_limit(slow, 15.0) == 15.0


@pytest.mark.parametrize(
    ("waited", "suspect", "overdue", "leaves"),
    [
        (9.0, True, 9, False),
        (11.0, False, 0, False),
        (11.0, False, 1, False),
        (11.0, False, 2, True),
        (11.0, True, 0, True),
    ],
)
def test_slowness_alone_is_no_reason_to_leave(
    waited: float, suspect: bool, overdue: int, leaves: bool
) -> None:
    assert leave_early(waited, 10.0, suspect=suspect, overdue=overdue) is leaves
