"""A wheel whose time a test moves on: `Road(mirrors, wheel=clock.wheel)`."""

from __future__ import annotations

import time

from router.wire.timer_wheel import TimerWheel


class Clock:
    """The wheel's clock."""

    def __init__(self) -> None:
        self._ahead = 0.0
        self.wheel = TimerWheel(self.now)

    def now(self) -> float:
        """The time, for whatever else should have the same: `Road(…, clock=clock.now)`."""
        return time.monotonic() + self._ahead

    def pass_by(self, seconds: float) -> None:
        """Let this time pass: every deadline in it is noticed."""
        self._ahead += seconds
        for _ in range(10):
            self.wheel.tick()
