"""The measurement: every proxy does the same work in turn, and again, in another order.

Between rounds the machine may have grown faster or slower; within one round all are hit alike, and
the order changes so that no proxy always follows the same one. Each measurement starts a fresh
proxy, warms it, and takes the difference of its CPU time over the work.
"""

import resource
from collections.abc import Callable, Sequence

from benchmarks.accounting import Usage
from benchmarks.cores import Cores
from benchmarks.load.result import LoadFailed, Result
from benchmarks.proxies.base import DidNotStart, Proxy, Running
from benchmarks.summary import Sample
from benchmarks.upstream import setting_for
from benchmarks.workloads import Workload

Tell = Callable[[str], None]


def rotated(proxies: Sequence[Proxy], turn: int) -> list[Proxy]:
    """Return the proxies beginning with another one each turn."""
    start = turn % len(proxies) if proxies else 0
    return [*proxies[start:], *proxies[:start]]


def measure(
    workload: Workload,
    proxies: Sequence[Proxy],
    rounds: int,
    seconds: float,
    cores: Cores,
    tell: Tell,
) -> list[Sample]:
    """Return a sample for each proxy and round; one that failed says why."""
    samples = []
    for turn in range(rounds):
        for proxy in rotated(proxies, turn):
            sample = _sample(workload, proxy, turn, seconds, cores)
            samples.append(sample)
            tell(f"{workload.name} {turn + 1}/{rounds} {proxy.name}: {sample.told()}")
    return samples


def allow_many_connections() -> None:
    """Raise the soft limit of open files to the hard one; what is started inherits it."""
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def _sample(workload: Workload, proxy: Proxy, turn: int, seconds: float, cores: Cores) -> Sample:
    try:
        with setting_for(workload, cores) as setting, proxy.running(setting) as running:
            before, after, result = _work(workload, running, seconds)
            started = running.started
    except (LoadFailed, DidNotStart) as failure:
        return Sample.failed(workload, proxy.name, turn, str(failure))
    return Sample.of(workload, proxy.name, turn, result, before, after, started)


def _work(workload: Workload, running: Running, seconds: float) -> tuple[Usage, Usage, Result]:
    load = workload.load()
    load.warm(running.port)
    before = running.usage()
    result = load.run(running.port, seconds, lambda: running.usage().resident)
    return before, running.usage(), result
