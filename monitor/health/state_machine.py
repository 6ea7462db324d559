"""State of a mirror from repeated results, and of our own network."""

from __future__ import annotations

from collections.abc import Collection

from monitor.health.snapshot import State


class HealthMachine:
    """Up, down or unknown; counts consecutive contrary results."""

    def __init__(self, rise: int, fall: int, now: float) -> None:
        self._rise = rise
        self._fall = fall
        self.state = State.unknown
        self.since = now
        self._contrary = 0
        self._first_contrary = now

    def __repr__(self) -> str:
        return f"<HealthMachine {self.state} [{self._contrary} contrary]>"

    def configure(self, rise: int, fall: int) -> None:
        """Take other numbers of results; what was counted stays."""
        self._rise, self._fall = rise, fall

    @property
    def in_transition(self) -> bool:
        """True if the last result spoke against the state, so that the next should come soon."""
        return self._contrary > 0

    def observe(self, ok: bool, now: float) -> bool:
        """Take one result; True if the state has flipped."""
        if self.state is (State.up if ok else State.down):
            self._contrary = 0
            return False
        if self.state is State.unknown and ok:
            return self._flip(State.up, now)
        if self._contrary == 0:
            self._first_contrary = now
        self._contrary += 1
        if self._contrary < (self._rise if ok else self._fall):
            return False
        return self._flip(State.up if ok else State.down, self._first_contrary)

    def blind(self, now: float) -> bool:
        """Nothing can be said at present; True if the state has flipped to unknown."""
        self._contrary = 0
        return self.state is not State.unknown and self._flip(State.unknown, now)

    def continue_since(self, since: float) -> None:
        """The state held before we stopped looking for a moment: it began at `since`."""
        self.since = min(since, self.since)

    def _flip(self, state: State, since: float) -> bool:
        self.state, self.since, self._contrary = state, since, 0
        return True


def we_are_blind(could_be_ours: Collection[bool]) -> bool:
    """True if the last results of all mirrors (True: may be our own network's fault) say so."""
    return len(could_be_ours) >= 2 and all(could_be_ours)
