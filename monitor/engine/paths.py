"""The paths to one mirror: which names it has, which addresses these have, and what is tried when.

Only names that the operator configured: the mirror's own, its alternates, and those of its
wildcard, which come into use one by one when no other works. Changes only by the methods; does no
I/O and takes the time, of the monotonic clock, as an argument.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Container, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial

from monitor.common.config import MirrorConfig
from monitor.common.names import names_of
from monitor.diagnosis.finding import Finding
from monitor.diagnosis.rollup import parent_of, suspected_parents
from monitor.diagnosis.timing import DiagnosisTiming
from monitor.diagnosis.verdicts import BLOCKS, CERTIFICATE_REFUSED
from monitor.health.aside import Aside
from monitor.health.paths import Path, in_order, is_cut
from monitor.health.snapshot import Standing
from monitor.probes.results import DnsObservation, Way

MAX_NAMES = 8
"""Names in use at once."""
MAX_PER_NAME = 8
"""Addresses of one name that are watched; content networks have hundreds."""
FORGET = 600.0
"""Seconds after which an address that no resolver gives any more is forgotten."""
REMEMBER = 3600.0
"""The same for one that is held: it would come back as if nothing had been."""
MAX_FORGED = 64
"""Forged addresses of one name that are remembered: injectors have few (GFWatch)."""
HOPEFUL = (Standing.ok, Standing.untested)
"""Standings of a path that works, or may."""
MAX_CHECKED = 4
"""Paths whose handshake one cycle checks, beside the one that it asks."""


@dataclass(slots=True)
class Name:
    """One hostname in use."""

    hostname: str
    place: int
    resolved_at: float = -math.inf
    finding: Finding = field(default_factory=lambda: Finding("unknown"))
    """What its resolvers' answers mean."""
    chain: tuple[str, ...] = ()
    """The aliases that it leads over."""
    forged: frozenset[str] = frozenset()
    """Addresses that were given in place of its own."""

    def moved(self, place: int) -> None:
        """It has another place in the configuration."""
        self.place = place

    def resolved(self, now: float) -> None:
        """It was resolved."""
        self.resolved_at = now

    def judged(self, finding: Finding, observations: Iterable[DnsObservation]) -> None:
        """Meaning of the answers of its resolvers."""
        self.finding = finding
        self.chain = next((seen.chain for seen in observations if seen.chain), ())

    def lied_about(self, forged: frozenset[str]) -> None:
        """Its answers have shown these addresses to be forged."""
        if len(self.forged | forged) <= MAX_FORGED:
            self.forged |= forged


@dataclass(frozen=True, slots=True)
class Plan:
    """The probes of one cycle."""

    ask: tuple[Way, ...] = ()
    """In this order until one answers."""
    check: tuple[Way, ...] = ()


