"""What operators send, checked strictly: each fault is one sentence."""

from __future__ import annotations

import ipaddress
import json
import re
from typing import Any

from dashboard.public.privacy import printable
from monitor.bans import client_network
from monitor.health.board import Wish

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


def wish(value: Any) -> Wish:
    """What is wanted of a mirror. Raises BadInput."""
    try:
        return Wish(value)
    except ValueError as error:
        raise BadInput(f"wish: expected one of {', '.join(Wish)}") from error


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
    """Why, in the operator's words. Raises BadInput."""
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
    """How many are wanted. Raises BadInput."""
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
