"""Text of others without what cannot be seen and could fool a reader or a terminal."""

from __future__ import annotations

import unicodedata

_INVISIBLE = frozenset(("Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"))


def printable(text: str) -> str:
    """`text` without control, format and line-breaking characters, which could fool a reader."""
    if text.isprintable():  # as nearly all are; it takes a hundredth of the time
        return text
    return "".join(c for c in text if unicodedata.category(c) not in _INVISIBLE)


def printable_lines(text: str) -> str:
    """As `printable`, but lines stay lines."""
    if text.isprintable():
        return text
    return "\n".join(map(printable, text.split("\n")))
