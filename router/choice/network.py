"""What the monitor's probes say about the way to a mirror, as a term of its cost.

Probes go on while nobody sends requests, so a mirror that became slow to reach is known before
somebody has to find out, and traffic need not be sent anywhere only to learn.
"""

from __future__ import annotations

from collections.abc import Mapping
from statistics import median

PART = 0.25
"""What a handshake that takes twice the pool's median adds: a quarter of the usual latency."""
MOST = 2.0


def network_terms(tls_ms: Mapping[str, float | None]) -> dict[str, float]:
    """The term of every mirror, from the milliseconds of its last TLS handshake, None where that
    is not known: how much it is slower than the median of all, never a bonus, 2 at most."""
    known = [ms for ms in tls_ms.values() if ms is not None]
    usual = median(known) if known else 0.0
    if usual <= 0.0:
        return dict.fromkeys(tls_ms, 0.0)
    return {
        mirror: 0.0 if ms is None else min(max(PART * (ms / usual - 1.0), 0.0), MOST)
        for mirror, ms in tls_ms.items()
    }
