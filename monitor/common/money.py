"""Money: whole billionths of the unit that prices are in, so that sums are exact."""

from __future__ import annotations

import re
from decimal import Decimal

UNIT = 10**9
"""Billionths in one unit."""
MOST = 9 * 10**18
"""What the store can hold (2⁶³ - 1), rounded down."""
_AMOUNT = re.compile(r"[0-9]{1,12}(\.[0-9]{1,9})?", re.ASCII)


def billionths(text: str) -> int:
    """An amount above zero, as it is written: "12.50". Raises ValueError."""
    if not _AMOUNT.fullmatch(text):
        raise ValueError(f'expected an amount such as 12.50 (nine decimals at most), got "{text}"')
    value = int(Decimal(text) * UNIT)
    if not 0 < value <= MOST:
        raise ValueError(f'expected more than 0 and at most {MOST // UNIT}, got "{text}"')
    return value


def written(amount: int) -> str:
    """An amount with at least two decimals: "12.50", "0.000002", "-3.00"."""
    whole, rest = divmod(abs(amount), UNIT)
    decimals = f"{rest:09d}".rstrip("0").ljust(2, "0")
    return f"{'-' if amount < 0 else ''}{whole}.{decimals}"
