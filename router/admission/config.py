"""The settings of limits, bans and keys."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from typing import Literal

from monitor.common import validators
from monitor.common.settings import Duration, setting


@dataclass(frozen=True, slots=True)
class BanConfig:
    """When refusals become a ban."""

    violations: int = setting(
        30,
        "this many seconds with refusals (at most one counts per second) …",
        check=validators.between(1, 3600),
    )
    within: Duration = setting(300.0, "… in this time …", check=validators.positive, shown='"5m"')
    for_: Duration = setting(
        3600.0,
        "… and the address is banned, doubling each time up to max",
        check=validators.positive,
        shown='"1h"',
    )
    max: Duration = setting(
        2592000.0, "longest automatic ban", check=validators.positive, shown='"30d"'
    )
    retention: Duration = setting(
        7776000.0, "how long past bans are remembered after their end", shown='"90d"'
    )


@dataclass(frozen=True, slots=True)
class LimitsConfig:
    """Limits per client IP (IPv6: per /64)."""

    connections: int = setting(
        10, "requests and streams open at once; 0: no limit", check=validators.between(0, 65535)
    )
    requests_per_second: float = setting(
        20.0, "sustained; 0: no limit", check=validators.at_least(0)
    )
    burst: int = setting(40, "at once above that", check=validators.between(0, 1000000))
    by: Literal["ip", "key"] = setting(
        "ip", '"key": callers with an issued key are counted by key, wherever they are'
    )
    allow: tuple[str, ...] = setting(
        (), "CIDRs never limited or banned automatically", check=validators.each(validators.network)
    )
    ban: BanConfig = setting(BanConfig)


def _prefix(text: str) -> str | None:
    fine = re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_-]{0,15}", text)
    return None if fine else f'expected 1 to 16 letters, digits, "_" or "-", got "{text}"'


def _endpoint(text: str) -> str | None:
    fine = text == "*" or re.fullmatch("[a-z_]+", text)
    return None if fine else f'expected what follows /v1/ in a path, or "*", got "{text}"'


LENT = (
    "chat",
    "completions",
    "responses",
    "embeddings",
    "moderations",
    "images",
    "audio",
    "models",
    "messages",
    "realtime",
)
"""Where callers who share a mirror's key do not see what others have stored there."""


@dataclass(frozen=True, slots=True)
class KeysConfig:
    """Keys that the router issues."""

    prefix: str = setting(
        "mg-",
        "plus 48 letters and digits, the last 6 of them a checksum",
        check=_prefix,
    )
    endpoints: tuple[str, ...] = setting(
        LENT,
        'what may be asked with a mirror\'s key, by issued and anonymous callers; ["*"]: all',
        check=validators.each(_endpoint),
    )


def _day(text: str) -> str | None:
    try:
        fine = not text or date.fromisoformat(text).isoformat() == text
    except ValueError:
        fine = False
    return None if fine else f'expected a day such as 2026-11-21, got "{text}"'


def _price(value: float) -> str | None:
    whole = Decimal(repr(value)).scaleb(9) % 1 == 0
    fine = 0 <= value <= 100_000 and whole
    return None if fine else f"expected 0 to 100000 with at most 9 decimals, got {value:g}"


def _price_or_none(value: float) -> str | None:
    return None if value == -1 else _price(value)


@dataclass(frozen=True, slots=True)
class PriceConfig:
    """Price of a model, for issued keys. "gpt-4*" is all that begin so; [[prices."…"]]: more."""

    from_: str = setting("", "first day it holds (UTC), as 2026-11-21; empty: ever", check=_day)
    input: float = setting(0.0, "per million input tokens", check=_price)
    cached_input: float = setting(
        -1.0, "per million of them that the mirror had cached; -1: as input", check=_price_or_none
    )
    output: float = setting(0.0, "per million output tokens", check=_price)
    image: float = setting(0.0, "per image", check=_price)
    audio_minute: float = setting(0.0, "per minute of audio that is written down", check=_price)
    characters: float = setting(0.0, "per million characters that are spoken", check=_price)
    note: str = setting("", "where the price is from")


def dated(prices: Mapping[str, tuple[PriceConfig, ...]]) -> str | None:
    """No model has two prices from the same day on."""
    for model, some in prices.items():
        if len({price.from_ for price in some}) < len(some):
            return f'expected prices of different days for "{model}"'
    return None
