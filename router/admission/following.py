"""Keeps a worker's bans as control has them: changes as they come, all when one was missed.

Every change has a number, one more than the one before it. A worker that does not have the number
which control's state tells asks for all bans; they come in pieces.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from monitor.feed import Message
from router.admission.bans import BanList
from router.plane import Plane

ASK_AGAIN = 5.0
"""Seconds after which an answer is given up for lost."""


class BanFollower:
    """What a worker has heard of bans."""

    def __init__(
        self,
        plane: Plane,
        ask: Callable[[], None],
        complete: Callable[[], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`ask` for all bans; `complete` is told whenever they have come."""
        self._plane = plane
        self._ask = ask
        self._complete = complete
        self._clock = clock
        self._control = ""
        self._have = self._asked = ("", 0)
        """Whose numbering, and the number."""
        self._asked_at = float("-inf")
        self._coming = BanList()

    def __repr__(self) -> str:
        return f"<BanFollower at {self._have[1]} of {self._have[0]}>"

    def state(self, control: str, number: int) -> None:
        """Control says how far it is."""
        self._control = control
        wanted, now = (control, number), self._clock()
        lately = self._asked == wanted and now - self._asked_at < ASK_AGAIN
        if wanted != self._have and not lately:
            self._asked, self._asked_at = wanted, now
            self._ask()

    def ban(self, message: Message) -> None:
        """More bans."""
        self._plane.ban(message["rows"])
        self._follow(message["version"])

    def unban(self, message: Message) -> None:
        """Fewer bans."""
        self._plane.bans.remove(message["networks"])
        self._follow(message["version"])

    def piece(self, message: Message) -> None:
        """A piece of the whole list, which counts when it is complete."""
        if "first" in message:
            self._coming = BanList()
        self._coming.extend(message["rows"])
        if "version" in message:
            self._have = (self._control, message["version"])
            self._plane.bans, self._coming = self._coming, BanList()
            self._plane.ban(())
            self._complete()

    def _follow(self, number: int) -> None:
        if self._have == (self._control, number - 1):
            self._have = (self._control, number)
