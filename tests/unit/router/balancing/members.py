"""Mirrors as choosing sees them, for tests and the simulation: no socket, no clock of their own."""

from __future__ import annotations

from router.balancing.breaker import Breaker
from router.balancing.ejection import FailureWatch
from router.balancing.load import Load
from router.forwarding.config import RouterConfig


class PlainMember:
    """A mirror with nothing but what choosing needs."""

    def __init__(
        self,
        name: str,
        config: RouterConfig | None = None,
        *,
        weight: float = 1.0,
        priority: int = 0,
        now: float = 0.0,
    ) -> None:
        config = config or RouterConfig()
        self.id = name
        self.priority = priority
        self.available = True
        self.load = Load(weight, config.balance, now)
        self.breaker = Breaker(name)
        self.watch = FailureWatch(config.ejection)

    def __repr__(self) -> str:
        return f"<PlainMember {self.id} {self.load!r} {self.breaker!r}>"


def anybody(member: PlainMember) -> bool:
    """Accept every mirror."""
    return True
