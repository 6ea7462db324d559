"""Handshake checks of other paths, in what is left of the time of one cycle."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import pytest

from monitor.common.config import MirrorConfig, MonitorConfig, MonitorTimeouts
from monitor.diagnosis.classify import judge
from monitor.diagnosis.finding import Level
from monitor.diagnosis.timing import NORMAL
from monitor.engine.paths import MirrorPaths
from monitor.engine.probe_cycle import ProbeCycle, ProbeCycles
from monitor.engine.prober import Asked, Probe, Prober
from monitor.engine.scheduler import ProbeTiming
from monitor.engine.sni_budget import SniBudget
from monitor.health.paths import Path
from monitor.health.quarantine import Quarantine
from monitor.probes.capacity import NoCapacity
from monitor.probes.opening import Budget
from monitor.probes.results import (
    TIMED_OUT,
    DnsObservation,
    DnsReply,
    Operation,
    PathResult,
    StepResult,
    Way,
)

MIRROR = MirrorConfig(
    "hk", "https://own.test", hostnames=("alt.test",), addresses=("192.0.2.1", "192.0.2.2")
)
TIMING = ProbeTiming.of(MonitorConfig(), NORMAL)
TIMEOUTS = MonitorTimeouts()
LATER, NEVER = float("inf"), float("-inf")


class Checker(Prober):
    """Checks handshakes as it is told; its time may be over then."""

    def __init__(
        self,
        failure: str | None,
        last: int = 99,
        capacity: bool = True,
        meanwhile: Callable[[Way], None] = lambda way: None,
    ) -> None:
        super().__init__()
        self._meanwhile = meanwhile
        self.checked: list[Way] = []
        self._failure = failure
        self._last = last
        self._has_capacity = capacity

    async def check_handshake(
        self, mirror: MirrorConfig, way: Way, timeouts: MonitorTimeouts, budget: Budget
    ) -> PathResult:
        self.checked.append(way)
        self._meanwhile(way)
        if not self._has_capacity:
            raise NoCapacity
        if len(self.checked) >= self._last:
            budget.ends = NEVER
        step = StepResult(Operation.connect, self._failure, 0.1, way.address)
        return PathResult(way.address, (step,), way.hostname)


def _cycles(
    prober: Prober,
    is_busy: Callable[[str], bool] = lambda what: False,
    is_left_out: Callable[[str, Path], bool] = lambda mirror, path: False,
) -> ProbeCycles:
    quarantine, sni_budget = Quarantine(NORMAL), SniBudget(NORMAL)
    return ProbeCycles(prober, quarantine, sni_budget, is_busy, is_left_out, lambda: 1000.0)


async def _check(
    prober: Checker,
    ends: float,
    is_busy: Callable[[str], bool] = lambda what: False,
    paths: MirrorPaths | None = None,
) -> tuple[PathResult, ...]:
    cycles = _cycles(prober, is_busy)
    paths = paths or MirrorPaths(MIRROR, NORMAL, 0.0)
    resolution = StepResult(Operation.resolve, None, 0.0, addresses=MIRROR.addresses)
    probe = Probe(resolution, (), judge(resolution, ()))
    cycle = ProbeCycle(probe, Asked((), {}), Budget(ends))
    return await cycles.check_others(paths, cycle, TIMEOUTS, TIMING)


async def test_all_other_paths_are_checked_while_there_is_time():
    prober = Checker(None)
    checked = await _check(prober, LATER)
    assert len(checked) == len(prober.checked) == 3


async def test_a_name_that_is_cut_off_while_others_are_checked_is_not_shown_any_more():
    paths, examined = MirrorPaths(MIRROR, NORMAL, 0.0), set[str]()

    def cut(way: Way) -> None:
        if way.hostname == "alt.test":
            examined.add(way.hostname)
            for path in paths.under(way.hostname):
                path.doubted(1000.0, "tls_reset")

    prober = Checker(None, meanwhile=cut)
    await _check(prober, LATER, examined.__contains__, paths)
    assert [way.hostname for way in prober.checked] == ["own.test", "alt.test"]


async def test_nothing_is_checked_when_the_probe_has_taken_all_of_the_time():
    prober = Checker(TIMED_OUT)
    assert await _check(prober, NEVER) == ()
    assert prober.checked == []


@pytest.mark.parametrize(("failure", "kept"), [(TIMED_OUT, 0), ("connection_refused", 1)])
async def test_a_check_that_the_end_of_the_time_cut_short_is_no_evidence(failure: str, kept: int):
    prober = Checker(failure, last=1)
    assert len(await _check(prober, LATER)) == kept
    assert len(prober.checked) == 1


async def test_a_mirror_without_capacity_for_a_check_keeps_what_the_probe_found():
    prober = Checker(None, capacity=False)
    assert await _check(prober, LATER) == ()


class Resolving(Prober):
    """Resolves the name to what it is told, and tries nothing."""

    def __init__(self) -> None:
        super().__init__()
        self.replies: tuple[DnsReply, ...] = ()
        self.asked: list[tuple[Way, ...]] = []

    async def resolve(self, mirror: MirrorConfig, timeout: float, hostname: str = "") -> StepResult:
        seen = DnsObservation("system", hostname, None, 0.1, self.replies)
        return StepResult(
            Operation.resolve, None, 0.1, addresses=seen.addresses, hostname=hostname, dns=(seen,)
        )

    async def ask(self, mirror: MirrorConfig, ways: Sequence[Way], *_: object) -> Asked:
        self.asked.append(tuple(ways))
        return Asked((), {})


async def test_an_address_that_was_seen_to_be_forged_is_known_when_it_comes_alone():
    prober, own, true, false = Resolving(), "own.test", "9.9.9.1", "8.7.198.45"
    cycles = _cycles(prober)
    paths = MirrorPaths(MirrorConfig("hk", f"https://{own}"), NORMAL, 0.0)
    paths.resolved(own, [true, false], 0.0)
    prober.names.verified(own, true)
    stranger = paths.path(Way(own, false))
    assert stranger is not None
    stranger.judged("ssl_invalid_hostname", "confirmed", ())
    found = []
    for addresses in ((false, true), (false,)):
        prober.replies = tuple(DnsReply("A", 0.1, addresses=(each,)) for each in addresses)
        await cycles.take(paths, TIMEOUTS, TIMING)
        finding = paths.names[own].finding
        found.append((finding.verdict, finding.level))
    assert found == [("dns_injection", Level.confirmed), ("dns_poisoned", Level.confirmed)]


async def test_a_path_that_is_left_out_for_the_sake_of_others_is_not_probed():
    prober = Resolving()
    paths = MirrorPaths(replace(MIRROR, hostnames=()), NORMAL, 0.0)
    for left_out in (lambda mirror, path: mirror == "hk", lambda mirror, path: False):
        cycle = await _cycles(prober, is_left_out=left_out).take(paths, TIMEOUTS, TIMING)
        assert cycle.touched is bool(prober.asked[-1])
    assert [len(ways) for ways in prober.asked] == [0, 2]
