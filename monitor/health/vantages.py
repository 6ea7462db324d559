"""Health of a mirror as other vantages see it, and what that says of its paths from here.

Other vantages are proxies that this instance probes through, and other instances of its store,
which tell each other their views. Pure.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from monitor.diagnosis.classify import judge_step
from monitor.diagnosis.evidence import Evidence
from monitor.diagnosis.finding import Finding, Level
from monitor.diagnosis.vantages import CONFIRMED, SeenFrom, compared
from monitor.health.aside import aside_of
from monitor.health.latency import PHASES
from monitor.health.snapshot import (
    HealthSnapshot,
    MirrorHealth,
    PathHealth,
    Standing,
    State,
    VantageHealth,
)
from monitor.probes.results import Operation, PathResult

SILENT_AFTER = 60.0
"""Seconds without a sign of life after which it is not known how an instance sees a mirror."""
GONE_AFTER = 3600.0
"""Seconds after which it is not spoken of any more."""
SETTLED_AFTER = 10.0
"""Seconds after a path has failed here before the success of another instance is one of after that:
the time that its view may take, twice."""
INTERRUPTED_AFTER = 15.0
"""Seconds without a sign of life after which views may have waited to be written."""
LATENCY_FOR = 60.0
"""Seconds that a latency is shown for, so that a mirror is not shown anew for each of them."""
MOST_PATHS = 16
"""Paths of a mirror that are told."""


@dataclass(frozen=True, slots=True)
class Elsewhere:
    """A mirror as it was seen from another vantage."""

    health: VantageHealth
    paths: tuple[SeenFrom, ...] = ()


def elsewhere(
    vantage: str, found: Sequence[PathResult], now: float, before: Elsewhere | None = None
) -> Elsewhere:
    """The health that the paths of one probe show; `now` in seconds since the epoch."""
    known = {(each.hostname, each.address): each for each in (before.paths if before else ())}
    paths = []
    for path in found:
        meaning, last = judge_step(path.last), known.get((path.hostname, path.address))
        times = last.times + 1 if last is not None and last.alive is meaning.alive else 1
        paths.append(
            SeenFrom(vantage, path.hostname, path.address, meaning.alive, meaning.verdict, times)
        )
    best = next((p for p in found if judge_step(p.last).alive), found[0] if found else None)
    if best is None:
        return Elsewhere(VantageHealth(vantage, at=now))
    meaning = judge_step(best.last)
    state = State.down
    if meaning.alive:
        state = State.up if meaning.verdict == "ok" else State.degraded
    latency = _latency(best) if meaning.alive else {}
    health = VantageHealth(vantage, state, meaning.verdict, meaning.seen, latency, now)
    return Elsewhere(health, tuple(paths))


_PHASES = (
    ("connect", Operation.connect),
    ("tls", Operation.tls_handshake),
)


def _latency(path: PathResult) -> dict[str, int]:
    """Milliseconds of the phases, through the proxy."""
    steps = [(name, path.step(operation)) for name, operation in _PHASES]
    phases = {name: round(step.seconds * 1000) for name, step in steps if step is not None}
    if path.last.first_byte is not None:
        phases["first_byte"] = round(path.last.first_byte * 1000)
    return phases


def with_others(paths: Iterable[PathHealth], seen: Sequence[SeenFrom]) -> tuple[PathHealth, ...]:
    """The paths from here with what other vantages saw of them; standing and use stay."""
    return tuple(_compared(path, seen) for path in paths)


def _compared(path: PathHealth, seen: Sequence[SeenFrom]) -> PathHealth:
    finding = Finding(path.verdict, Level(path.level), evidence=path.evidence)
    now = compared(finding, path.hostname, path.address, seen)
    if now is finding:
        return path
    return replace(path, verdict=now.verdict, level=now.level.value, evidence=now.evidence)


def view_of(mirror: MirrorHealth) -> str:
    """A mirror as it is seen here, for other instances."""
    phases = {phase: getattr(mirror.latency, phase) for phase in PHASES}
    told = {
        "state": mirror.state.value,
        "verdict": mirror.verdict,
        "detail": mirror.detail and mirror.detail.to_text(),
        "latency": {phase: round(ms) for phase, ms in phases.items() if ms is not None},
        "paths": [
            [p.hostname, p.address, p.standing is Standing.ok, p.verdict, p.successes]
            for p in mirror.paths[:MOST_PATHS]
            if p.standing is not Standing.untested
        ],
        "aside": aside_of(mirror),
    }
    return json.dumps(told, ensure_ascii=False)


@dataclass(frozen=True, slots=True)
class _View:
    """A mirror as an instance has told it."""

    state: State
    verdict: str
    detail: Evidence | None
    latency: Mapping[str, int]
    paths: tuple[tuple[str, str, bool, str, int], ...]
    """Hostname, address, whether it works, verdict, and successes so far."""

    @classmethod
    def read(cls, text: str) -> _View | None:
        """The view that `view_of` told; None for one of another version that is not understood."""
        try:
            told: dict[str, Any] = json.loads(text)
            return cls(
                State(told["state"]),
                str(told["verdict"]),
                Evidence.from_text(told["detail"] or ""),
                {str(phase): int(ms) for phase, ms in told["latency"].items() if phase in PHASES},
                tuple(
                    (str(hostname), str(address), bool(works), str(verdict), int(successes))
                    for hostname, address, works, verdict, successes in told["paths"][:MOST_PATHS]
                ),
            )
        except (ValueError, KeyError, TypeError, AttributeError):
            return None


_Path = tuple[str, str, str]
"""Mirror, hostname, address."""


@dataclass(slots=True)
class _Instance:
    holder: str
    beat: int
    moved_at: float | None = None
    """When its beat was last seen to move; None: never."""
    resumed_at: float = float("-inf")
    """When it was heard again after an interruption."""
    batch: int = -1
    views: dict[str, _View] = field(default_factory=dict)
    """By mirror."""
    counted: dict[_Path, int] = field(default_factory=dict)
    """Successes over paths that fail here, since they do."""
    shown: dict[str, Elsewhere] = field(default_factory=dict)

    def is_silent(self, now: float) -> bool:
        return self.moved_at is None or now - self.moved_at >= SILENT_AFTER


class Instances:
    """The other instances of a store, and their views of the mirrors.

    Times are of the monotonic clock here: a beat that moves tells that an instance lives, and no
    clocks of hosts are compared.
    """

    def __init__(self) -> None:
        self._instances: dict[str, _Instance] = {}
        self._failing: dict[_Path, float] = {}
        """Paths that fail here, and since when."""

    def __repr__(self) -> str:
        return f"<Instances {', '.join(self._instances) or 'none'}>"

    def batches(self) -> dict[str, int]:
        """The newest batch of views that is known of each."""
        return {name: each.batch for name, each in self._instances.items()}

    def see_here(self, snapshot: HealthSnapshot, now: float) -> None:
        """Take how the paths stand from here."""
        failing = {
            (mirror.id, path.hostname, path.address)
            for mirror in snapshot.mirrors.values()
            for path in mirror.paths
            if path.standing in (Standing.suspected, Standing.held)
        }
        self._failing = {path: self._failing.get(path, now) for path in failing}
        for instance in self._instances.values():
            for path in instance.counted.keys() - failing:
                del instance.counted[path]

    def hear(
        self, name: str, holder: str, beat: int, batch: int, texts: Mapping[str, str], now: float
    ) -> None:
        """Take the sign of life of an instance, and those of its views that are new, by mirror."""
        known = self._instances.get(name)
        if known is None or known.holder != holder:
            known = _Instance(holder, beat, None if known is None else now)
            self._instances[name] = known
        if known.beat != beat:
            if known.moved_at is None or now - known.moved_at >= INTERRUPTED_AFTER:
                known.resumed_at = now
            known.beat, known.moved_at = beat, now
        known.batch = max(known.batch, batch)
        for mirror_id, text in texts.items():
            view = _View.read(text)
            if view is None:
                known.views.pop(mirror_id, None)
                continue
            self._count(known, mirror_id, view, now)
            known.views[mirror_id] = view

    def keep(self, running: Iterable[str]) -> None:
        """Forget all but these: they were stopped."""
        for name in self._instances.keys() - set(running):
            del self._instances[name]

    def told(self, now: float, wall: float) -> dict[str, dict[str, Elsewhere]]:
        """By instance and mirror, how it is seen there; `wall` in seconds since the epoch.

        Of an instance that has been silent for a while nothing is known, and an instance that was
        never seen alive is left out.
        """
        return {
            name: self._told_by(name, each, now, wall)
            for name, each in self._instances.items()
            if now - (each.moved_at or float("-inf")) < GONE_AFTER
        }

    def _told_by(
        self, name: str, instance: _Instance, now: float, wall: float
    ) -> dict[str, Elsewhere]:
        shown = {}
        for mirror_id, view in instance.views.items():
            if instance.is_silent(now):
                fresh = Elsewhere(VantageHealth(name, at=wall, lasts=True))
            else:
                health = VantageHealth(
                    name, view.state, view.verdict, view.detail, view.latency, wall, lasts=True
                )
                fresh = Elsewhere(health, self._paths(name, instance, mirror_id, view))
            shown[mirror_id] = _lasting(instance.shown.get(mirror_id), fresh)
        instance.shown = shown
        return shown

    def _count(self, instance: _Instance, mirror_id: str, view: _View, now: float) -> None:
        """Count successes over paths that have failed here for long enough."""
        last = instance.views.get(mirror_id)
        known = {path[:2]: path[4] for path in last.paths} if last is not None else {}
        for hostname, address, works, _, successes in view.paths:
            path = (mirror_id, hostname, address)
            if (since := self._failing.get(path)) is None:
                continue
            settled = now >= max(since, instance.resumed_at) + SETTLED_AFTER
            before = known.get((hostname, address), successes)
            times = instance.counted.get(path, 0)
            instance.counted[path] = times + (settled and successes != before) if works else 0

    def _paths(
        self, name: str, instance: _Instance, mirror_id: str, view: _View
    ) -> tuple[SeenFrom, ...]:
        paths = []
        for hostname, address, works, verdict, _ in view.paths:
            times = instance.counted.get((mirror_id, hostname, address), 0)
            if times or not works:
                seen = min(max(times, 1), CONFIRMED)
                paths.append(SeenFrom(name, hostname, address, works, verdict, seen))
        return tuple(paths)


def _lasting(before: Elsewhere | None, now: Elsewhere) -> Elsewhere:
    """The same as before, unless it differs by more than its latency."""
    if before is None or now.health.at - before.health.at >= LATENCY_FOR:
        return now
    return (
        before if replace(now, health=_bare(now)) == replace(before, health=_bare(before)) else now
    )


def _bare(seen: Elsewhere) -> VantageHealth:
    return replace(seen.health, latency={}, at=0.0)
