"""How many repeats are allowed beside the requests: what failing mirrors may cost at most.

After Finagle's `RetryBudget`: a share of the requests of the last 10 s, and a few at any time, so
that low traffic can be repeated too. When all mirrors fail, each gets 20 % more requests, not three
times as many.
"""

from __future__ import annotations

from router.choice.window import Window

SECONDS = 10.0
_TOGETHER = 0.05
"""Seconds of requests that are counted together; asked for what is left, all are."""
ALWAYS = 10
"""Repeats within 10 s that are allowed whatever the traffic."""


class RetryBudget:
    """One worker's budget."""

    __slots__ = ("_counted_at", "_fresh", "_requests", "_retries", "share")

    def __init__(self, share: float) -> None:
        self.share = share
        self._requests = Window(SECONDS)
        self._retries = Window(SECONDS)
        self._fresh = 0
        """Requests that are not in the window yet."""
        self._counted_at = float("-inf")

    def __repr__(self) -> str:
        return f"<RetryBudget {self.share:.0%}, {self._retries!r}>"

    def request(self, now: float) -> None:
        """A client's request has come."""
        self._fresh += 1
        if now - self._counted_at > _TOGETHER:
            self._count(now)

    def _count(self, now: float) -> None:
        self._requests.add(self._fresh, now)
        self._fresh, self._counted_at = 0, now

    def left(self, now: float) -> float:
        """How many repeats are allowed now."""
        self._count(now)
        allowed = max(ALWAYS, self.share * self._requests.sum(now))
        return allowed - self._retries.sum(now)

    def take(self, now: float) -> bool:
        """Use one repeat, if there is one."""
        if self.left(now) < 1.0:
            return False
        self._retries.add(1, now)
        return True
