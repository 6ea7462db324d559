"""What operators send of keys, checked strictly: each fault is one sentence."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import datetime
from typing import Any, TypeVar

from dashboard.admin.inputs import BadInput, table
from monitor.keys import KeyOrder, checked_models, checked_name, checked_rate, checked_tokens
from monitor.money import billionths

MOST_DAYS = 3660
DEFAULT_DAYS = 30
_ORDER = ("name", "quota", "tokens", "rate", "models", "expires_at")

T = TypeVar("T")


def order(body: bytes, now: float) -> KeyOrder:
    """What a new key shall be allowed. Raises BadInput."""
    given = table(body, _ORDER)
    return KeyOrder(
        name=_read("name", given.get("name"), _name),
        quota=_if_given("quota", given, _money),
        tokens=_if_given("tokens", given, _tokens),
        rate=_if_given("rate", given, _rate) or 0.0,
        models=_if_given("models", given, _models) or (),
        expires_at=_if_given("expires_at", given, lambda value: _moment(value, now)),
    )


def more(body: bytes) -> tuple[int | None, int | None]:
    """By how much a key shall be topped up: money in billionths, tokens. Raises BadInput."""
    given = table(body, ("quota", "tokens"))
    amounts = _if_given("quota", given, _money), _if_given("tokens", given, _tokens)
    if amounts == (None, None):
        raise BadInput("expected quota, tokens, or both")
    return amounts


def days(text: str | None) -> int:
    """How many days are wanted, today included. Raises BadInput."""
    if text is None:
        return DEFAULT_DAYS
    if not re.fullmatch("[0-9]{1,4}", text) or not 1 <= int(text) <= MOST_DAYS:
        raise BadInput(f"days: expected 1 to {MOST_DAYS}")
    return int(text)


def _if_given(name: str, given: dict[str, Any], read: Callable[[Any], T]) -> T | None:
    value = given.get(name)
    return None if value is None else _read(name, value, read)


def _read(name: str, value: Any, read: Callable[[Any], T]) -> T:
    try:
        return read(value)
    except ValueError as error:
        raise BadInput(f"{name}: {error}") from None


def _name(value: Any) -> str:
    if not isinstance(value, str):
        raise ValueError("expected text")
    return checked_name(value)


def _money(value: Any) -> int:
    if not isinstance(value, str) or len(value) > 40:
        raise ValueError('expected an amount as text, such as "12.50"')
    return billionths(value)


def _tokens(value: Any) -> int:
    if not isinstance(value, int) or isinstance(value, bool):
        raise ValueError("expected a whole number")
    return checked_tokens(value)


def _rate(value: Any) -> float:
    if not isinstance(value, int | float) or isinstance(value, bool):
        raise ValueError("expected a number")
    return checked_rate(float(value))


def _models(value: Any) -> tuple[str, ...]:
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        raise ValueError("expected a list of texts")
    return checked_models(value)


def _moment(value: Any, now: float) -> float:
    try:
        moment = datetime.fromisoformat(value if isinstance(value, str) else "")
    except ValueError:
        moment = None
    if moment is None or moment.tzinfo is None:
        raise ValueError('expected a moment such as "2026-12-31T23:59:59Z"')
    if moment.timestamp() <= now:
        raise ValueError("expected a moment that is still to come")
    return moment.timestamp()
