"""Capacity for one more connection to a mirror that allows only so many, or so many requests.

Forwarding uses that capacity too, so it is handed in by the one that runs the monitor. A probe that
finds none is put off: a mirror that is full of what callers ask of it is there.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from monitor.common.config import MirrorConfig

Leave = Callable[[], None]


class NoCapacity(Exception):
    """There was no capacity in time."""


class Capacity(Protocol):
    """Source of capacity on a mirror."""

    async def enter(self, mirror: MirrorConfig, within: float) -> Leave:
        """Take it, to be given back by what this returns. Raises NoCapacity after `within`
        seconds."""


class Unlimited:
    """Capacity of a process that is alone with the mirrors, as `mirrorgate probe` is."""

    async def enter(self, mirror: MirrorConfig, within: float) -> Leave:
        """There is always some."""
        return _nothing


def _nothing() -> None:
    pass
