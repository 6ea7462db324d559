"""Speed of transfers: mirrors that are slowed down, or stop dead after some kilobytes.

Throttling cannot be told from one transfer: it is measured against the mirror's own past and
against other mirrors in the same minutes (OONI dd-007). Policers hold a constant speed, congestion
varies. Transfers that stop after 10 to 30 KB while short answers work are a pattern reported
since 2025: a probe that is shorter than that sees nothing of it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean, median, pstdev

from monitor.diagnosis.evidence import Code
from monitor.diagnosis.finding import Finding, Level

SAMPLES = 5
RATIO = 0.1
FLOOR = 20_000.0
"""Bytes per second: what is slower than this is slow whatever it was before."""
CONSTANT = 0.25
"""Coefficient of variation below which a speed is held, not suffered."""
FREEZE_LEAST, FREEZE_MOST = 10_000, 30_000
FREEZE_SAMPLES = 4
FREEZE_NEEDED = 3
LARGE = 65_536
"""Bytes that a transfer must have had to come for a pass to mean anything."""


@dataclass(frozen=True, slots=True)
class Sample:
    """One transfer of a mirror."""

    received: int
    """Bytes of the body that came."""
    goodput: float
    """Bytes per second while they came."""
    stopped: bool = False
    """It stalled or was cut off before its end."""


def judge_throughput(
    samples: Sequence[Sample], baseline: float | None, others_normal: bool
) -> Finding:
    """The finding from the last transfers, newest last.

    `baseline` is the median goodput of the last seven days, None if there is none;
    `others_normal`: another mirror or address was as quick as usual in the same minutes.
    """
    if frozen := _frozen(samples):
        return frozen
    recent = samples[-SAMPLES:]
    if len(recent) < SAMPLES:
        return Finding("unknown", rule="5")
    speed = median(sample.goodput for sample in recent)
    limit = max(RATIO * baseline, FLOOR) if baseline else FLOOR
    if speed >= limit:
        return Finding("ok", ok=1.0, rule="5")
    median_kb = speed / 1000
    evidence = [
        Code.slow(count=SAMPLES, speed=median_kb, usual=baseline / 1000)
        if baseline
        else Code.slow_without_past(count=SAMPLES, speed=median_kb)
    ]
    if not others_normal:
        evidence.append(Code.others_slow())
        return Finding("unknown", rule="5", evidence=tuple(evidence))
    evidence.append(Code.others_normal())
    if constant_rate(recent):
        evidence.append(Code.speed_constant())
    evidence.append(Code.may_be_capped())
    return Finding("throttled", Level.suspected, 0.7, 0.3, 0.0, "5", tuple(evidence))


def constant_rate(samples: Sequence[Sample]) -> bool:
    """True if the speed of the transfers hardly varies."""
    speeds = [sample.goodput for sample in samples]
    return len(speeds) >= 2 and fmean(speeds) > 0 and pstdev(speeds) / fmean(speeds) < CONSTANT


def _frozen(samples: Sequence[Sample]) -> Finding | None:
    """At least three of the last four long transfers stopped within the same narrow range."""
    long = [s for s in samples if s.stopped or s.received >= LARGE][-FREEZE_SAMPLES:]
    stops = [s.received for s in long if s.stopped and _in_range(s.received)]
    if len(long) < FREEZE_SAMPLES or len(stops) < FREEZE_NEEDED:
        return None
    frozen = Code.frozen(
        stopped=len(stops), of=len(long), least=min(stops) / 1000, most=max(stops) / 1000
    )
    evidence = (frozen, Code.may_be_cut_by_server())
    return Finding("byte_cap_freeze", Level.suspected, 0.8, 0.2, 0.0, "5", evidence)


def _in_range(received: int) -> bool:
    return FREEZE_LEAST <= received <= FREEZE_MOST
