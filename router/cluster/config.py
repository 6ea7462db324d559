"""The settings of a cluster."""

from __future__ import annotations

import re
from dataclasses import dataclass

from monitor.common import validators
from monitor.common.settings import setting
from router.cluster.address import fault_of

TOLD_BY_ALL = "(cluster)"
"""In place of a vantage, where something is kept that all instances tell as one."""


def _prefix(text: str) -> str | None:
    fine = re.fullmatch(r"[A-Za-z0-9_.:-]{1,64}", text)
    return None if fine else f'expected 1 to 64 letters, digits and "_.:-", got "{text}"'


@dataclass(frozen=True, slots=True)
class ClusterConfig:
    """Several instances that hold the same limits together."""

    url: str = setting(
        "",
        'Valkey or Redis, as "redis://:PASSWORD@HOST:6379/0", "redis+sentinel://HOST,HOST/MASTER" '
        'or "redis+cluster://HOST,HOST"; empty: no cluster. All instances use one PostgreSQL store',
        check=validators.optional(fault_of),
        restart=True,
        secret=True,
    )
    prefix: str = setting(
        "mirrorgate",
        "names in it begin with this: one for each cluster",
        check=_prefix,
        restart=True,
    )
    hosts: int = setting(
        0,
        "instances that are expected: limits are shared evenly among at least so many",
        check=validators.between(0, 100),
        restart=True,
    )
