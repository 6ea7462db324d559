"""From what is known to what is shown: one snapshot at a time, no more often than anybody needs.

A result is shown at once; while many come in, all that came within a moment is shown together.
What has not changed is not made anew, so that a snapshot of a hundred mirrors costs what one of
them costs.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable, Mapping

from monitor.common.config import MirrorConfig
from monitor.common.metric_registry import MetricRegistry
from monitor.diagnosis.telling import tell
from monitor.diagnosis.verdicts import reaction_to
from monitor.engine import metrics
from monitor.engine.mirror_state import MirrorState
from monitor.health.paths import Path
from monitor.health.quarantine import Quarantine
from monitor.health.snapshot import HealthBoard, HealthSnapshot, MirrorHealth, endpoint_of

log = logging.getLogger(__name__)

_NONE = "no mirror is in rotation: of those that can be reached, the least bad are tried"
_SOME = "a mirror is in rotation again"
GAP = 0.1
"""Seconds between two snapshots that nobody waits for."""


SAY_AGAIN = 3600.0
"""Seconds: what comes and goes, such as one of two certificates behind one address, is said so
seldom."""


class Alerts:
    """Says in the log, once each, what only an operator can mend."""

    def __init__(self, monotonic: Callable[[], float]) -> None:
        self._monotonic = monotonic
        self._waiting: dict[str, frozenset[str]] = {}
        """Verdicts that wait for the operator, by mirror."""
        self._said: dict[str, dict[str, float]] = {}
        """When each verdict was last said of a mirror."""

    def see(self, health: MirrorHealth) -> frozenset[str]:
        """Say what is new, and forget what is over; all that waits for the operator."""
        wait = frozenset(v for v in health.verdicts if reaction_to(v).alert)
        said, now = self._said.setdefault(health.id, {}), self._monotonic()
        for verdict in sorted(wait - self._waiting.get(health.id, frozenset())):
            if now - said.get(verdict, float("-inf")) >= SAY_AGAIN:
                said[verdict] = now
                log.warning("%s: %s: %s", health.id, verdict, tell(verdict, "en").paragraph("en"))
        self._waiting[health.id] = wait
        return wait

    def forget(self, mirror_id: str) -> None:
        """The mirror is gone."""
        self._waiting.pop(mirror_id, None)
        self._said.pop(mirror_id, None)


class Publisher:
    """Makes snapshots; owns the timer of the next one."""

    def __init__(
        self,
        board: HealthBoard,
        quarantine: Quarantine,
        is_left_out: Callable[[str, Path], bool],
        totals: MetricRegistry,
        told: Callable[[HealthSnapshot], None],
        clock: Callable[[], float],
        monotonic: Callable[[], float],
    ) -> None:
        """`is_left_out` tells of a path to a mirror whether it is left alone for others' sake."""
        self._board = board
        self._quarantine = quarantine
        self._is_left_out = is_left_out
        self._totals = totals
        self._told = told
        self._clock = clock
        self._monotonic = monotonic
        self._mirrors: Mapping[str, MirrorConfig] = {}
        self._watches: Mapping[str, MirrorState] = {}
        self._shown: dict[str, MirrorHealth] = {}
        self._alerts = Alerts(monotonic)
        self._changed: set[str] = set()
        self._held: Mapping[str, float] = {}
        self._timer: asyncio.TimerHandle | None = None
        self._last = float("-inf")

    def watch(
        self, mirrors: Mapping[str, MirrorConfig], watches: Mapping[str, MirrorState]
    ) -> None:
        """Show these mirrors, all of them anew."""
        for gone in self._mirrors.keys() - mirrors.keys():
            self._alerts.forget(gone)
        self._mirrors, self._watches = mirrors, watches
        self._shown.clear()

    def touch(self, mirror_id: str) -> None:
        """Something has changed about a mirror: show it soon."""
        self._changed.add(mirror_id)
        if self._timer is None:
            wait = max(0.0, self._last + GAP - self._monotonic())
            self._timer = asyncio.get_running_loop().call_later(wait, self.publish)

    def stop(self) -> None:
        """Show nothing more."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def look(self) -> list[str]:
        """The time of some quarantine may be over: the mirrors that have a path free again."""
        over = self._held.keys() - self._quarantine.running(self._monotonic()).keys()
        if not over:
            return []
        self.publish()
        return [i for i, w in self._watches.items() if not over.isdisjoint(_endpoints(w))]

    def publish(self) -> None:
        """Show what is known now."""
        self.stop()
        self._last = self._monotonic()
        self._hold()
        for mirror_id in self._mirrors:
            if mirror_id in self._changed or mirror_id not in self._shown:
                self._show(mirror_id)
        self._changed.clear()
        shown = {i: self._shown[i] for i in self._mirrors if i in self._shown}
        wall = {endpoint: self._wall(until) for endpoint, until in self._held.items()}
        metrics.show_quarantine(self._totals, len(wall))
        before = self._board.current.none_in_rotation
        snapshot = self._board.publish(shown, self._clock(), wall)
        if snapshot.none_in_rotation is not before:
            log.warning(_NONE if snapshot.none_in_rotation else _SOME)
        self._told(snapshot)

    def _hold(self) -> None:
        """Look up held endpoints; mirrors for which that has changed are shown anew."""
        held = self._quarantine.running(self._last)
        different = held.keys() ^ self._held.keys()
        self._held = dict(held)
        for mirror_id, watch in self._watches.items():
            if different and not different.isdisjoint(_endpoints(watch)):
                self._changed.add(mirror_id)

    def _show(self, mirror_id: str) -> None:
        watch = self._watches.get(mirror_id)
        if watch is None:
            return
        port = watch.mirror.port

        def barred(path: Path) -> bool:
            held = endpoint_of(path.address, port) in self._held
            return held or self._is_left_out(mirror_id, path)

        health = watch.health(barred, self._wall)
        self._shown[mirror_id] = health
        self._alerts.see(health)
        metrics.show_health(self._totals, self._mirrors[mirror_id], health)

    def _wall(self, moment: float) -> float:
        """A moment of the monotonic clock as seconds since the epoch."""
        return round(self._clock() + moment - self._monotonic(), 1)


def _endpoints(watch: MirrorState) -> Iterable[str]:
    return (endpoint_of(path.address, watch.mirror.port) for path in watch.paths)
