"""Room for one more connection to a mirror whose operator allows only so many, or so many requests.

Whoever forwards requests uses that room too, so whoever runs the monitor hands it in. A probe that
finds none is put off: a mirror that is full of what callers ask of it is there.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from monitor.common.config import MirrorConfig

Leave = Callable[[], None]


class NoCapacity(Exception):
    """There was no room in time."""


class Capacity(Protocol):
    """Source of room on a mirror."""

    async def enter(self, mirror: MirrorConfig, within: float) -> Leave:
        """Take it, to be given back by what this returns. Raises NoRoom after `within` seconds."""


class Unlimited:
    """For whoever is alone with the mirrors, as `mirrorgate probe` is."""

    async def enter(self, mirror: MirrorConfig, within: float) -> Leave:
        """There is always room."""
        return _nothing


def _nothing() -> None:
    pass
