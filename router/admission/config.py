"""The settings of limits, bans and keys."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

from monitor import checks
from monitor.settings import Duration, setting


@dataclass(frozen=True, slots=True)
class BanConfig:
    """When refusals become a ban."""

    violations: int = setting(
        30,
        "this many seconds with refusals (at most one counts per second) …",
        check=checks.between(1, 3600),
    )
    within: Duration = setting(300.0, "… in this time …", check=checks.positive, shown='"5m"')
    for_: Duration = setting(
        3600.0,
        "… and the address is banned, doubling each time up to max",
        check=checks.positive,
        shown='"1h"',
    )
    max: Duration = setting(
        2592000.0, "longest automatic ban", check=checks.positive, shown='"30d"'
    )
    retention: Duration = setting(
        7776000.0, "how long past bans are remembered after their end", shown='"90d"'
    )


@dataclass(frozen=True, slots=True)
class LimitsConfig:
    """Limits per client IP (IPv6: per /64)."""

    connections: int = setting(
        10, "requests and streams open at once; 0: no limit", check=checks.between(0, 65535)
    )
    requests_per_second: float = setting(20.0, "sustained; 0: no limit", check=checks.at_least(0))
    burst: int = setting(40, "at once above that", check=checks.between(0, 1000000))
    by: Literal["ip", "key"] = setting(
        "ip", '"key": callers with an issued key are counted by key', later=True
    )
    allow: tuple[str, ...] = setting(
        (), "CIDRs never limited or banned automatically", check=checks.each(checks.network)
    )
    ban: BanConfig = setting(BanConfig)


def _prefix(text: str) -> str | None:
    fine = re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_-]{0,15}", text)
    return None if fine else f'expected 1 to 16 letters, digits, "_" or "-", got "{text}"'


@dataclass(frozen=True, slots=True)
class KeysConfig:
    """Keys that the router issues."""

    prefix: str = setting(
        "mg-",
        "plus 48 letters and digits, the last 6 of them a checksum",
        check=_prefix,
    )


@dataclass(frozen=True, slots=True)
class PriceConfig:
    """What a model costs, for issued keys."""

    from_: str = setting("", "first day it holds, as 2026-11-21", later=True)
    input: float = setting(0.0, "per million tokens", check=checks.at_least(0), later=True)
    output: float = setting(0.0, "per million tokens", check=checks.at_least(0), later=True)
    note: str = setting("", "where the price is from", later=True)
