"""The other names of a mirror: which there are, and when the next one is brought into use.

An alternate serves the same content; it is used when the mirror's own name is blocked. Only names
that the operator has configured are ever used, always in the same order, and seldom a new one: a
network that blocks names should not be handed the whole list at once.
"""

from __future__ import annotations

from monitor.config import MirrorConfig
from monitor.diagnosis.pace import Pace

MAX_NAMES = 64


def names_of(mirror: MirrorConfig) -> tuple[str, ...]:
    """All names of a mirror, its own first, then alternates in the order of use; at most 64."""
    wild = (mirror.wildcard.replace("{n}", str(n + 1)) for n in range(mirror.wildcard_count))
    listed = (name.lower().rstrip(".") for name in (*mirror.hostnames, *wild))
    return tuple(dict.fromkeys((mirror.host, *listed)))[:MAX_NAMES]


class Alternates:
    """Which names of each mirror are in use; another one at most every ten minutes."""

    def __init__(self, pace: Pace) -> None:
        self._pace = pace
        self._introduced: dict[str, dict[str, float]] = {}

    def in_use(self, mirror: MirrorConfig) -> tuple[str, ...]:
        """The mirror's own name, and the alternates that were introduced."""
        introduced = self._introduced.get(mirror.id, {})
        return tuple(n for n in names_of(mirror) if n == mirror.host or n in introduced)

    def introduce(self, mirror: MirrorConfig, now: float) -> str | None:
        """Bring the next name into use; None if there is none, or it is too early.

        `now` is monotonic.
        """
        introduced = self._introduced.setdefault(mirror.id, {})
        latest = max(introduced.values(), default=float("-inf"))
        if now - latest < self._pace.new_name_interval:
            return None
        used = self.in_use(mirror)
        name = next((n for n in names_of(mirror) if n not in used), None)
        if name is not None:
            introduced[name] = now
        return name

    def forget(self, mirror_id: str) -> None:
        """The mirror is gone."""
        self._introduced.pop(mirror_id, None)
