"""Scopes of a 429: the requests that keep away, and for how long."""

from __future__ import annotations

import pickle

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.balancing.rate_limit import (
    LENT,
    LONGEST_WAIT,
    MOST_BLOCKS,
    Blocks,
    Limited,
    Scope,
    classify,
    openai_error,
    should_retry,
    wait_of,
)

WALL = 1_795_000_000.0
ERROR = b'{"error": {"message": "Slow down", "type": "requests", "code": "rate_limit_exceeded"}}'


@pytest.mark.parametrize(
    ("own_key", "error", "expected"),
    [
        (True, {"message": "slow down"}, Limited(Scope.caller, pass_on=True)),
        (True, None, Limited(Scope.mirror, pass_on=False)),
        (False, {"message": "slow down"}, Limited(Scope.mirror, pass_on=False)),
    ],
)
def test_a_limit_is_the_callers_or_the_mirrors(
    own_key: bool, error: dict[str, str] | None, expected: Limited
) -> None:
    assert classify(own_key, error) == expected


@pytest.mark.parametrize(
    ("body", "shaped"),
    [
        (ERROR, True),
        (b'{"error": {"message": "m", "type": "t"}}', True),
        (b'{"error": {"message": "m", "code": null}}', True),
        (b'{"error": {"message": "m"}}', False),
        (b'{"error": "m"}', False),
        (b'{"error": {"message": 3, "type": "t"}}', False),
        (b"[1]", False),
        (b"", False),
        (b"\xff", False),
        (b"[" * 100_000, False),
    ],
)
def test_openais_shape(body: bytes, shaped: bool) -> None:
    assert (openai_error(body) is not None) is shaped


@pytest.mark.parametrize(
    ("fields", "seconds"),
    [
        ({}, None),
        ({b"retry-after": b"7"}, 7.0),
        ({b"retry-after": b"0"}, 0.0),
        ({b"retry-after": b"1.5"}, 1.5),
        ({b"retry-after-ms": b"250", b"retry-after": b"9"}, 0.25),
        ({b"retry-after-ms": b"soon", b"retry-after": b"9"}, 9.0),
        ({b"retry-after": b"Wed, 18 Nov 2026 11:10:10 GMT"}, 10.0),
        ({b"retry-after": b"Wed, 18 Nov 2026 11:10:10"}, 10.0),
        ({b"retry-after": b"Wed, 18 Nov 2020 17:06:50 GMT"}, 0.0),
        ({b"retry-after": b"-5"}, None),
        ({b"retry-after": b"nan"}, None),
        ({b"retry-after": b"99999999999"}, LONGEST_WAIT),
        ({b"retry-after": b"\xff\x00"}, None),
        ({b"x-ratelimit-remaining-requests": b"0", b"x-ratelimit-reset-requests": b"20ms"}, 0.02),
        ({b"x-ratelimit-remaining-tokens": b"0", b"x-ratelimit-reset-tokens": b"6m0s"}, 360.0),
        ({b"x-ratelimit-remaining-tokens": b"5", b"x-ratelimit-reset-tokens": b"6m0s"}, None),
        ({b"x-ratelimit-remaining-tokens": b"0", b"x-ratelimit-reset-tokens": b"1.2.3s"}, None),
        ({b"x-ratelimit-remaining-tokens": b"0", b"x-ratelimit-reset-tokens": b""}, None),
    ],
)
def test_the_wait_that_a_response_asks_for_is_read(
    fields: dict[bytes, bytes], seconds: float | None
) -> None:
    assert wait_of(fields, WALL + 200.0) == (None if seconds is None else pytest.approx(seconds))


@given(st.binary(max_size=40), st.sampled_from([b"retry-after", b"retry-after-ms"]))
def test_the_wait_is_bounded_for_any_field(value: bytes, field: bytes) -> None:
    seconds = wait_of({field: value}, WALL)
    assert seconds is None or 0.0 <= seconds <= LONGEST_WAIT


