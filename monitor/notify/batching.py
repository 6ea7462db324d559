"""Batching of one receiver's notices: grouped in time, and quiet about what flaps. Pure."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

from monitor.notify.notice import Notice

MOST_TOPICS = 1000
"""Conditions that wait; of more, the new ones are dropped and counted."""
AT_ONCE = 2
"""Messages about one condition within the quiet time: its begin, and its end."""


May = Callable[[Notice], bool]
"""Tells whether a notice may leave, or stay."""


def _any(_: Notice) -> bool:
    return True


class Due(NamedTuple):
    """The newest notice of a condition, and how many changes it stands for."""

    notice: Notice
    changes: int


@dataclass(slots=True)
class _Waiting:
    since: float
    newest: Notice
    changes: int = 1


class Batching:
    """Notices that wait for their message. Times are seconds of any one clock."""

    def __init__(self, group: float, quiet: float) -> None:
        """`group`: seconds that the first change waits for others; `quiet`: seconds in which a
        condition is spoken of `AT_ONCE` times at most."""
        self.group, self.quiet = group, quiet
        self.dropped = 0
        self._waiting: dict[tuple[str, str], _Waiting] = {}
        self._sent: dict[tuple[str, str], deque[float]] = {}

    def __len__(self) -> int:
        return len(self._waiting)

    def __contains__(self, topic: tuple[str, str]) -> bool:
        return topic in self._waiting

    def add(self, notice: Notice, now: float) -> None:
        """Take a notice; it replaces one of the same condition that has not been sent."""
        waiting = self._waiting.get(notice.topic)
        if waiting is not None:
            waiting.newest, waiting.changes = notice, waiting.changes + 1
        elif len(self._waiting) < MOST_TOPICS:
            self._waiting[notice.topic] = _Waiting(now, notice)
        else:
            self.dropped += 1

    def due_at(self, may: May = _any) -> float | None:
        """The moment of the next message; None while nothing waits that `may` leave."""
        return min(self._ready_times(may), default=None)

    def take(self, now: float, may: May = _any) -> list[Due]:
        """All that may be said now, if anything is due; in the order in which it began."""
        due_at = self.due_at(may)
        if due_at is None or due_at > now:
            return []
        loud = [
            topic
            for topic, waiting in self._waiting.items()
            if may(waiting.newest) and self._quiet_until(topic) <= now
        ]
        found = [self._waiting.pop(topic) for topic in loud]
        for topic in loud:
            self._sent.setdefault(topic, deque(maxlen=AT_ONCE)).append(now)
        for topic in [t for t, times in self._sent.items() if times[-1] + self.quiet < now]:
            del self._sent[topic]
        return [Due(each.newest, each.changes) for each in found]

    def put_back(self, due: Due, now: float) -> None:
        """Let it wait again: it was taken, but has not been told."""
        topic = due.notice.topic
        if self._sent.get(topic):
            self._sent[topic].pop()
            if not self._sent[topic]:
                del self._sent[topic]
        waiting = self._waiting.get(topic)
        if waiting is None:
            self._waiting[topic] = _Waiting(now, due.notice, due.changes)
        else:
            waiting.changes += due.changes

    def keep(self, which: May) -> None:
        """Forget all that waits but these."""
        self._waiting = {t: each for t, each in self._waiting.items() if which(each.newest)}

    def _ready_times(self, may: May) -> Iterator[float]:
        for topic, waiting in self._waiting.items():
            if may(waiting.newest):
                yield max(waiting.since + self.group, self._quiet_until(topic))

    def _quiet_until(self, topic: tuple[str, str]) -> float:
        sent = self._sent.get(topic)
        return sent[0] + self.quiet if sent and len(sent) == AT_ONCE else float("-inf")
