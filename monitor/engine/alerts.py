"""Alerts in the log about faults that only an operator can mend, each once."""

from __future__ import annotations

import logging

from monitor.diagnosis.telling import tell
from monitor.diagnosis.verdicts import reaction_to
from monitor.health.snapshot import MirrorHealth

log = logging.getLogger(__name__)


class Alerts:
    """Knows what has been said of which mirror."""

    def __init__(self) -> None:
        self._said: dict[str, frozenset[str]] = {}

    def see(self, health: MirrorHealth) -> frozenset[str]:
        """Say what is new, and forget what is over; all that waits for the operator."""
        wait = frozenset(v for v in health.verdicts if reaction_to(v).alert)
        for verdict in sorted(wait - self._said.get(health.id, frozenset())):
            log.warning("%s: %s: %s", health.id, verdict, tell(verdict, "en").paragraph("en"))
        self._said[health.id] = wait
        return wait

    def forget(self, mirror_id: str) -> None:
        """The mirror is gone."""
        self._said.pop(mirror_id, None)
