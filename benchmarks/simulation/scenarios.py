"""Scenarios of the mirrors, and the results of a run under them."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from benchmarks.simulation import mirrors as m
from benchmarks.simulation.gateway import Choosers, Gateway
from benchmarks.simulation.mirrors import Behaviour, Mirror, Seat
from benchmarks.simulation.rivals import LeastInFlight, PeakEwma, Rival, RoundRobin
from benchmarks.simulation.way import Job
from router.balancing.config import EjectionConfig
from router.forwarding.config import RouterConfig

BAD_FROM = 30.0
SETTLED = 5.0
"""Seconds after the change from which shares are taken."""
Script = Sequence[tuple[float, Behaviour]]


@dataclass(frozen=True)
class Scenario:
    """Some mirrors that change, among others that do well."""

    name: str
    what: str
    scripts: Sequence[Script]
    """Of the mirrors that change."""
    mirrors: int = 4
    workers: int = 2
    rate: float = 20.0
    seconds: float = 150.0

    def run(self, policy: Policy, seed: int) -> Gateway:
        """Run it to its end."""
        names = (f"m{number}" for number in range(self.mirrors))
        usual: Script = [(0.0, m.healthy())]
        scripts = [*self.scripts, *[usual] * (self.mirrors - len(self.scripts))]
        farm = [Mirror(name, *script) for name, script in zip(names, scripts, strict=True)]
        gateway = Gateway(
            farm,
            workers=self.workers,
            seed=seed,
            config=policy.config,
            choosers=policy.choosers,
        )
        gateway.offer(self.rate, self.seconds)
        gateway.run(self.seconds)
        return gateway


@dataclass(frozen=True)
class Policy:
    """The selection policy."""

    name: str
    choosers: Choosers | None = None
    config: RouterConfig | None = None


def _rival(kind: type[Rival]) -> Choosers:
    def make(seats: Sequence[Seat], config: RouterConfig, rng: random.Random) -> Rival:
        return kind(seats, config.retry.budget, rng)

    return make


OURS = Policy("mirrorgate")
POLICIES = (
    OURS,
    Policy("cost alone", config=RouterConfig(ejection=EjectionConfig(max_percent=0))),
    Policy("round robin", _rival(RoundRobin)),
    Policy("least in flight", _rival(LeastInFlight)),
    Policy("classic peak EWMA", _rival(PeakEwma)),
)


def bad(behaviour: Behaviour) -> Script:
    """Well for half a minute, then this."""
    return [(0.0, m.healthy()), (BAD_FROM, behaviour)]


def _outage(behaviour: Behaviour, until: float) -> Script:
    return [(0.0, m.healthy()), (BAD_FROM, behaviour), (until, m.healthy(capacity=40.0))]


SCENARIOS = (
    Scenario("all well", "nothing changes", [bad(m.healthy())]),
    Scenario("fast failing", "500 after 5 ms", [bad(m.fast_500)]),
    Scenario("overloaded", "503 after 5 ms", [bad(m.fast_503)]),
    Scenario("flaky", "500 for one in five", [bad(m.flaky(0.2))]),
    Scenario("slow", "three times slower", [bad(m.slow)]),
    Scenario("fast", "a third of the others' latency", [bad(m.healthy(1 / 3))]),
    Scenario("hung", "no response", [bad(m.hung)]),
    Scenario("hung after head", "a response head, then nothing", [bad(m.hung_after_head)]),
    Scenario("refused", "connections refused", [bad(m.refused)]),
    Scenario("blackhole", "connections time out after 3 s", [bad(m.blackhole)]),
    Scenario("reset", "reset after the request was sent", [bad(m.reset)]),
    Scenario("error in 200", "an error inside a good response", [bad(m.error_in_200)]),
    Scenario("cut", "30 % of the streams cut", [bad(m.cutting(0.3))]),
    Scenario("flapping", "500 for 20 s, well for 20 s", [m.flapping(20.0, 150.0, m.fast_500)]),
    Scenario("limited", "429 beyond 3 at a time", [bad(m.limited(3))]),
    Scenario("half fail", "two of four fail", [bad(m.fast_500), bad(m.hung)]),
    Scenario("two mirrors", "one of two hangs", [bad(m.hung)], mirrors=2),
    Scenario("outage", "30 s of 500, then well", [_outage(m.fast_500, 60.0)]),
    Scenario(
        "many",
        "200 mirrors, 16 workers, 200 requests/s: 20 hang, 20 fail",
        [bad(m.hung)] * 20 + [bad(m.fast_500)] * 20,
        mirrors=200,
        workers=16,
        rate=200.0,
        seconds=90.0,
    ),
)


@dataclass(frozen=True, slots=True)
class Figures:
    """Results of a run in the time after the change."""

    share: float
    """Attempts on the mirrors that changed, of all."""
    p50: float
    p99: float
    """Seconds to first content, of the requests that got some."""
    failed: float
    """Requests that ended with an error, of all."""
    wasted: float
    """Attempts that failed, of all."""
    ambiguous: float
    """Repeats of what may have been done, of all requests."""


def figures(scenario: Scenario, runs: Sequence[Gateway]) -> Figures:
    """Combine the results of these runs."""
    changed = {f"m{number}" for number in range(len(scenario.scripts))}
    jobs = [job for run in runs for job in run.jobs if job.began >= BAD_FROM]
    late = [name for job in jobs for at, name in job.attempts if at >= BAD_FROM + SETTLED]
    firsts = sorted(job.first_content for job in jobs if job.first_content is not None)
    attempts = sum(len(job.attempts) for job in jobs)
    return Figures(
        share=sum(name in changed for name in late) / len(late),
        p50=firsts[len(firsts) // 2],
        p99=firsts[int(len(firsts) * 0.99)],
        failed=sum(job.outcome != "done" for job in jobs) / len(jobs),
        wasted=sum(len(job.failures) for job in jobs) / attempts,
        ambiguous=sum(job.ambiguous for job in jobs) / len(jobs),
    )


def over_time(
    runs: Sequence[Gateway], value: Callable[[Job, float, str], bool], step: float
) -> list[tuple[float, float]]:
    """The share of attempts for which `value` holds, for every `step` seconds."""
    all_of, some_of = Counter[int](), Counter[int]()
    for run in runs:
        for job in run.jobs:
            for at, name in job.attempts:
                all_of[int(at / step)] += 1
                some_of[int(at / step)] += value(job, at, name)
    return [(slot * step, some_of[slot] / all_of[slot]) for slot in sorted(all_of)]
