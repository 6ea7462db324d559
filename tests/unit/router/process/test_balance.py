"""Balances: windows over month ends and leap days, and decimals that stay exact."""

from __future__ import annotations

import json
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from itertools import pairwise

import pytest

from router.process import balance as balances
from router.process.balance import Balance, NoAmount, windows


def spans(today: str, days: int) -> list[tuple[str, str]]:
    return [(str(a), str(b)) for a, b in windows(date.fromisoformat(today), days)]


def test_ninety_days_are_one_window_and_today_is_in_it():
    assert spans("2026-11-29", 90) == [("2026-08-31", "2026-11-30")]
    assert spans("2027-01-31", 90) == [("2026-11-02", "2027-02-01")]


def test_leap_days_count():
    assert spans("2028-03-01", 1) == [("2028-02-29", "2028-03-02")]
    assert spans("2028-05-29", 90) == [("2028-02-29", "2028-05-30")]
    assert spans("2027-05-29", 90) == [("2027-02-28", "2027-05-30")]
    assert spans("2028-02-29", 90)[0] == ("2027-12-01", "2028-03-01")


@pytest.mark.parametrize("days", [1, 98, 99, 100, 199, 200, 366, 1000])
def test_windows_have_at_most_a_hundred_days_and_no_gap(days: int):
    today = date(2028, 3, 1)
    found = list(windows(today, days))
    assert found[0][0] == today - timedelta(days=days)
    assert found[-1][1] == today + timedelta(days=1)
    assert all(timedelta(0) < end - begin <= timedelta(days=100) for begin, end in found)
    assert all(one[1] == next_[0] for one, next_ in pairwise(found))


def test_eighteen_dollars_less_eight_cents():
    total = balances.granted(b'{"hard_limit_usd": 18.00}')
    used = balances.used([b'{"total_usage": 8}'])
    assert balances.data_of(Balance(total, used)) == (
        '{"total": 18.00, "balance": 17.92, "used": 0.08}'
    )


def test_decimals_stay_exact():
    used = balances.used([b'{"total_usage": 0.1}', b'{"total_usage": 0.2}', b'{"total_usage": 7}'])
    assert used == Decimal("0.073")
    assert balances.data_of(Balance(Decimal("0.07"), used)) == (
        '{"total": 0.07, "balance": -0.003, "used": 0.073}'
    )


def test_many_decimals_stay_exact():
    total = balances.granted(b'{"hard_limit_usd": 999999999999999.123456789012345678901234567891}')
    used = balances.used([b'{"total_usage": 2.7755575615628914e-17}', b'{"total_usage": 1e12}'])
    assert balances.data_of(Balance(total, used)) == (
        '{"total": 999999999999999.123456789012345678901234567891, '
        '"balance": 999989999999999.12345678901234567862367881173471086, '
        '"used": 10000000000.00000000000000000027755575615628914}'
    )


@pytest.mark.parametrize(
    ("value", "text"),
    [("120", "120.00"), ("1E+3", "1000.00"), ("0", "0.00"), ("0E-8", "0.00"), ("1.2300", "1.23")],
)
def test_amounts_are_plain_numbers(value: str, text: str):
    assert balances.written(Decimal(value)) == text
    assert Decimal(str(json.loads(text))) == Decimal(value)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"<html>",
        b"[]",
        b"null",
        b"{}",
        b'{"hard_limit_usd": "18"}',
        b'{"hard_limit_usd": true}',
        b'{"hard_limit_usd": NaN}',
        b'{"hard_limit_usd": -Infinity}',
        b'{"hard_limit_usd": 1e999999}',
        b'{"hard_limit_usd": 1e15}',
        b'{"hard_limit_usd": 1e1000000}',
        b'{"hard_limit_usd": 1e-999999}',
        b'{"hard_limit_usd": 1.%b}' % (b"1" * 51),
        b"[" * 100_000,
    ],
)
def test_invalid_amounts_are_refused(body: bytes):
    with pytest.raises(NoAmount, match="hard_limit_usd"):
        balances.granted(body)


def test_an_issued_key_in_the_ledger():
    account = {"quota": 18 * 10**9, "cost": 80_000_001}
    assert balances.data_of(balances.document(account)) == (
        '{"total": 18.00, "balance": 17.919999999, "used": 0.080000001}'
    )
    unlimited = balances.document({"quota": None, "cost": 5 * 10**9})
    assert balances.data_of(unlimited) == '{"total": null, "balance": null, "used": 5.00}'


def test_the_documents_that_apps_ask_for():
    balance = balances.of_ledger(18 * 10**9, 80_000_000)
    told = json.loads(balances.subscription(balance, 1_800_000_000.5))
    assert (told["hard_limit_usd"], told["system_hard_limit_usd"]) == (18.0, 18.0)
    assert (told["object"], told["access_until"]) == ("billing_subscription", 1_800_000_000)
    grants = json.loads(balances.credit_grants(balance))
    assert (grants["total_granted"], grants["total_available"]) == (18.0, 17.92)
    unlimited = balances.of_ledger(None, 0)
    assert json.loads(balances.subscription(unlimited, None))["hard_limit_usd"] == 100_000_000
    assert json.loads(balances.credit_grants(unlimited))["total_available"] == 100_000_000


def test_use_is_told_in_cents_by_day_and_model():
    days = [("2026-11-02", 'a "model"', 10**9), ("2026-11-01", "b", 1), ("2026-11-02", "b", 2)]
    text = balances.usage(days)
    assert '"total_usage": 100.0000003' in text
    told = json.loads(text)["daily_costs"]
    first = datetime(2026, 11, 1, tzinfo=UTC).timestamp()
    assert [day["timestamp"] for day in told] == [first, first + 86400]
    assert [line["name"] for line in told[1]["line_items"]] == ['a "model"', "b"]
    assert told[1]["line_items"][0]["cost"] == 100


def test_days_as_apps_write_them():
    assert balances.day_of("2026-11-21") == date(2026, 11, 21)
    assert balances.day_of("2026-11-21T10:00:00Z") == date(2026, 11, 21)
    assert balances.day_of("1796083200") == date(2026, 12, 1)
    assert balances.day_of("") is balances.day_of(None) is None
    for wrong in ("yesterday", "-5", "nan", "1e300", "inf"):
        with pytest.raises(ValueError):
            balances.day_of(wrong)
