"""Where requests stand while every mirror that could serve them is full: in order, for a while.

Room is asked for every few milliseconds while somebody waits, since other workers make it too.
"""

from __future__ import annotations

import asyncio
from typing import Protocol

from router.admission.clients import Client
from router.choice.config import QueueConfig
from router.choice.waiting import WaitingLine
from router.gate import RECHECK
from router.wire.faults import contained, guarded, report_fault


class Waiter(Protocol):
    """A request that waits."""

    @property
    def asker(self) -> Client:
        """Whom it is for."""

    def go_on(self) -> bool:
        """Ask for room again; False if there is none yet."""

    def waited_too_long(self) -> None:
        """There was no room in time."""

    def abort(self) -> None:
        """End at once: one of the others has raised."""


class Line:
    """The line of one worker."""

    def __init__(self, queue: QueueConfig) -> None:
        self._waiting: WaitingLine[Waiter] = WaitingLine(queue.max_waiting, queue.max_wait)
        self._timer: asyncio.TimerHandle | None = None

    def __repr__(self) -> str:
        return f"<Line of {len(self)}>"

    def __len__(self) -> int:
        return len(self._waiting)

    def configure(self, queue: QueueConfig) -> None:
        """Take new settings; who waits already keeps the time that was promised."""
        self._waiting.max_waiting, self._waiting.max_wait = queue.max_waiting, queue.max_wait

    def join(self, who: Waiter) -> bool:
        """Stand at the end; False when the line is full and nobody has to give way."""
        loop, client = asyncio.get_running_loop(), who.asker.key
        if not self._waiting.join(who, loop.time(), client=client):
            other = self._waiting.make_room(client)
            if other is None:
                return False
            other.waited_too_long()
            self._waiting.join(who, loop.time(), client=client)
        if self._timer is None:
            self._timer = loop.call_later(RECHECK, self._look)
        return True

    def leave(self, who: Waiter) -> None:
        """Stand in line no more."""
        self._waiting.leave(who)

    def _look(self) -> None:
        loop = asyncio.get_running_loop()
        self._timer = None
        for who in self._waiting.expired(loop.time()):
            guarded("the queue", who.waited_too_long, who.abort)
        while self._waiting.next(_go_on) is not None:
            pass
        if self._waiting and self._timer is None:
            self._timer = loop.call_later(RECHECK, self._look)


def _go_on(who: Waiter) -> bool:
    try:
        return who.go_on()
    except Exception as error:  # it must not hold up those behind it
        report_fault("the queue", error)
        contained("the queue", who.abort)
        return True
