"""Paths that are left alone because their name was cut off, as text for the next start.

A process that did not know them would show the name once more, and some networks would then cut off
every name there for minutes. Pure.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from monitor.diagnosis.evidence import Evidence
from monitor.diagnosis.verdicts import NAME_CUT
from monitor.health.snapshot import MirrorHealth, PathHealth, Standing

MOST_PATHS = 16
"""Of one mirror that are kept."""
KNOWN_FOR = 3600.0
"""Seconds for which a path is known as such after its time: a start may take as long as what was
left of that, and the next look is then still to come."""


@dataclass(frozen=True, slots=True)
class Aside:
    """One such path."""

    hostname: str
    address: str
    verdict: str
    level: str
    until: float
    """Seconds since the epoch."""
    evidence: tuple[Evidence, ...] = ()


def aside_of(mirror: MirrorHealth) -> list[list[Any]]:
    """The paths of a mirror that are left alone, in plain values."""
    return [_plain(path) for path in _left_alone(mirror.paths)][:MOST_PATHS]


def _left_alone(paths: Iterable[PathHealth]) -> Iterable[PathHealth]:
    held = (path for path in paths if path.standing is Standing.held)
    return (path for path in held if path.verdict in NAME_CUT and path.until is not None)


def _plain(path: PathHealth) -> list[Any]:
    until = round(path.until or 0.0)
    evidence = [each.to_json() for each in path.evidence]
    return [path.hostname, path.address, path.verdict, path.level, until, evidence]


def read_aside(text: str, now: float) -> tuple[Aside, ...]:
    """The paths in a view of a mirror whose time was not over an hour ago, `now` in seconds since
    the epoch; none of those in a text that is not understood."""
    try:
        told: Mapping[str, Any] = json.loads(text)
        read = [
            Aside(
                str(hostname),
                str(address),
                str(verdict),
                str(level),
                float(until),
                tuple(map(Evidence.from_json, evidence)),
            )
            for hostname, address, verdict, level, until, evidence in told.get("aside", ())
        ]
    except (ValueError, KeyError, TypeError, AttributeError):
        return ()
    return tuple(each for each in read[:MOST_PATHS] if each.until > now - KNOWN_FOR)
