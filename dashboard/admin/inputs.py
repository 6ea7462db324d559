"""Input of operators, checked strictly: each fault is one sentence, in both languages."""

from __future__ import annotations

import ipaddress
import json
import re
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any, TypeVar

from dashboard.common.printable import printable, printable_lines
from dashboard.i18n.faults import Fault
from monitor.common.bans import client_network
from monitor.common.keys import (
    LONGEST_NAME,
    LONGEST_PATTERN,
    MOST_PATTERNS,
    MOST_TOKENS,
    KeyOrder,
    checked_models,
    checked_name,
    checked_rate,
    checked_tokens,
)
from monitor.common.languages import LANGUAGES, Text
from monitor.common.money import MOST, UNIT, billionths
from monitor.health.announcements import INCIDENT_STATUSES, MAINTENANCE_STATUSES
from monitor.health.incidents import IMPACTS
from monitor.health.snapshot import Override

LONGEST = 10 * 366 * 86400.0
LONGEST_REASON = 200
LARGEST_LIMIT = 10000
DEFAULT_LIMIT = 100
WIDEST = {4: 8, 6: 16}
"""The shortest prefix taken: wider is a slip of the hand that would shut out the world."""


class BadInput(Fault, ValueError):
    """A fault of an input."""


def table(body: bytes, known: tuple[str, ...]) -> dict[str, Any]:
    """The JSON object in `body`; only `known` names may be in it. Raises BadInput."""
    try:
        value = json.loads(body or b"{}")
    except (ValueError, RecursionError) as error:
        raise BadInput("json") from error
    if not isinstance(value, dict):
        raise BadInput("object")
    unknown = sorted(value.keys() - set(known))
    if unknown:
        name = printable(unknown[0])[:40]
        raise BadInput("unknown_field", name=name, known=", ".join(known))
    return value


def override(value: Any) -> Override:
    """Read an override of a mirror. Raises BadInput."""
    try:
        return Override(value)
    except ValueError as error:
        raise BadInput("choice", "wish", choices=", ".join(Override)) from error


def seconds(value: Any) -> float | None:
    """A time in seconds above zero, or None. Raises BadInput."""
    if value is None:
        return None
    fine = isinstance(value, int | float) and not isinstance(value, bool)
    if not fine or not 0 < value <= LONGEST:
        raise BadInput("seconds", "for")
    return float(value)


def network(value: Any) -> str:
    """An address or network, as bans name it. Raises BadInput."""
    if not isinstance(value, str) or not 0 < len(value) <= 64:
        raise BadInput("network", "network")
    try:
        parsed = ipaddress.ip_network(client_network(value.strip()))
    except ValueError as error:
        raise BadInput("network", "network") from error
    if parsed.prefixlen < WIDEST[parsed.version]:
        raise BadInput("too_wide", "network", prefix=WIDEST[parsed.version])
    return str(parsed)


def reason(value: Any) -> str:
    """The reason in the operator's words. Raises BadInput."""
    if value is None:
        return "operator"
    return printable(_bounded(value, "reason", LONGEST_REASON)).strip() or "operator"


def _bounded(value: Any, name: str, longest: int) -> str:
    """A text of so many characters at most. Raises BadInput."""
    if not isinstance(value, str):
        raise BadInput("text", name, longest=longest)
    if len(value) > longest:
        raise BadInput("too_long", name, longest=longest, length=len(value))
    return value


def request_id(text: str) -> str:
    """The id of a request, as `x-mirrorgate-request-id` tells it. Raises BadInput."""
    if not re.fullmatch(r"[A-Za-z0-9_-]{1,64}", text):
        raise BadInput("request_id", "request")
    return text


def limit(text: str | None) -> int:
    """Read a number of entries. Raises BadInput."""
    if text is None:
        return DEFAULT_LIMIT
    fine = text.isascii() and text.isdigit() and len(text) <= 6
    if not fine or not 1 <= int(text) <= LARGEST_LIMIT:
        raise BadInput("range", "limit", least=1, most=LARGEST_LIMIT)
    return int(text)


def entry(text: str | None) -> int | None:
    """The id of an entry of the audit log. Raises BadInput."""
    if text is None:
        return None
    if not re.fullmatch("[0-9]{1,18}", text):
        raise BadInput("entry", "before")
    return int(text)


LONGEST_TITLE = 120
LONGEST_MESSAGE = 2000
LONGEST_SINCE = 30 * 86400.0
"""Seconds that an incident may have begun before it is announced."""
LONGEST_MAINTENANCE = 30 * 86400.0
MOST_MIRRORS = 200


def words(value: Any, name: str, longest: int, *, required: bool = True) -> Text:
    """A text in Chinese, English or both, without what fools a reader. Raises BadInput."""
    given = {} if value is None else value
    if not isinstance(given, dict) or not given.keys() <= set(LANGUAGES):
        raise BadInput("languages", name, example='{"zh": "…", "en": "…"}')
    texts = {code: _bounded(text, name, longest) for code, text in given.items()}
    said = Text(*(printable_lines(texts.get(code, "")).strip() for code in LANGUAGES))
    if required and not any(said):
        raise BadInput("empty", name)
    return said


