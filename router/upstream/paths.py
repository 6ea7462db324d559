"""Paths (a name over an address) that a new connection to a mirror may take, in order."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

from monitor.common.config import MirrorConfig
from monitor.diagnosis.verdicts import CERTIFICATE_REFUSED, NAME_CUT
from monitor.health.snapshot import MirrorHealth, PathHealth, Standing, endpoint_of
from monitor.probes.results import Operation

CUT = frozenset({"connection_reset", "connection_aborted", "eof_error", "generic_timeout_error"})
"""How a TLS handshake ends that something on the way may have cut off because of its name."""
CUT_AT_ONCE = CUT - {"generic_timeout_error"}
HANDSHAKE: Final = Operation.tls_handshake.value
SLOW = "slow"
"""It had not failed when another path won."""
USABLE, UNTESTED, RESERVE, LAST = range(4)
"""Ranks of paths, the best first.

`USABLE`: control recommends it. `UNTESTED`: no probe has tried it; once another name has been cut
off it counts as usable, so that the cut one is not shown at a second address. `RESERVE`: for when
these fail and control does not know it yet, or is not there. `LAST`: it would show a name that is
cut off; for when nothing else is left."""


@dataclass(frozen=True, slots=True)
class Route:
    """One path of a mirror: where to connect, and how to know that it is the right place."""

    host: str
    """What is sent as SNI, and what the certificate is verified for."""
    address: str
    port: int
    authority: bytes
    """What is sent as Host."""
    patience: float = 0.5
    """Seconds for TCP and TLS after which another path is tried beside it."""
    quarantined_until: float = 0.0
    """Until when no connection may be opened to this address and port, seconds since the epoch."""
    rank: int = USABLE
    """`USABLE`, `UNTESTED`, `RESERVE` or `LAST`."""
    proven: bool = False
    """True if a connection came about over it a moment ago."""
    successes: int = field(default=0, compare=False)
    """Connections that came about over it, as control knows; 0 while it doubts the path."""

    @property
    def endpoint(self) -> tuple[str, int]:
        """Its address and port, which other names may share."""
        return (self.address, self.port)

    @property
    def rank_after_a_cut(self) -> int:
        """Its rank once a name of the mirror has been cut off."""
        return USABLE if self.rank == UNTESTED else self.rank


@dataclass(frozen=True, slots=True)
class Trouble:
    """A path that has failed, or has kept the request waiting for too long."""

    route: Route
    operation: str
    """The step that it failed in, as `Operation` names it."""
    failure: str
    """How: a code of a probe's failure, or `SLOW`."""

    @property
    def is_cut(self) -> bool:
        """True if something on the way may have cut off the handshake because of its name."""
        return self.operation == HANDSHAKE and self.failure in CUT

    @property
    def may_be_cut(self) -> bool:
        """True also if another path has overtaken the handshake: it may have been dropped."""
        return self.operation == HANDSHAKE and (self.failure in CUT or self.failure == SLOW)

    @property
    def lies_in_the_answer(self) -> bool:
        """True if a server answered, with something that another name may mend."""
        return self.operation == HANDSHAKE and not self.may_be_cut


def next_route(waiting: Sequence[Route], troubles: Iterable[Trouble]) -> Route | None:
    """The path to try next, None when none of them can be expected to work.

    Another address first: whatever cut off one name there may cut off every name for minutes, and
    what is wrong with an address is wrong for all names. Where the name itself may be the reason,
    another name comes first, also at the same address when there is no other one. A server that
    refused only the name may be asked for another one.
    """
    seen = list(troubles)
    addresses = {t.route.address for t in seen if not t.lies_in_the_answer}
    names = {t.route.host for t in seen if t.operation == HANDSHAKE or t.failure == SLOW}
    unreached = {t.route.address for t in seen if t.operation == "connect"}
    slow = any(t.failure == SLOW for t in seen)
    left = [route for route in waiting if not (slow and route.rank == LAST)]
    fresh = [route for route in left if route.address not in addresses]
    fresh = fresh or [r for r in left if r.host not in names and r.address not in unreached]
    if not names:
        return min(fresh, key=lambda route: route.rank, default=None)
    return min(fresh, key=lambda route: (route.rank_after_a_cut, route.host in names), default=None)


def once_more(troubles: Sequence[Trouble]) -> Route | None:
    """The path to try again when none is left: the last one that was cut off at once although it
    had worked a moment ago, as servers do that reset some of the hellos; None if there is none."""
    return next(
        (
            trouble.route
            for trouble in reversed(troubles)
            if trouble.route.proven
            and trouble.operation == HANDSHAKE
            and trouble.failure in CUT_AT_ONCE
        ),
        None,
    )


PATIENCE = 0.5
"""Seconds for TCP and TLS before another path is tried beside …"""
MOST_PATIENCE = 1.0
"""… and for a path that is known to be far away."""
_FAR = 3.0
"""Times the usual, after which a path is slow."""


def routes_of(
    mirror: MirrorConfig, health: MirrorHealth, quarantine: Mapping[str, float]
) -> tuple[Route, ...]:
    """The paths that live traffic may take, in the order to use; empty: its name is resolved.

    Those that are quarantined are there too, because their time ends without a new snapshot. Before
    anything is known, alternate names come after the own one: they are for requests for which that
    was cut off, in place of showing it at a second address.
    """
    if health.paths:
        known = [path for path in health.paths if path.verdict not in CERTIFICATE_REFUSED]
        ranked = sorted(((_rank(path), path) for path in known), key=lambda pair: pair[0])
        return tuple(
            replace(
                route_to(mirror, path.hostname, path.address, quarantine, path.latency, rank),
                successes=path.successes if path.standing is Standing.ok else 0,
            )
            for rank, path in ranked
        )
    names = (mirror.host, *mirror.hostnames)
    return tuple(
        route_to(mirror, name, address, quarantine)
        for name in names
        for address in mirror.addresses
    )


def _rank(path: PathHealth) -> int:
    if path.usable:
        return USABLE
    if path.standing is Standing.untested:
        return UNTESTED
    return LAST if path.verdict in NAME_CUT else RESERVE


def share_one_address(routes: Sequence[Route]) -> bool:
    """True if several names lead to one address and nothing leads round it: then a name that is cut
    off may take all others with it."""
    return len(routes) > 1 and len({route.endpoint for route in routes}) == 1


def route_to(
    mirror: MirrorConfig,
    host: str,
    address: str,
    quarantine: Mapping[str, float],
    latency: float | None = None,
    rank: int = USABLE,
) -> Route:
    """One path; `latency` in milliseconds."""
    return Route(
        host=host,
        address=address,
        port=mirror.port,
        authority=mirror.authority_of(host).encode(),
        patience=_patience(latency),
        quarantined_until=quarantine.get(endpoint_of(address, mirror.port), 0.0),
        rank=rank,
    )


def _patience(latency: float | None) -> float:
    usual = (latency or 0.0) / 1000
    return min(max(PATIENCE, _FAR * usual), MOST_PATIENCE)
