"""Trials of what was cut off, while nothing else is left: of a mirror, or of an address."""

from __future__ import annotations

FIRST, GROWTH, MOST = 10.0, 2.0, 600.0
"""Seconds from the first trial to the second, the factor for each later one, and the most seconds.
The first is no less than a trial may take; the most, of a mirror, is what the budget of suspected
names spreads its handshakes over."""
FAILURES = 3
"""In a row after which it does not work any more: a server may reset some of its hellos."""


class Trials:
    """Now and then one request tries to open a connection, with growing pauses as long as all of
    them fail; after one that came through all may, until `FAILURES` in a row fail. Pure."""

    __slots__ = ("_due", "_failures", "_most", "_seconds", "_works")

    def __init__(self, most: float = MOST) -> None:
        """`most`: seconds that the time from one to the next grows to."""
        self._most = most
        self._due = 0.0
        self._seconds = FIRST
        self._works = False
        self._failures = 0
        """In a row."""

    def __repr__(self) -> str:
        return f"<Trials {'work' if self._works else f'not before {self._due:.0f}'}>"

    def may(self, now: float) -> bool:
        """True if a connection may be opened now."""
        return self._works or now >= self._due

    def began(self, now: float) -> None:
        """One is opened: the next one has to wait, unless this one comes through."""
        if not self._works:
            self._due = now + self._seconds
            self._seconds = min(GROWTH * self._seconds, self._most)

    def succeeded(self) -> None:
        """It came about."""
        self._works, self._due, self._seconds, self._failures = True, 0.0, FIRST, 0

    def failed(self) -> None:
        """It did not."""
        self._failures += 1
        self._works = self._works and self._failures < FAILURES
