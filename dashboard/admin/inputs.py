"""Input of operators, checked strictly: each fault is one sentence."""

from __future__ import annotations

import ipaddress
import json
import re
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any, TypeVar

from dashboard.common.printable import printable, printable_lines
from monitor.common.bans import client_network
from monitor.common.keys import KeyOrder, checked_models, checked_name, checked_rate, checked_tokens
from monitor.common.languages import LANGUAGES, Text
from monitor.common.money import billionths
from monitor.health.announcements import INCIDENT_STATUSES, MAINTENANCE_STATUSES
from monitor.health.incidents import IMPACTS
from monitor.health.snapshot import Override

LONGEST = 10 * 366 * 86400.0
LONGEST_REASON = 200
LARGEST_LIMIT = 10000
DEFAULT_LIMIT = 100
WIDEST = {4: 8, 6: 16}
"""The shortest prefix taken: wider is a slip of the hand that would shut out the world."""


class BadInput(ValueError):
    """One sentence on what is wrong."""


def table(body: bytes, known: tuple[str, ...]) -> dict[str, Any]:
    """The JSON object in `body`; only `known` names may be in it. Raises BadInput."""
    try:
        value = json.loads(body or b"{}")
    except (ValueError, RecursionError) as error:
        raise BadInput("the body is not JSON") from error
    if not isinstance(value, dict):
        raise BadInput("expected a JSON object")
    unknown = sorted(value.keys() - set(known))
    if unknown:
        raise BadInput(f"{printable(unknown[0])[:40]}: unknown, expected {', '.join(known)}")
    return value


def wish(value: Any) -> Override:
    """Read an override of a mirror. Raises BadInput."""
    try:
        return Override(value)
    except ValueError as error:
        raise BadInput(f"wish: expected one of {', '.join(Override)}") from error


def seconds(value: Any) -> float | None:
    """A time in seconds above zero, or None. Raises BadInput."""
    if value is None:
        return None
    fine = isinstance(value, int | float) and not isinstance(value, bool)
    if not fine or not 0 < value <= LONGEST:
        raise BadInput("for: expected seconds above 0 and at most ten years, or null")
    return float(value)


def network(value: Any) -> str:
    """An address or network, as bans name it. Raises BadInput."""
    if not isinstance(value, str) or not 0 < len(value) <= 64:
        raise BadInput('network: expected an address or a network such as "192.0.2.0/24"')
    try:
        parsed = ipaddress.ip_network(client_network(value.strip()))
    except ValueError as error:
        raise BadInput(
            'network: expected an address or a network such as "192.0.2.0/24"'
        ) from error
    if parsed.prefixlen < WIDEST[parsed.version]:
        raise BadInput(f"network: wider than /{WIDEST[parsed.version]} is not taken")
    return str(parsed)


def reason(value: Any) -> str:
    """The reason in the operator's words. Raises BadInput."""
    if value is None:
        return "operator"
    if not isinstance(value, str) or len(value) > LONGEST_REASON:
        raise BadInput(f"reason: expected text of at most {LONGEST_REASON} characters")
    return printable(value).strip() or "operator"


def request_id(text: str) -> str:
    """The id of a request, as `x-mirrorgate-request-id` tells it. Raises BadInput."""
    if not re.fullmatch(r"[A-Za-z0-9_-]{1,64}", text):
        raise BadInput("request: expected the x-mirrorgate-request-id of an answer")
    return text


def limit(text: str | None) -> int:
    """Read a number of entries. Raises BadInput."""
    if text is None:
        return DEFAULT_LIMIT
    fine = text.isascii() and text.isdigit() and len(text) <= 6
    if not fine or not 1 <= int(text) <= LARGEST_LIMIT:
        raise BadInput(f"limit: expected 1 to {LARGEST_LIMIT}")
    return int(text)


