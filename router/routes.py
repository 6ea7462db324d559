"""From what is known of a mirror to the paths that a new connection may take.

Made once for a mirror and snapshot, never for a request. Only what the operator has configured is
in them: the mirror's own name and its alternates, over addresses that were pinned or resolved.
"""

from __future__ import annotations

from collections.abc import Mapping

from monitor.config import MirrorConfig
from monitor.health.board import MirrorHealth, endpoint_of
from router.choice.paths import Route

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
        usable = [path for path in health.paths if path.usable]
        found = [(path.hostname, path.address, path.latency) for path in usable]
    else:
        names = (mirror.host, *mirror.hostnames)
        found = [(name, address, None) for name in names for address in mirror.addresses]
    return tuple(
        route_to(mirror, host, address, quarantine, latency) for host, address, latency in found
    )


def route_to(
    mirror: MirrorConfig,
    host: str,
    address: str,
    quarantine: Mapping[str, float],
    latency: float | None = None,
) -> Route:
    """One path; `latency` in milliseconds."""
    return Route(
        host=host,
        address=address,
        port=mirror.port,
        authority=mirror.authority_of(host).encode(),
        patience=_patience(latency),
        quarantined_until=quarantine.get(endpoint_of(address, mirror.port), 0.0),
    )


def _patience(latency: float | None) -> float:
    usual = (latency or 0.0) / 1000
    return min(max(PATIENCE, _FAR * usual), MOST_PATIENCE)
