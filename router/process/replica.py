"""Keeps a list of a worker as control has it: changes as they come, all when one was missed.

Every change has a number, one more than the one before it. A worker that does not have the number
which control tells asks for the whole list; it comes in numbered pieces and counts when all pieces
of one list have come. So whatever is lost on the way, the worker asks again until it has the list.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any, Protocol

from monitor.common.ipc import Message
from router.admission.ban_list import pieces

ASK_AGAIN = 5.0
"""Seconds after which an answer is given up for lost."""


def whole(kind: str, rows: Sequence[Any], version: int, size: int = 2000) -> list[Message]:
    """A whole list, in pieces that a worker takes without keeping its clients waiting."""
    some = list(pieces(rows, size)) or [[]]
    numbers = {"type": kind, "of": len(some), "version": version}
    return [{**numbers, "piece": number, "rows": part} for number, part in enumerate(some)]


class ReplicatedList(Protocol):
    """A list that is kept."""

    def add(self, message: Message) -> None:
        """Items that are new, or in place of former ones."""

    def remove(self, message: Message) -> None:
        """Items that are no more."""

    def begin(self) -> None:
        """A whole list is coming; what has come of an earlier one is void."""

    def collect(self, message: Message) -> None:
        """A piece of the whole list."""

    def finish(self) -> None:
        """All pieces are here: they take the place of what was known."""


class Replica:
    """The copy of one list in a worker."""

    def __init__(
        self,
        followed: ReplicatedList,
        ask: Callable[[], None],
        complete: Callable[[], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`ask` for the whole list; `complete` is called whenever it has come."""
        self._followed = followed
        self._ask = ask
        self._complete = complete
        self._clock = clock
        self._control = ""
        self._have = self._wanted = self._asked = ("", 0)
        """Name of the numbering, and the number."""
        self._asked_at = float("-inf")
        self._awaited = (0, 0)
        """The next piece of the list that is coming, and the number of that list."""

    def __repr__(self) -> str:
        return f"<Replica of {self._followed} at {self._have[1]} of {self._have[0]}>"

    def state(self, control: str, number: int) -> None:
        """Control says how far it is."""
        self._control = control
        self._wanted = (control, number)
        if self._wanted != self._asked:
            self._asked_at = float("-inf")
        self.look()

    def look(self) -> None:
        """Ask for what is missing, unless the answer to that may still come."""
        if self._wanted == self._have or self._clock() - self._asked_at < ASK_AGAIN:
            return
        self._asked, self._asked_at = self._wanted, self._clock()
        self._ask()

    def add(self, message: Message) -> None:
        """More items."""
        self._followed.add(message)
        self._follow(message["version"])

    def remove(self, message: Message) -> None:
        """Fewer items."""
        self._followed.remove(message)
        self._follow(message["version"])

    def piece(self, message: Message) -> None:
        """A piece of the whole list."""
        number, version = message["piece"], message["version"]
        if number == 0:
            self._followed.begin()
        elif self._awaited != (number, version):
            return  # one was lost: without it the rest is nothing
        self._awaited = (number + 1, version)
        self._followed.collect(message)
        if number + 1 == message["of"]:
            self._awaited = (0, 0)
            self._followed.finish()
            self._have = self._wanted = (self._control, version)
            self._asked_at = float("-inf")
            self._complete()

    def _follow(self, number: int) -> None:
        if not self._control:
            return  # for the process that was here before
        if self._have == (self._control, number - 1):
            self._have = (self._control, number)
        self._wanted = (self._control, number)
        self.look()
