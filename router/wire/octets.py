"""Octets that are looked for in bytes, as numbers: `in` and `find` take those faster than bytes."""

from __future__ import annotations

from typing import Final

LF: Final = 0x0A
CR: Final = 0x0D
PERCENT: Final = 0x25
AMPERSAND: Final = 0x26
BACKSLASH: Final = 0x5C
