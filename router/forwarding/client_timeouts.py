"""Client-side timeouts: a head, a body, a next request, or none."""

from __future__ import annotations

from collections.abc import Callable

from router.forwarding.context import WorkerContext
from router.wire.request import BETWEEN, HEAD, Phase
from router.wire.timer_wheel import NEVER

BODY_FLOOR = 1024
"""Bytes a second that a body must bring on average, or it is as good as stalled."""


def _nobody() -> None:
    """Stands for the owner once it is gone, so that the two are no cycle."""


class ClientTimeouts:
    """The deadline of one client connection, on the plane's wheel until `settled`."""

    __slots__ = ("_body_seen", "_context", "_watched", "abort", "deadline", "expired")

    def __init__(
        self, context: WorkerContext, expired: Callable[[], None], abort: Callable[[], None]
    ) -> None:
        self.deadline = NEVER
        self.expired = expired
        self.abort = abort
        self._context = context
        self._watched: Phase | None = None
        self._body_seen = 0
        context.wheel.add(self)

    def wait(self, seconds: float) -> None:
        """Something must happen within this time."""
        self.deadline = self._context.wheel.now + seconds

    def hurry(self, seconds: float) -> None:
        """It must happen within this time, if not sooner."""
        self.deadline = min(self.deadline, self._context.wheel.now + seconds)

    def nothing(self) -> None:
        """The client owes nothing; what it begins anew is watched from its beginning."""
        self._watched, self.deadline = None, NEVER

    def watch(self, phase: Phase, busy: bool) -> None:
        """The reader is here now. A head and a body have a deadline from their beginning on, so
        that dripping bytes do not move it. `busy`: a request is under way, and it is ours to act.
        """
        timeouts = self._context.timeouts
        before, self._watched = self._watched, phase
        if phase is BETWEEN:
            self.deadline = NEVER if busy else self._context.wheel.now + timeouts.keep_alive
        elif phase is not before:
            self._body_seen = 0
            self.wait(timeouts.header if phase is HEAD else timeouts.body_stall)

    def brought(self, size: int) -> None:
        """So many bytes of a body came."""
        self._body_seen += size

    def body_moves(self) -> bool:
        """At the deadline of a body: whether enough of it came to wait as long again."""
        stall = self._context.timeouts.body_stall
        moves = self._body_seen >= BODY_FLOOR * stall
        if moves:
            self._body_seen = 0
            self.wait(stall)
        return moves

    def settled(self) -> None:
        """The connection is gone, or somebody else's."""
        self._context.wheel.remove(self)
        self.expired = self.abort = _nobody
