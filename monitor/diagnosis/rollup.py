"""From the findings of paths to what they have in common: endpoints, hostnames, mirrors, CDNs.

The level matters as much as the verdict: too low keeps a dead path, too high throws out a mirror
that another path would reach.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

from monitor.diagnosis.evidence import Code
from monitor.diagnosis.finding import Finding, Level
from monitor.diagnosis.reactions import Scope
from monitor.diagnosis.verdicts import SNI_BLOCKS, reaction_to

Key = TypeVar("Key", bound=Hashable)

SIBLINGS = 2
"""Names of one parent that must be blocked, and no fewer tried, to suspect the parent."""
_ORDER = (Level.none, Level.cleared, Level.suspected, Level.confirmed)


@dataclass(frozen=True, slots=True)
class PathFinding:
    """The finding about one path of one mirror."""

    mirror: str
    hostname: str
    address: str
    port: int
    finding: Finding
    alive: bool
    """True if the mirror can be used over it."""
    cdn: str = ""


def mirror_finding(paths: Sequence[PathFinding]) -> Finding:
    """The finding on a mirror: the best of its paths counts.

    When none is alive it is the finding that most paths share, and among equals the surest.
    """
    alive = [path.finding for path in paths if path.alive]
    if alive:
        return next((found for found in alive if found.verdict == "ok"), alive[0])
    if not paths:
        return Finding("unknown")
    verdicts = [path.finding.verdict for path in paths]
    best = max(
        (path.finding for path in paths),
        key=lambda f: (verdicts.count(f.verdict), _ORDER.index(f.level), f.blocked + f.down),
    )
    if len(paths) == 1:
        return best
    return replace(best, evidence=(*best.evidence, Code.no_path_works(count=len(paths))))


def hostname_findings(paths: Iterable[PathFinding]) -> dict[str, Finding]:
    """Hostnames that no path of theirs reaches, with what they all show."""
    return _all_dead(paths, lambda path: path.hostname, lambda finding: True)


def endpoint_findings(paths: Iterable[PathFinding]) -> dict[tuple[str, int], Finding]:
    """Endpoints over which nothing works, for a reason that is not about one name."""
    return _all_dead(
        paths,
        lambda path: (path.address, path.port),
        lambda finding: (
            reaction_to(finding.verdict).scope in (Scope.endpoint, Scope.path)
            and finding.verdict not in SNI_BLOCKS
        ),
    )


def cdn_findings(paths: Iterable[PathFinding]) -> dict[str, Finding]:
    """CDNs over which no path of at least two mirrors works, with what these show alike."""
    known = [path for path in paths if path.cdn]
    dead = _all_dead(known, lambda path: path.cdn, lambda finding: True)
    shared = {cdn for cdn in dead if len({p.mirror for p in known if p.cdn == cdn}) > 1}
    return {cdn: finding for cdn, finding in dead.items() if cdn in shared}


def suspected_parents(blocked: Mapping[str, bool]) -> frozenset[str]:
    """Parent domains to stay away from, from the names that were tried (True: blocked).

    Firewalls also block whole domains with one rule. When all of two or more siblings that were
    tried are blocked, the rest of them will hardly fare better.
    """
    parents: dict[str, list[bool]] = {}
    for hostname, is_blocked in blocked.items():
        parents.setdefault(parent_of(hostname), []).append(is_blocked)
    return frozenset(
        parent for parent, tried in parents.items() if len(tried) >= SIBLINGS and all(tried)
    )


def parent_of(hostname: str) -> str:
    """The domain without its first label; the name itself if that leaves no dot."""
    parent = hostname.partition(".")[2]
    return parent if "." in parent else hostname


def _all_dead(
    paths: Iterable[PathFinding],
    key: Callable[[PathFinding], Key],
    fits: Callable[[Finding], bool],
) -> dict[Key, Finding]:
    groups: dict[Key, list[PathFinding]] = {}
    for path in paths:
        groups.setdefault(key(path), []).append(path)
    return {
        name: mirror_finding(group)
        for name, group in groups.items()
        if not any(path.alive for path in group) and all(fits(path.finding) for path in group)
    }
