"""The names of a mirror: its own, and alternates that serve the same content.

An alternate is used when the mirror's own name is blocked. Only names that the operator has
configured are ever used, and always in the same order.
"""

from __future__ import annotations

from monitor.common.config import MirrorConfig

MAX_NAMES = 64


def names_of(mirror: MirrorConfig) -> tuple[str, ...]:
    """All names of a mirror, its own first, then alternates in the order of use; at most 64."""
    wild = (mirror.wildcard.replace("{n}", str(n + 1)) for n in range(mirror.wildcard_count))
    listed = (name.lower().rstrip(".") for name in (*mirror.hostnames, *wild))
    return tuple(dict.fromkeys((mirror.host, *listed)))[:MAX_NAMES]
