"""From what is known to what is shown: nodes, the overall state, bans. Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Literal

from dashboard.common.config import DashboardConfig
from dashboard.common.printable import printable
from dashboard.common.sources import Ejection
from dashboard.public.privacy import full_network, masked_network, shown_user_agent
from monitor.common.bans import Ban
from monitor.common.config import MirrorConfig
from monitor.diagnosis.evidence import Evidence
from monitor.diagnosis.telling import Situation
from monitor.diagnosis.verdicts import OURS, REACHED
from monitor.health.latency import PHASES, Curve
from monitor.health.past import Day, Past
from monitor.health.snapshot import (
    HealthSnapshot,
    MirrorHealth,
    Override,
    PathHealth,
    State,
    VantageHealth,
)
from monitor.health.uptime import WINDOWS, Known

NO_PAST = Past()
NOBODY: Mapping[str, Ejection] = MappingProxyType({})
NO_CURVES: Mapping[str, Curve] = MappingProxyType({})

Kind = Literal[
    "ok", "planned", "slow", "some", "last", "none", "lost", "early", "offline", "blind", "empty"
]
"""The state of the whole; why it is unknown: no verdict yet, the monitor offline, nothing heard."""

MAX_PATHS = 16
"""Paths of one node that are shown."""


@dataclass(frozen=True, slots=True)
class PathRow:
    """One way to a mirror: one of its names over one of its addresses."""

    hostname: str | None
    """None when the operator hides hosts, as is the address; then evidence is empty."""
    address: str | None
    standing: str
    usable: bool
    verdict: str
    level: str
    latency_ms: int | None
    until: float | None
    """Until when it is left alone."""
    certificate_ends: float | None
    evidence: tuple[Evidence, ...]


@dataclass(frozen=True, slots=True)
class Node:
    """One mirror as visitors see it. Times are seconds since the epoch."""

    id: str
    name: str
    host: str | None
    """None when the operator hides hosts."""
    region: str
    cdn_declared: bool
    cdn_detected: str
    state: State
    last_known: State
    """Differs from `state` when the last probe is too old to speak for now."""
    since: float | None
    verdict: str
    level: str
    """How sure the verdict is."""
    in_rotation: bool
    vantages: tuple[VantageHealth, ...]
    """As other vantages see it, lately."""
    ejection: Ejection | None
    """Set while failing traffic keeps it out of rotation."""
    override: Override
    override_until: float | None
    latency_ms: Mapping[str, int]
    last_probe: float | None
    fresh: bool
    """True if the last probe is recent enough to speak for now."""
    dns: str
    """The verdict on how its name resolves."""
    paths: tuple[PathRow, ...]
    held_until: float | None
    """Until when all its addresses are left alone; None when one of them is not."""
    evidence: tuple[Evidence, ...]
    """What its verdict rests on; empty when the operator hides hosts."""
    certificate_ends: float | None
    uptime: Mapping[str, Known]
    """By window: what is known of it, also when that is nothing."""
    days: Sequence[Day]
    """The last days, today last."""
    curves: Mapping[str, Curve]
    """Latency by window."""
    first_byte: tuple[int, ...] | None
    """Milliseconds at most to the first byte, of QUANTILES of the last day."""

    @property
    def situation(self) -> Situation:
        """The rest where it is not to be used."""
        usable = any(path.usable and path.verdict != self.verdict for path in self.paths)
        return Situation.beside if usable else Situation.unknown

    @property
    def stale(self) -> bool:
        """True if what was known is too old."""
        return self.state is not self.last_known

    @property
    def serving(self) -> bool:
        """True if requests can be expected to succeed on it."""
        return self.in_rotation and self.state in (State.up, State.degraded)

    @property
    def total_ms(self) -> int:
        """All phases together."""
        return sum(self.latency_ms.values())


@dataclass(frozen=True, slots=True)
class Overview:
    """The state of the whole in one word, and the numbers for a sentence."""

    kind: Kind
    serving: int
    total: int
    down: int
    heard: float | None
    """When the newest probe ended."""


@dataclass(frozen=True, slots=True)
class BanRow:
    """One ban as visitors see it."""

    id: str
    ip: str
    location: str
    """Empty when unknown."""
    user_agent: str
    reason: str
    since: float
    until: float | None


def nodes(
    mirrors: Sequence[MirrorConfig],
    snapshot: HealthSnapshot,
    config: DashboardConfig,
    now: float,
    stale_after: float,
    past: Past = NO_PAST,
    ejections: Mapping[str, Ejection] = NOBODY,
) -> list[Node]:
    """The mirrors that are in use, in the order of the configuration."""
    return [
        node(
            mirror,
            snapshot.of(mirror.id),
            config,
            now,
            stale_after,
            past,
            ejections.get(mirror.id),
            snapshot.left_alone_until(mirror.id, mirror.port, now),
        )
        for mirror in mirrors
        if mirror.enabled
    ]


def node(
    mirror: MirrorConfig,
    health: MirrorHealth,
    config: DashboardConfig,
    now: float,
    stale_after: float,
    past: Past = NO_PAST,
    ejection: Ejection | None = None,
    held_until: float | None = None,
) -> Node:
    """One mirror. A probe result speaks for `stale_after` seconds, and while the mirror rests; then
    the state is unknown. `held_until`: until when all its addresses are left alone, which is shown
    where it is down."""
    known_at = max(health.last_probe or 0.0, health.rests_until or 0.0)
    stale = health.last_probe is None or now - known_at > stale_after
    known = State.maintenance if health.wish is Override.maintenance else health.state
    blind = stale and known is not State.maintenance
    since = health.last_probe if blind and known is not State.unknown else health.since
    return Node(
        id=mirror.id,
        name=printable(mirror.label),
        host=mirror.host if config.show_hosts else None,
        region=printable(mirror.region),
        cdn_declared=mirror.cdn,
        cdn_detected=printable(health.cdn_detected),
        state=State.unknown if blind else known,
        last_known=known,
        since=since or None,
        verdict="unknown" if blind else printable(health.verdict),
        level=health.level,
        vantages=tuple(_seen_there(each, now - stale_after) for each in health.vantages),
        in_rotation=health.in_rotation and ejection is None,
        ejection=ejection,
        override=health.wish,
        override_until=health.wish_until,
        latency_ms=_latency(health),
        last_probe=health.last_probe,
        fresh=not stale,
        uptime={name: past.window(mirror.id, name) for name in WINDOWS},
        days=past.days.get(mirror.id, ()),
        curves=past.curves.get(mirror.id, NO_CURVES),
        first_byte=past.first_bytes.get(mirror.id),
        dns=health.dns,
        paths=tuple(_path(path, config) for path in health.paths[:MAX_PATHS]),
        held_until=held_until if known is State.down and not blind else None,
        evidence=health.evidence if config.show_hosts else (),
        certificate_ends=health.tls_not_after,
    )


def _seen_there(seen: VantageHealth, oldest: float) -> VantageHealth:
    """The same, or that nothing is known, with names that may be shown."""
    name = printable(seen.name)
    if not seen.lasts and seen.at < oldest:
        return VantageHealth(name, at=seen.at)
    return replace(seen, name=name, verdict=printable(seen.verdict))


def _path(path: PathHealth, config: DashboardConfig) -> PathRow:
    shown = config.show_hosts
    return PathRow(
        hostname=path.hostname if shown else None,
        address=path.address if shown else None,
        standing=path.standing.value,
        usable=path.usable,
        verdict=printable(path.verdict),
        level=path.level,
        latency_ms=None if path.latency is None else round(path.latency),
        until=path.until,
        certificate_ends=path.not_after,
        evidence=path.evidence if shown else (),
    )


def _latency(health: MirrorHealth) -> dict[str, int]:
    phases = {phase: getattr(health.latency, phase) for phase in PHASES}
    return {phase: round(ms) for phase, ms in phases.items() if ms is not None}


def overview(rows: Sequence[Node]) -> Overview:
    """The state of the whole."""
    heard = max((row.last_probe for row in rows if row.last_probe is not None), default=None)
    serving, down = (
        sum(row.serving for row in rows),
        sum(row.state is State.down for row in rows),
    )
    return Overview(_kind(rows), serving, len(rows), down, heard)


def _kind(rows: Sequence[Node]) -> Kind:
    wanted = [
        row for row in rows if row.override is Override.use and row.state is not State.maintenance
    ]
    if not rows:
        return "empty"
    if not any(row.serving for row in rows):
        unknown = [row for row in wanted if row.state is State.unknown]
        if unknown:
            some_down = any(row.state is State.down for row in wanted)
            lost = some_down and all(row.stale for row in unknown)
            return "lost" if lost else _why_unknown(rows, unknown)
        return "last" if any(row.verdict in REACHED for row in wanted) else "none"
    if any(row.state in (State.down, State.unknown) or row.ejection for row in wanted):
        return "some"
    if any(row.state is State.degraded for row in wanted):
        return "slow"
    return "ok" if len(wanted) == len(rows) else "planned"


def _why_unknown(rows: Sequence[Node], unknown: Sequence[Node]) -> Kind:
    if not any(row.fresh for row in rows):
        return "blind"
    return "offline" if all(row.verdict in OURS for row in unknown) else "early"


def place(ban: Ban) -> tuple[float, str]:
    """The place of a ban in the list: later is before, and no two stand in one place."""
    return ban.since, ban.id


def ban_row(ban: Ban, config: DashboardConfig, locate: Callable[[str], str]) -> BanRow:
    """A ban as far as the operator shows it; `locate` says where it is."""
    network = full_network if config.bans == "full" else masked_network
    return BanRow(
        id=ban.id,
        ip=network(ban.network),
        location=printable(locate(ban.network)),
        user_agent=shown_user_agent(ban.user_agent),
        reason=printable(ban.reason),
        since=ban.since,
        until=ban.until,
    )
