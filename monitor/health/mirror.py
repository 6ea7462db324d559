"""Is a mirror up? A small machine that believes only what is repeated.

    unknown --1 good--> up          unknown --`fall` bad--> down
    up --`fall` bad in a row--> down          down --`rise` good in a row--> up
    any --blind--> unknown

A result that agrees with the state forgets the contrary ones before it. When a run of contrary
results is long enough, the new state is said to have begun with the first of them.
"""

from __future__ import annotations

from monitor.health.board import State


class HealthMachine:
    """Up, down or unknown; counts consecutive contrary results."""

    def __init__(self, rise: int, fall: int, now: float) -> None:
        self.rise = rise
        self.fall = fall
        self.state = State.unknown
        self.since = now
        self._contrary = 0
        self._first_contrary = now

    def __repr__(self) -> str:
        return f"<HealthMachine {self.state} [{self._contrary} contrary]>"

    @property
    def in_transition(self) -> bool:
        """Whether the last result spoke against the state, so that the next should come soon."""
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
        if self._contrary < (self.rise if ok else self.fall):
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
