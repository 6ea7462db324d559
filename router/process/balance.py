"""Arithmetic of balances: windows of days, exact decimals, OpenAI's old billing documents. Pure."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from datetime import UTC, date, datetime, time, timedelta
from decimal import Context, Decimal
from functools import reduce
from typing import Any, NamedTuple

from monitor.common.money import UNIT

WINDOW = 100
"""Days that one question on use may span."""
UNLIMITED = 100_000_000
"""Dollars that a key without a quota is said to have where a number is due; relays have always said
this (one-api), and apps show it as it is."""
_DIGITS, _PLACES = 15, 50
"""Of an amount, before and behind the point; remainders of floats such as 2.8e-17 fit. Beyond these
a short number would be written with a million zeros, or overflow."""
_EXACT = Context(prec=100)
"""More digits than sums of such amounts have."""
_CENTS = Decimal(100)
_DAY = 86400


class NoAmount(ValueError):
    """A mirror's answer that has no amount where one is due."""


class Balance(NamedTuple):
    """A sum that was granted, and the part of it that was used."""

    total: Decimal | None
    """None: there is no limit."""
    used: Decimal

    @property
    def left(self) -> Decimal | None:
        """Rest of the total."""
        return None if self.total is None else _EXACT.subtract(self.total, self.used)


def windows(today: date, days: int) -> Iterator[tuple[date, date]]:
    """Yield windows from the first day to behind the last: the last `days` days, and today. The
    end of one is the beginning of the next, as the end is no part of a window."""
    begin, end = today - timedelta(days=days), today + timedelta(days=1)
    while begin < end:
        until = min(begin + timedelta(days=WINDOW), end)
        yield begin, until
        begin = until


def granted(body: bytes) -> Decimal:
    """Dollars granted, from a subscription."""
    return amount(body, "hard_limit_usd")


def used(bodies: Iterable[bytes]) -> Decimal:
    """Dollars used, from answers on use, which tell cents."""
    cents = reduce(_EXACT.add, (amount(body, "total_usage") for body in bodies), Decimal(0))
    return _EXACT.divide(cents, _CENTS)


def amount(body: bytes, name: str) -> Decimal:
    """The number of this name in a JSON object, exactly as it is written. Raises NoAmount."""
    try:
        document = json.loads(body, parse_float=Decimal, parse_int=Decimal, parse_constant=_refuse)
        value = document[name]
    except (ValueError, LookupError, TypeError, RecursionError, ArithmeticError):
        value = None
    if not isinstance(value, Decimal) or not _fits(value):
        raise NoAmount(name)
    return value


def _fits(value: Decimal) -> bool:
    """True if an amount has no more digits than any sum of money."""
    if not value.is_finite() or value.adjusted() >= _DIGITS:
        return False
    return int(value.as_tuple().exponent) >= -_PLACES


def _refuse(text: str) -> None:
    raise ValueError(text)


def written(value: Decimal | None) -> str:
    """An amount as JSON, with two decimals or as many as it has."""
    if value is None:
        return "null"
    places = max(2, -int(value.normalize(_EXACT).as_tuple().exponent))
    return f"{value:.{places}f}" if value else "0.00"


def data_of(balance: Balance) -> str:
    """The `data` of an answer."""
    total, left = written(balance.total), written(balance.left)
    return f'{{"total": {total}, "balance": {left}, "used": {written(balance.used)}}}'


# Of issued keys, from the ledger, in billionths


def of_ledger(quota: int | None, cost: int) -> Balance:
    """The balance of an issued key."""
    return Balance(None if quota is None else _dollars(quota), _dollars(cost))


def subscription(balance: Balance, expires_at: float | None) -> str:
    """The document `/dashboard/billing/subscription`."""
    total = str(UNLIMITED) if balance.total is None else written(balance.total)
    limits = "".join(
        f', "{name}_limit": 0, "{name}_limit_usd": {total}'
        for name in ("soft", "hard", "system_hard")
    )
    until = int(expires_at) if expires_at is not None else 0
    return (
        '{"object": "billing_subscription", "has_payment_method": true, "canceled": false'
        f', "access_until": {until}{limits}'
        ', "plan": {"title": "mirrorgate", "id": "mirrorgate"}}'
    )


def credit_grants(balance: Balance) -> str:
    """The document `/dashboard/billing/credit_grants`."""
    total = Decimal(UNLIMITED) if balance.total is None else balance.total
    return (
        f'{{"object": "credit_summary", "total_granted": {written(total)}'
        f', "total_used": {written(balance.used)}'
        f', "total_available": {written(total - balance.used)}'
        ', "grants": {"object": "list", "data": []}}'
    )


def usage(days: Iterable[tuple[str, str, int]]) -> str:
    """The document `/dashboard/billing/usage`: of these days, models and costs, in cents."""
    by_day: dict[str, list[tuple[str, Decimal]]] = {}
    total = Decimal(0)
    for day, model, cost in days:
        cents = _dollars(cost) * _CENTS
        total += cents
        by_day.setdefault(day, []).append((model, cents))
    daily = ", ".join(_daily(day, by_day[day]) for day in sorted(by_day))
    return f'{{"object": "list", "daily_costs": [{daily}], "total_usage": {written(total)}}}'


def _daily(day: str, items: Iterable[tuple[str, Decimal]]) -> str:
    at = datetime.combine(date.fromisoformat(day), time(), UTC).timestamp()
    lines = ", ".join(
        f'{{"name": {json.dumps(model)}, "cost": {written(cents)}}}' for model, cents in items
    )
    return f'{{"timestamp": {at:.1f}, "line_items": [{lines}]}}'


def _dollars(billionths: int) -> Decimal:
    return Decimal(billionths) / UNIT


def day_of(text: str | None) -> date | None:
    """A day as an app writes it, "2026-11-21" or seconds since the epoch. Raises ValueError."""
    if not text:
        return None
    try:
        return date.fromisoformat(text[:10])
    except ValueError:
        seconds = float(text)
    if not 0 <= seconds < 4e9:
        raise ValueError(text)
    return (datetime(1970, 1, 1, tzinfo=UTC) + timedelta(seconds=seconds)).date()


def document(account: dict[str, Any]) -> Balance:
    """The balance that control tells of a key."""
    return of_ledger(account["quota"], account["cost"])
