"""Residual censorship: for a while after a hit, everything between two ends is disturbed.

Bock et al., "Your Censor is My Censor" (WOOT 2021), describe how long and between which ends: the
table here takes the client's address, the server's address and its port (the "3-tuple"). Pure.
"""

from tests.testkit.censor.rules import Action, Residual

Ends = tuple[str, str, int]
"""The client's address, the server's address, the server's port."""


class ResidualTable:
    """Connections to disturb, and until when; times are seconds of any one clock."""

    def __init__(self) -> None:
        self._until: dict[Ends, tuple[float, Residual]] = {}

    def arm(self, ends: Ends, residual: Residual, now: float) -> None:
        """A rule hit: the time begins, unless it is running already."""
        if self._running(ends, now) is None:
            self._until[ends] = (now + residual.seconds, residual)

    def meet(self, ends: Ends, now: float) -> Action | None:
        """A new connection: what befalls it, None if nothing does."""
        residual = self._running(ends, now)
        if residual is None:
            return None
        if residual.retriggers:
            self._until[ends] = (now + residual.seconds, residual)
        return residual.action

    def clear(self) -> None:
        """Forget everybody."""
        self._until.clear()

    def _running(self, ends: Ends, now: float) -> Residual | None:
        until, residual = self._until.get(ends, (0.0, None))
        return residual if now < until else None
