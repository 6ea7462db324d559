"""Timeouts of a request."""

from __future__ import annotations

from collections.abc import Iterable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.balancing.config import ClassConfig, TimeoutConfig
from router.balancing.load import Baseline, Kind
from router.balancing.timeouts import (
    LONGEST,
    STREAM_HEAD,
    Classes,
    Patience,
    asked_timeout,
    is_reasoning,
    leave_early,
    time_left,
)
from tests.testkit.memory import kept_bytes


def _patience(
    endpoint: str, model: str, stream: bool, *classes: ClassConfig
) -> tuple[float, float, float, float]:
    found = Classes(TimeoutConfig(), classes).patience(endpoint, model, stream)
    return found.head, found.content, found.idle, found.total


@pytest.mark.parametrize(
    ("endpoint", "model", "stream", "limits"),
    [
        ("chat", "gpt-4o", True, (90, 240, 300, 3600)),
        ("chat", "gpt-4o", False, (300, 240, 300, 3600)),
        ("models", "", False, (120, 240, 300, 3600)),
        ("chat", "o3-mini", True, (900, 900, 300, 3600)),
        ("chat", "o3-mini", False, (900, 900, 300, 3600)),
        ("embeddings", "o3-mini", False, (120, 240, 300, 3600)),
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
    assert _patience("chat", "slow-1", True, *classes) == (90, 400, 300, 3600)
    assert _patience("chat", "other", True, *classes) == (90, 240, 7, 3600)
    assert _patience("embeddings", "other", False, *classes) == (120, 240, 300, 3600)


def test_an_operators_class_comes_before_ours() -> None:
    own = ClassConfig(model="o3*", first_byte=60.0)
    assert _patience("chat", "o3", True, own) == (60, 60, 300, 3600)


def test_content_never_has_less_time_than_the_head() -> None:
    assert _patience("chat", "m", True, ClassConfig(first_byte=500.0)) == (500, 500, 300, 3600)


def test_models_of_clients_do_not_fill_the_memory() -> None:
    classes = Classes(TimeoutConfig(), ())

    def ask(names: Iterable[int]) -> None:
        for number in names:
            classes.patience("chat", f"model-{number}", True)

    ask(range(256))
    assert kept_bytes(lambda: ask(range(256, 10_000))) < 100_000


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
def test_callers_timeouts_are_read(value: bytes, seconds: float | None) -> None:
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


STREAM = Kind("chat", stream=True)


def known(seconds: float, kind: Kind = STREAM) -> Baseline:
    """A baseline that was observed often."""
    baseline = Baseline(kind, 0.0)
    for number in range(200):
        baseline.observe(seconds, float(number))
    return baseline


def test_the_soft_limit_is_four_times_what_one_in_twenty_exceeds_and_ten_seconds_at_least() -> None:
    slow = known(8.0, Kind("chat"))
    assert known(0.3).soft_limit == 10.0
    assert slow.soft_limit == pytest.approx(4 * slow.p95)
    assert 25.0 < slow.soft_limit < 60.0


@pytest.mark.parametrize(
    ("waited", "is_known", "suspect", "dead", "overdue", "leaves"),
    [
        (9.0, True, True, True, 9, False),
        (11.0, True, False, False, 0, False),
        (11.0, True, False, False, 1, False),
        (11.0, True, False, False, 2, True),
        (11.0, True, True, False, 0, True),
        (11.0, False, True, False, 2, False),
        (60.0, False, True, False, 2, False),
        (11.0, False, True, True, 0, True),
    ],
)
def test_slowness_alone_is_no_reason_to_leave(
    waited: float, is_known: bool, suspect: bool, dead: bool, overdue: int, leaves: bool
) -> None:
    baseline = known(0.3) if is_known else Baseline(STREAM, 0.0)
    found = leave_early(waited, baseline, suspect=suspect, dead=dead, overdue=overdue)
    assert found is leaves


def _left(limits: Patience, waited: float, silent: float, usual: float = 1.0) -> float:
    return time_left(limits, has_head=False, waited=waited, silent=silent, usual=usual)


def test_a_limit_that_is_learned_limits_the_silence_and_grows_with_what_is_usual() -> None:
    limits = Classes(TimeoutConfig(), ()).patience("chat", "m", True)
    assert _left(limits, 90.0, 90.0) == 0.0
    assert _left(limits, 90.0, 10.0) == 80.0
    assert _left(limits, 90.0, 90.0, usual=50.0) == 110.0
    assert _left(limits, 890.0, 1.0) == 10.0
    assert _left(limits, 901.0, 0.0) < 0.0


def test_a_limit_that_was_set_is_a_limit_on_the_wait() -> None:
    limits = Classes(TimeoutConfig(stream_head=5.0), ()).patience("chat", "m", True)
    assert _left(limits, 5.0, 0.0, usual=50.0) == 0.0
    assert limits.learns_content


@given(st.floats(0.0, 1000.0), st.floats(0.0, 1000.0), st.floats(0.0, 500.0), st.booleans())
def test_no_learned_timeout_exceeds_the_longest(
    waited: float, silent: float, usual: float, has_head: bool
) -> None:
    limits = Classes(TimeoutConfig(), ()).patience("chat", "m", True)
    left = time_left(
        limits, has_head=has_head, waited=waited, silent=min(silent, waited), usual=usual
    )
    assert waited + left <= LONGEST + 1e-6
    if waited < STREAM_HEAD:
        assert left > 0.0
