"""Use of issued keys that a worker owes control, summed up, in numbered batches.

One batch is under way at a time. It is sent again, as it is, until control has written it; control
writes no number of a process twice. So a use is counted once, whatever is lost or repeated, unless
this process dies before it was told.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from monitor.common.ipc import Message
from monitor.common.keys import NOTHING, Spent
from router.metering.usage import Basis, Usage

AGAIN_AFTER = 5.0
"""Seconds after which a batch that control does not acknowledge is sent again."""
MOST_IN_BATCH = 2000
MOST_WAITING: Final = 20_000
"""Rows beyond which models are no longer counted one by one: their names are callers' own words."""
OTHER: Final = "other"
_Key = tuple[str, str, str, str]


class UsageBatches:
    """Sums of one worker."""

    def __init__(self) -> None:
        self._waiting: dict[_Key, list[int]] = {}
        self._batch: list[list[Any]] = []
        self._seq = 0
        self._send_at = float("-inf")
        self._spent: dict[str, Spent] = {}
        self.settled: Callable[[str], None] = lambda key: None
        """Called when control has written what a key has used."""

    def __repr__(self) -> str:
        return f"<UsageBatches: {len(self._waiting)} wait, {len(self._batch)} in batch {self._seq}>"

    def __bool__(self) -> bool:
        """True if control has not written something yet."""
        return bool(self._waiting or self._batch)

    @property
    def requests(self) -> int:
        """Number of responses in it."""
        waiting = sum(sums[0] for sums in self._waiting.values())
        return waiting + sum(int(row[4]) for row in self._batch)

    def add(self, key: str, day: str, model: str, basis: Basis, usage: Usage, cost: int) -> None:
        """One answer for a key; `cost` in nano-units."""
        named = (key, day, model, basis.value)
        sums = self._waiting.get(named)
        if sums is None:
            if len(self._waiting) >= MOST_WAITING:
                named = (key, day, OTHER, basis.value)
            sums = self._waiting.setdefault(named, [0] * 8)
        sums[0] += 1
        at = 1
        for amount in usage:
            sums[at] += amount
            at += 1
        sums[at] += cost
        before = self.spent(key)  # `and_also` takes 3500 instructions more, 0.6 % of such a request
        self._spent[key] = Spent(before.cost + cost, before.tokens + usage.tokens)

    def spent(self, key: str) -> Spent:
        """Return a key's use here that control has not counted yet."""
        return self._spent.get(key, NOTHING)

    def due(self, now: float) -> Message | None:
        """Return the next message for control, without the process; None: nothing."""
        if not self._batch:
            if not self._waiting:
                return None
            self._seal()
        elif now < self._send_at:
            return None
        self._send_at = now + AGAIN_AFTER
        return {"type": "use", "seq": self._seq, "rows": self._batch}

    def acknowledged(self, seq: int) -> None:
        """Control has written a batch, and said before what is left of its keys."""
        if seq != self._seq:
            return
        for row in self._batch:
            self._settle(row[0], row[-1], row[5] + row[7])
            self.settled(row[0])
        self._batch = []

    def to_new_control(self) -> None:
        """Send again what may have been lost with a former control process."""
        self._send_at = float("-inf")

    def _seal(self) -> None:
        some = list(self._waiting)[:MOST_IN_BATCH]
        self._batch = [[*named, *self._waiting.pop(named)] for named in some]
        self._seq += 1

    def _settle(self, key: str, cost: int, tokens: int) -> None:
        rest = self.spent(key).and_also(Spent(-cost, -tokens))
        if rest != NOTHING:
            self._spent[key] = rest
        else:  # also when a row follows that cost nothing
            self._spent.pop(key, None)
