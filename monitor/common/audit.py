"""Authors of changes: an operator, a rule or a signal, and its origin."""

from __future__ import annotations

import unicodedata
from typing import NamedTuple

LONGEST_NAME = 200
LONGEST_TEXT = 1000
_INVISIBLE = frozenset(("Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"))


class Actor(NamedTuple):
    """The author of a change, for the audit log."""

    who: str
    """A user's name, "operator", or what acted by itself: "automatic", "SIGHUP"."""
    origin: str = ""
    """From where: "the socket (pid 123)", a client's address, a file; empty: from within."""


AUTOMATIC = Actor("automatic")
"""A rule of mirrorgate's own."""


def cleaned(text: str, longest: int) -> str:
    """One line of at most so many characters, without what is invisible or fools a reader."""
    shown = "".join(c for c in text[: 4 * longest] if unicodedata.category(c) not in _INVISIBLE)
    return shown if len(shown) <= longest else f"{shown[: longest - 1]}…"
