"""The rest of a key's quotas, and the form of amounts."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from monitor.common.keys import (
    KeyFault,
    KeyRecord,
    Left,
    Spent,
    checked_models,
    checked_name,
    topped_up,
)
from monitor.common.money import MOST, UNIT, billionths, written

NOW = 1000.0


def record(**more: Any) -> KeyRecord:
    usual: dict[str, Any] = {"expires_at": None, "revoked_at": None, "revoked_by": "", "rate": 0.0}
    fixed = {"id": "k1", "name": "n", "digest": "d", "created_at": 1.0, "created_by": "alice"}
    open_ = {"models": (), "quota": None, "quota_tokens": None}
    return KeyRecord(**{**usual, **fixed, **open_, **more})


@pytest.mark.parametrize(
    ("more", "spent", "state"),
    [
        ({}, Spent(10**18, 10**18), "active"),
        ({"quota": 10}, Spent(9, 10**18), "active"),
        ({"quota": 10}, Spent(10, 0), "spent"),
        ({"quota_tokens": 10}, Spent(10**18, 9), "active"),
        ({"quota_tokens": 10}, Spent(0, 11), "spent"),
        ({"quota": 10, "quota_tokens": 10}, Spent(9, 10), "spent"),
        ({"expires_at": NOW}, Spent(), "expired"),
        ({"expires_at": NOW + 1}, Spent(), "active"),
        ({"revoked_at": NOW, "expires_at": NOW}, Spent(), "revoked"),
    ],
)
def test_the_state_of_a_key(more: dict[str, Any], spent: Spent, state: str):
    assert record(**more).state(NOW, spent) == state


def test_a_balance_may_be_negative():
    assert record(quota=10).left(Spent(15, 3)) == Left(-5, None)


def test_topping_up_adds_to_what_was_granted():
    assert topped_up(record(quota=10, quota_tokens=5), 7, None) == (17, 5)
    assert topped_up(record(quota_tokens=5), None, 7) == (None, 12)
    for fault, more in (("no quota", {}), ("is revoked", {"quota": 1, "revoked_at": NOW})):
        with pytest.raises(KeyFault, match=fault):
            topped_up(record(**more), 7, None)


@given(st.integers(1, MOST))
def test_an_amount_is_read_as_it_was_written(amount: int):
    assert billionths(written(amount)) == amount


@pytest.mark.parametrize(
    ("text", "amount"), [("12.50", 12_500_000_000), ("0.000000001", 1), ("7", 7 * UNIT)]
)
def test_amounts(text: str, amount: int):
    assert billionths(text) == amount


def test_an_amount_has_two_decimals_at_least():
    assert [written(n) for n in (0, UNIT, 1, -3 * UNIT // 2)] == [
        *("0.00", "1.00", "0.000000001", "-1.50")
    ]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "x",
        "-1",
        "0",
        "0.0",
        "1e3",
        "nan",
        "inf",
        "1.0000000001",
        "1,5",
        "１２",
        "9" * 30,
        "1\n",
    ],
)
def test_other_texts_are_no_amounts(text: str):
    with pytest.raises(ValueError, match="expected"):
        billionths(text)


def test_names_and_models_fit_on_a_line():
    assert checked_name("  学生 ") == "学生"
    assert checked_models([" gpt-4o*", "o3", "o3"]) == ("gpt-4o*", "o3")
    for bad in ("", "a\nb", "x" * 101, "\u202e"):
        with pytest.raises(ValueError, match="name"):
            checked_name(bad)
    for models in ([""], ["a b"], ['"'], ["x" * 129], ["é"], ["\x7f"]):
        with pytest.raises(ValueError, match="models"):
            checked_models(models)
    with pytest.raises(ValueError, match="at most"):
        checked_models(map(str, range(51)))