def opened(given: Mapping[str, Any], now: float) -> tuple[Text, str, tuple[str, ...], float, Text]:
    """The title, impact, mirrors, begin and first message of a new incident. Raises BadInput."""
    title = words(given.get("title"), "title", LONGEST_TITLE)
    if given.get("impact") not in IMPACTS:
        raise BadInput("choice", "impact", choices=", ".join(IMPACTS))
    mirrors = mirror_ids(given["mirrors"]) if given.get("mirrors") else ()
    began = now
    if given.get("started_at") is not None:
        began = _read_moment(given["started_at"], "started_at")
        if not now - LONGEST_SINCE <= began <= now:
            raise BadInput("not_since", "started_at")
    text = words(given.get("text"), "text", LONGEST_MESSAGE, required=False)
    return title, str(given["impact"]), mirrors, began, text


def impact(value: Any) -> str:
    """The impact of an incident; empty: as the monitor has it. Raises BadInput."""
    if value not in ("", None, *IMPACTS):
        raise BadInput("choice_or_nothing", "impact", choices=", ".join(IMPACTS))
    return value or ""


def update_status(value: Any, *, maintenance: bool) -> str:
    """The status of an update. Raises BadInput."""
    known = MAINTENANCE_STATUSES if maintenance else INCIDENT_STATUSES
    if value not in known:
        raise BadInput("choice", "status", choices=", ".join(known))
    return str(value)


def mirror_ids(value: Any) -> tuple[str, ...]:
    """Ids of mirrors, at least one. Raises BadInput."""
    fine = isinstance(value, list) and all(isinstance(each, str) for each in value)
    if not fine or not value:
        raise BadInput("no_mirror", "mirrors")
    if len(value) > MOST_MIRRORS:
        raise BadInput("many_mirrors", "mirrors", most=MOST_MIRRORS)
    return tuple(dict.fromkeys(value))


def stretch(starts_at: Any, lasts: Any, now: float) -> tuple[float, float]:
    """The begin and end of a maintenance; without a begin it starts now. Raises BadInput."""
    start = now if starts_at is None else _moment(starts_at, "starts_at", now)
    length = seconds(lasts)
    if length is None or length > LONGEST_MAINTENANCE:
        raise BadInput("long_maintenance", "for")
    if start > now + LONGEST:
        raise BadInput("ten_years", "starts_at")
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
        name=_name(given.get("name")),
        quota=_if_given("quota", given, _money),
        tokens=_if_given("tokens", given, _tokens),
        rate=_if_given("rate", given, _rate) or 0.0,
        models=_if_given("models", given, _models) or (),
        expires_at=_if_given("expires_at", given, lambda value: _moment(value, "expires_at", now)),
    )


def more(body: bytes) -> tuple[int | None, int | None]:
    """By how much a key shall be topped up: money in billionths, tokens. Raises BadInput."""
    return more_of(table(body, ("quota", "tokens")))


def more_of(given: Mapping[str, Any]) -> tuple[int | None, int | None]:
    """By how much a key shall be topped up. Raises BadInput."""
    amounts = _if_given("quota", given, _money), _if_given("tokens", given, _tokens)
    if amounts == (None, None):
        raise BadInput("nothing_to_grant")
    return amounts


def days(text: str | None) -> int:
    """Read a number of days, today included. Raises BadInput."""
    if text is None:
        return DEFAULT_DAYS
    if not re.fullmatch("[0-9]{1,4}", text) or not 1 <= int(text) <= MOST_DAYS:
        raise BadInput("range", "days", least=1, most=MOST_DAYS)
    return int(text)


def _if_given(name: str, given: Mapping[str, Any], read: Callable[[Any], T]) -> T | None:
    value = given.get(name)
    return None if value is None else read(value)


def _name(value: Any) -> str:
    try:
        return checked_name(value if isinstance(value, str) else "")
    except ValueError:
        raise BadInput("name", "name", longest=LONGEST_NAME) from None


def _money(value: Any) -> int:
    try:
        return billionths(value if isinstance(value, str) else "")
    except ValueError:
        raise BadInput("amount", "quota", most=MOST // UNIT) from None


def _tokens(value: Any) -> int:
    if not isinstance(value, int) or isinstance(value, bool):
        raise BadInput("whole", "tokens")
    try:
        return checked_tokens(value)
    except ValueError:
        raise BadInput("range", "tokens", least=1, most=MOST_TOKENS) from None


def _rate(value: Any) -> float:
    if not isinstance(value, int | float) or isinstance(value, bool):
        raise BadInput("number", "rate")
    try:
        return checked_rate(float(value))
    except (ValueError, OverflowError):
        raise BadInput("range", "rate", least=0.001, most=1_000_000) from None


def _models(value: Any) -> tuple[str, ...]:
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        raise BadInput("texts", "models")
    try:
        return checked_models(value)
    except ValueError:
        raise BadInput("models", "models", most=MOST_PATTERNS, longest=LONGEST_PATTERN) from None


def _moment(value: Any, name: str, now: float) -> float:
    moment = _read_moment(value, name)
    if moment <= now:
        raise BadInput("past", name)
    return moment


def _read_moment(value: Any, name: str) -> float:
    try:
        moment = datetime.fromisoformat(value if isinstance(value, str) else "")
    except ValueError:
        moment = None
    if moment is None or moment.tzinfo is None:
        raise BadInput("moment", name)
    return moment.timestamp()