class MirrorPaths:
    """All paths of one mirror."""

    def __init__(self, mirror: MirrorConfig, pace: DiagnosisTiming, now: float) -> None:
        self.pace = pace
        self.names: dict[str, Name] = {}
        self._paths: dict[Way, Path] = {}
        self._drawn = 0
        """Names of the wildcard that have come into use."""
        self._drawn_at = -math.inf
        self._awaited: dict[Way, Callable[[Path], None]] = {}
        """Applied to each path once its address is known: what the time before this start, or
        workers, have shown of it."""
        self.configure(mirror, now)

    def __iter__(self) -> Iterator[Path]:
        return iter(self._paths.values())

    def __len__(self) -> int:
        return len(self._paths)

    def configure(self, mirror: MirrorConfig, now: float) -> None:
        """Take new settings; paths that stay keep what is known of them."""
        self.mirror = mirror
        listed = 1 + len(set(mirror.hostnames) - {mirror.host})
        names = names_of(mirror)[: min(listed + self._drawn, MAX_NAMES)]
        self.names = {
            hostname: self.names.get(hostname) or Name(hostname, place)
            for place, hostname in enumerate(names)
        }
        for place, hostname in enumerate(names):
            self.names[hostname].moved(place)
        self._paths = {w: p for w, p in self._paths.items() if w.hostname in self.names}
        for path in self._paths.values():
            path.moved(self.names[path.hostname].place)
        if mirror.addresses:
            for hostname in names:
                self.resolved(hostname, mirror.addresses, now)

    def path(self, way: Way) -> Path | None:
        """Return the state of one path."""
        return self._paths.get(way)

    def beside(self, path: Path) -> list[Path]:
        """The other paths over the same address."""
        return [p for p in self._paths.values() if p.address == path.address and p is not path]

    def under(self, hostname: str) -> list[Path]:
        """The paths of one name."""
        return [path for path in self._paths.values() if path.hostname == hostname]

    def refused(self, hostname: str) -> frozenset[str]:
        """The addresses of a name that showed a certificate which does not verify for it."""
        return frozenset(
            p.address for p in self.under(hostname) if p.verdict in CERTIFICATE_REFUSED
        )

    def to_resolve(self, now: float, alternates_every: float) -> list[str]:
        """The names to ask resolvers about now: the own one always, alternates now and then, and
        always while a name is cut off: they are needed at every address that it has by now."""
        cut = any(map(is_cut, self._paths.values()))
        return [
            name.hostname
            for name in self.names.values()
            if cut or name.place == 0 or now - name.resolved_at >= alternates_every
        ]

    def resolved(
        self,
        hostname: str,
        addresses: Iterable[str],
        now: float,
        trusted: Container[str] | None = None,
    ) -> None:
        """A name has these addresses; the ones that it had are kept for a while.

        `trusted` are those that nobody can have forged; None if nobody else was asked.
        """
        name = self.names.get(hostname)
        if name is None:
            return
        name.resolved(now)
        for address in list(addresses)[:MAX_PER_NAME]:
            way = Way(hostname, address)
            path = self._paths.get(way)
            if path is None:
                path = Path(hostname, address, name.place)
                if len(self.names) > 1:
                    self._doubt_as_its_name(path, now)
                self._paths[way] = path
                if (apply := self._awaited.pop(way, None)) is not None:
                    apply(path)
            path.given(now, trusted is None or address in trusted)
        self._forget(hostname, now)

    def _doubt_as_its_name(self, path: Path, now: float) -> None:
        """Take a new path to be cut off where others under its name are, for one hold at most: to
        show the name might shut one more address for the others."""
        known = [other for other in self.under(path.hostname) if is_cut(other)]
        if known:
            path.doubted(now, known[0].verdict)
        held = [other.held_until for other in known if other.standing is Standing.held]
        if held:
            path.put_aside(min(max(held), now + self.pace.residual_hold))

    def recall(self, aside: Iterable[Aside], wall: float, now: float) -> None:
        """Leave those alone that were left alone before this start, also where it is not known yet
        that there are such paths, and for one hold at least: until then it is seen what else works.
        `wall` and `now` are this moment, in seconds since the epoch and on our clock."""
        for each in aside:
            until = now + max(each.until - wall, self.pace.residual_hold)
            way, recalled = Way(each.hostname, each.address), partial(_recalled, each, until)
            if (path := self._paths.get(way)) is not None:
                recalled(path)
            else:
                self._awaited[way] = recalled

    def once_known(self, way: Way, action: Callable[[Path], None]) -> None:
        """Apply this to a path of a known name once its address is known; of several for one path
        the first, for it is the oldest that is known to have failed."""
        if way.hostname in self.names and len(self._awaited) < MAX_NAMES * MAX_PER_NAME:
            self._awaited.setdefault(way, action)

    def judged(
        self, hostname: str, finding: Finding, observations: Iterable[DnsObservation]
    ) -> None:
        """Meaning of the answers of its resolvers."""
        if (name := self.names.get(hostname)) is not None:
            name.judged(finding, observations)

    def forged(self, hostname: str) -> frozenset[str]:
        """The addresses that were given in place of those of a name."""
        name = self.names.get(hostname)
        return name.forged if name is not None else frozenset()

    def lied_about(self, hostname: str, forged: frozenset[str]) -> None:
        """The answers about a name have shown these addresses to be forged."""
        if (name := self.names.get(hostname)) is not None:
            name.lied_about(forged)

    def _forget(self, hostname: str, now: float) -> None:
        of_name = sorted(self.under(hostname), key=lambda path: path.seen)
        surplus = len(of_name) - MAX_PER_NAME
        for position, path in enumerate(of_name):
            limit = REMEMBER if path.standing is Standing.held else FORGET
            if position < surplus or now - path.seen > limit:
                del self._paths[path.way]

    def plan(
        self,
        now: float,
        shut: Callable[[Path], bool],
        doubtful: Callable[[Path], bool],
        spacing: float,
    ) -> Plan:
        """Return the probes of a cycle now.

        `shut` are paths that nobody may touch, `doubtful` those whose name may only be shown now
        and then; `spacing` is the time between two handshakes over a path that works.
        """
        ordered = in_order(self._paths.values())
        untouched = [path for path in ordered if not shut(path)]
        free = [path for path in untouched if not path.is_held(now)] or untouched
        allowed = one_of_each_cut_name([path for path in free if not doubtful(path)], ordered)
        due = [path for path in allowed[1:] if is_due(path, now, spacing)]
        due.sort(key=lambda path: path.last_try)
        return Plan(
            tuple(path.way for path in diverse(allowed)),
            tuple(path.way for path in due[:MAX_CHECKED]),
        )

    def trust_slow_names(self, cut: Path) -> None:
        """A name was cut off: others that have kept requests waiting, and no more, lead round it at
        other addresses. A slow machine shows that of any name."""
        for other in self._paths.values():
            beyond = other.hostname != cut.hostname and other.address != cut.address
            if beyond and not any(same.fails for same in self.under(other.hostname)):
                other.trusted_again()

    def may_work_under_another_name(self, path: Path) -> bool:
        """True if a path works, or may, under another name and over another address."""
        return any(
            other.standing in HOPEFUL
            and other.hostname != path.hostname
            and other.address != path.address
            for other in self._paths.values()
        )

    def may_work_elsewhere(self, path: Path) -> bool:
        """True if a path over another address works, or has not been tried."""
        return any(
            other.address != path.address and other.standing in HOPEFUL
            for other in self._paths.values()
        )

    def works_without(self, address: str, port: int) -> bool:
        """True if a path works that does not lead to this endpoint."""
        ok = (path for path in self._paths.values() if path.standing is Standing.ok)
        return any((path.address, self.mirror.port) != (address, port) for path in ok)

    def works_elsewhere(self, path: Path) -> bool:
        """True if a path over another address works."""
        return self.works_without(path.address, self.mirror.port)

    def draw(self, now: float) -> str | None:
        """Bring one more name of the wildcard into use, if none of the present ones works."""
        names = names_of(self.mirror)[:MAX_NAMES]
        if len(self.names) >= len(names) or self._works():
            return None
        name = names[len(self.names)]
        early = now - self._drawn_at < self.pace.new_name_interval
        if early or parent_of(name) in suspected_parents(self._blocked()):
            return None
        self._drawn, self._drawn_at = self._drawn + 1, now
        self.configure(self.mirror, now)
        return name

    def _works(self) -> bool:
        standings = {path.standing for path in self._paths.values()}
        return not standings or not standings.isdisjoint(HOPEFUL)

    def _blocked(self) -> dict[str, bool]:
        """The names that were tried; True if blocked."""
        return {
            hostname: all(path.verdict in BLOCKS for path in paths)
            for hostname in self.names
            if (paths := self.under(hostname))
        }


