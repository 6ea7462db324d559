"""Settings that are allowed, but dangerous together."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator

from router.admission.config import LimitsConfig
from router.admission.keys import Caller
from router.main.sections import Config


def cautions(config: Config) -> list[str]:
    """A sentence on each, for the log, `mirrorgate check` and `mirrorgate status`."""
    return list(_of_anonymous_callers(config)) if Caller.anonymous in config.router.callers else []


def _of_anonymous_callers(config: Config) -> Iterator[str]:
    if not _limited(config.limits):
        yield (
            "router.callers has anonymous and [limits] are off: one client can spend all of the "
            "mirrors' keys: set limits.connections and limits.requests_per_second"
        )
    if not any(mirror.api_key for mirror in config.mirrors if mirror.enabled):
        yield (
            "router.callers has anonymous, but no mirror has an api_key: who sends no key is "
            "refused: set mirrors.api_key"
        )


def _limited(limits: LimitsConfig) -> bool:
    exempt = any(ipaddress.ip_network(n, strict=False).prefixlen == 0 for n in limits.allow)
    return bool(limits.connections or limits.requests_per_second) and not exempt