@pytest.mark.parametrize(("value", "says"), [(b"true", True), (b"False", False), (b"x", None)])
def test_x_should_retry_is_read(value: bytes, says: bool | None) -> None:
    assert should_retry({b"x-should-retry": value}) is says
    assert should_retry({}) is None


def _blocks() -> Blocks:
    return Blocks(b"s" * 32)


def test_a_callers_limit_keeps_only_this_caller_from_this_mirror() -> None:
    blocks = _blocks()
    blocks.block("a", b"sk-1", 7.0, 100.0)
    assert blocks.until("a", b"sk-1", 106.9) == 107.0
    assert blocks.until("a", b"sk-1", 107.0) == 0.0
    assert [blocks.until(m, key, 101.0) for m, key in (("a", b"sk-2"), ("b", b"sk-1"))] == [0, 0]
    assert blocks.until("a", None, 101.0) == 0.0


def test_a_mirrors_limit_keeps_everybody_away() -> None:
    blocks = _blocks()
    blocks.block("a", None, 7.0, 100.0)
    assert [blocks.until("a", key, 101.0) for key in (b"sk-1", None)] == [107.0, 107.0]


def test_without_a_time_the_wait_doubles_to_a_minute_and_begins_anew_when_all_was_well() -> None:
    blocks, now, waits = _blocks(), 0.0, []
    for _ in range(6):
        until = blocks.block("a", None, None, now)
        waits.append(until - now)
        now = until + 1.0
    assert waits == [5.0, 10.0, 20.0, 40.0, 60.0, 60.0]
    now += 61.0
    assert blocks.block("a", None, None, now) - now == 5.0


def test_requests_that_meet_the_same_limit_do_not_lengthen_it() -> None:
    blocks = _blocks()
    for _ in range(10):
        assert blocks.block("a", None, None, 100.0) == 105.0


def test_of_two_deadlines_the_later_counts() -> None:
    blocks = _blocks()
    blocks.block("a", None, 60.0, 100.0)
    assert blocks.block("a", None, 1.0, 101.0) == 160.0


def test_the_soonest_end_is_told_when_all_are_blocked() -> None:
    blocks = _blocks()
    blocks.block("a", b"sk", 30.0, 100.0)
    assert blocks.soonest("ab", b"sk", 101.0) is None
    blocks.block("b", None, 10.0, 100.0)
    assert blocks.soonest("ab", b"sk", 101.0) == pytest.approx(9.0)
    assert blocks.soonest("ab", b"other", 101.0) is None
    assert blocks.soonest("", b"sk", 101.0) is None


def test_blocks_are_bounded_and_hold_no_key() -> None:
    blocks = _blocks()
    for number in range(MOST_BLOCKS + 100):
        blocks.block("a", b"sk-secret-%d" % number, 3600.0, 0.0)
    assert len(blocks) == MOST_BLOCKS
    assert blocks.until("a", b"sk-secret-%d" % (MOST_BLOCKS + 99), 1.0) == 3600.0
    assert b"secret" not in pickle.dumps(blocks)


def test_a_mirrors_own_key_that_is_out_of_quota_keeps_away_those_who_are_lent_it() -> None:
    blocks = _blocks()
    blocks.block("a", LENT, 7.0, 100.0)
    assert blocks.until("a", LENT, 106.9) == 107.0
    assert [blocks.until("a", key, 101.0) for key in (b"sk-1", None)] == [0.0, 0.0]
    assert (blocks.is_spent("a", 106.9), blocks.is_spent("a", 107.0)) == (True, False)
    assert blocks.keys("a", 101.0) == 0, "no key of a caller"
    blocks.block("b", None, 7.0, 100.0)
    assert blocks.until("b", LENT, 101.0) == 107.0
    assert not blocks.is_spent("b", 101.0)


def test_a_mirror_that_names_no_time_at_all_is_left_for_a_moment() -> None:
    blocks = Blocks(b"s" * 16)
    blocks.block("a", None, 0.0, now=10.0)
    assert blocks.soonest(["a"], None, now=10.0)
    assert blocks.soonest(["a"], None, now=11.0) is None