def _recalled(aside: Aside, until: float, path: Path) -> None:
    path.judged(aside.verdict, aside.level, aside.evidence)
    path.put_aside(until)


def diverse(paths: Sequence[Path]) -> list[Path]:
    """The best path, then only such as have another address, under another name if there is one.

    Whatever was wrong with the first, it may have shut its address for every name.
    """
    chosen: list[Path] = []
    waiting = list(paths)
    while waiting:
        names = [path.hostname for path in chosen]
        best = min(waiting, key=lambda path: names.count(path.hostname))
        chosen.append(best)
        waiting = [path for path in waiting if path.address != best.address]
    return chosen


def one_of_each_cut_name(paths: Sequence[Path], known: Sequence[Path]) -> list[Path]:
    """These paths without the further ones of names that were cut off and work nowhere.

    Each of them could shut another address; so the one is kept on which most is known. Where that
    one may not be touched before it is known how it has failed, none is: of all the `known` paths
    it may be the one that was shut by the name.
    """
    working = {path.hostname for path in paths if path.standing is Standing.ok}
    best: dict[str, Path] = {}
    for path in known:
        if is_cut(path) and (path in paths or path.standing is Standing.suspected):
            before = best.get(path.hostname)
            if before is None or _proof(path) > _proof(before):
                best[path.hostname] = path
    return [p for p in paths if p.hostname in working or not is_cut(p) or p is best[p.hostname]]


def _proof(path: Path) -> tuple[float, float]:
    """Rank of what shows that the name is cut off here: trials, then the time of the last."""
    return path.confidence.net, path.failed_at


def is_due(path: Path, now: float, spacing: float) -> bool:
    """True if to shake hands over a path: at once if it is in doubt, else when it was quiet."""
    if path.standing in (Standing.ok, Standing.held):
        return now - path.last_try >= spacing
    return True
