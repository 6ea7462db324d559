"""Which path of a mirror is tried next, after what became of others for the same request."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

CUT = frozenset({"connection_reset", "connection_aborted", "eof_error", "generic_timeout_error"})
"""How a TLS handshake ends that something on the way may have cut off because of its name."""
SLOW = "slow"
"""It had not failed when another path won."""


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


@dataclass(frozen=True, slots=True)
class Trouble:
    """A path that has failed, or has kept the request waiting for too long."""

    route: Route
    operation: str
    failure: str

    @property
    def lies_in_the_answer(self) -> bool:
        """Whether a server answered, with something that another name may mend."""
        return (
            self.operation == "tls_handshake" and self.failure not in CUT and (self.failure != SLOW)
        )


def next_route(waiting: Sequence[Route], troubles: Iterable[Trouble]) -> Route | None:
    """The path to try next, None when none of them can be expected to work.

    Another address always: whatever cut off one name there may cut off every name for minutes, and
    what is wrong with an address is wrong for all names. Where the name itself may be the reason,
    another name comes first. A server that refused only the name may be asked for another one.
    """
    seen = list(troubles)
    addresses = {t.route.address for t in seen if not t.lies_in_the_answer}
    names = {t.route.host for t in seen if t.operation == "tls_handshake" or t.failure == SLOW}
    fresh = [route for route in waiting if route.address not in addresses]
    return min(fresh, key=lambda route: route.host in names, default=None)
