"""Health of a mirror as other vantages see it, and what that says of its paths from here."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from monitor.diagnosis.classify import judge_step
from monitor.diagnosis.finding import Finding, Level
from monitor.diagnosis.vantages import SeenFrom, compared
from monitor.health.snapshot import PathHealth, State, VantageHealth
from monitor.probes.results import Operation, PathResult


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
