"""The proxies under test, in the order of the tables."""

from benchmarks.proxies.base import Proxy
from benchmarks.proxies.baselines import Direct, Floor
from benchmarks.proxies.gateways import Litellm, VllmRouter
from benchmarks.proxies.mirrorgate import (
    Mirrorgate,
    MirrorgateCluster,
    MirrorgateCompiled,
    MirrorgateTwo,
)
from benchmarks.proxies.servers import HaproxyProxy, NginxProxy


def proxies() -> dict[str, Proxy]:
    """Return every known proxy by name."""
    known: tuple[Proxy, ...] = (
        Mirrorgate(),
        MirrorgateCompiled(),
        MirrorgateTwo(),
        MirrorgateCluster(),
        NginxProxy(),
        HaproxyProxy(),
        VllmRouter(),
        Litellm(),
        Floor(),
        Direct(),
    )
    return {proxy.name: proxy for proxy in known}


DEFAULT = (
    "mirrorgate",
    "mirrorgate-compiled",
    "nginx",
    "haproxy",
    "vllm-router",
    "floor",
    "direct",
)
"""Compared unless asked otherwise; the others of mirrorgate join where a workload names them."""