def entry(text: str | None) -> int | None:
    """The id of an entry of the audit log. Raises BadInput."""
    if text is None:
        return None
    if not re.fullmatch("[0-9]{1,18}", text):
        raise BadInput("before: expected the id of an entry")
    return int(text)


LONGEST_TITLE = 120
LONGEST_MESSAGE = 2000
LONGEST_MAINTENANCE = 30 * 86400.0
MOST_MIRRORS = 200


def words(value: Any, name: str, longest: int, *, required: bool = True) -> Text:
    """A text in Chinese, English or both, without what fools a reader. Raises BadInput."""
    given = {} if value is None else value
    if not isinstance(given, dict) or not given.keys() <= set(LANGUAGES):
        raise BadInput(f'{name}: expected {{"zh": "…", "en": "…"}}, or one of the two')
    if not all(isinstance(text, str) and len(text) <= longest for text in given.values()):
        raise BadInput(f"{name}: expected text of at most {longest} characters")
    said = Text(*(printable_lines(given.get(code, "")).strip() for code in LANGUAGES))
    if required and not any(said):
        raise BadInput(f"{name}: write it in Chinese, in English or in both")
    return said


def impact(value: Any) -> str:
    """The impact of an incident; empty: as the monitor has it. Raises BadInput."""
    if value not in ("", None, *IMPACTS):
        raise BadInput(f"impact: expected one of {', '.join(IMPACTS)}, or nothing")
    return value or ""


def update_status(value: Any, *, maintenance: bool) -> str:
    """The status of an update. Raises BadInput."""
    known = MAINTENANCE_STATUSES if maintenance else INCIDENT_STATUSES
    if value not in known:
        raise BadInput(f"status: expected one of {', '.join(known)}")
    return str(value)


def mirror_ids(value: Any) -> tuple[str, ...]:
    """Ids of mirrors, at least one. Raises BadInput."""
    fine = isinstance(value, list) and 0 < len(value) <= MOST_MIRRORS
    if not fine or not all(isinstance(each, str) for each in value):
        raise BadInput("mirrors: choose at least one")
    return tuple(dict.fromkeys(value))


def stretch(starts_at: Any, lasts: Any, now: float) -> tuple[float, float]:
    """The begin and end of a maintenance; without a begin it starts now. Raises BadInput."""
    start = now if starts_at is None else _read("starts_at", starts_at, lambda v: _moment(v, now))
    length = seconds(lasts)
    if length is None or length > LONGEST_MAINTENANCE:
        raise BadInput("for: expected seconds above 0 and at most 30 days")
    if start > now + LONGEST:
        raise BadInput("starts_at: expected a moment within ten years")
    return start, start + length


MOST_DAYS = 3660
DEFAULT_DAYS = 30
_ORDER = ("name", "quota", "tokens", "rate", "models", "expires_at")

T = TypeVar("T")


def order(body: bytes, now: float) -> KeyOrder:
    """Read the permissions of a new key. Raises BadInput."""
    return order_of(table(body, _ORDER), now)


def order_of(given: Mapping[str, Any], now: float) -> KeyOrder:
    """The permissions of a new key. Raises BadInput."""
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
    return more_of(table(body, ("quota", "tokens")))


def more_of(given: Mapping[str, Any]) -> tuple[int | None, int | None]:
    """By how much a key shall be topped up. Raises BadInput."""
    amounts = _if_given("quota", given, _money), _if_given("tokens", given, _tokens)
    if amounts == (None, None):
        raise BadInput("expected quota, tokens, or both")
    return amounts


def days(text: str | None) -> int:
    """Read a number of days, today included. Raises BadInput."""
    if text is None:
        return DEFAULT_DAYS
    if not re.fullmatch("[0-9]{1,4}", text) or not 1 <= int(text) <= MOST_DAYS:
        raise BadInput(f"days: expected 1 to {MOST_DAYS}")
    return int(text)


def _if_given(name: str, given: Mapping[str, Any], read: Callable[[Any], T]) -> T | None:
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
