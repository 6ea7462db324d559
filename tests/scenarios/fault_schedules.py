"""Random courses of faults for the simulated gateway, and what must hold whatever they are."""

from __future__ import annotations

import random
from dataclasses import dataclass

from hypothesis import strategies as st

from benchmarks.simulation import mirrors as m
from benchmarks.simulation.gateway import Gateway
from benchmarks.simulation.mirrors import NEVER, Behaviour, Mirror
from benchmarks.simulation.way import CHAT, Job
from router.balancing.config import BalanceConfig, EjectionConfig, RetryConfig
from router.balancing.load import Kind
from router.balancing.retry import Repeat
from router.forwarding.config import RouterConfig

BEHAVIOURS: dict[str, Behaviour] = {
    "healthy": m.healthy(),
    "slow": m.healthy(12.0),
    "flaky": m.flaky(0.4),
    "cutting": m.cutting(0.5),
    "limited": m.limited(1),
    "limited for unknown time": m.limited(0, None),
    "refused": m.refused,
    "blackhole": m.blackhole,
    "reset": m.reset,
    "fast 500": m.fast_500,
    "fast 503": m.fast_503,
    "error in 200": m.error_in_200,
    "hung": m.hung,
    "hung after head": m.hung_after_head,
}
_Job = tuple[float, Kind, Repeat, float, float]
KINDS = (CHAT, Kind("chat"), Kind("chat", reasoning=True, stream=True), Kind(""))


@dataclass(frozen=True)
class Schedule:
    """Events at the mirrors, requests of clients, and settings of the gateway."""

    scripts: tuple[tuple[tuple[float, str], ...], ...]
    """Per mirror: for how long it does what."""
    jobs: tuple[_Job, ...]
    """Seconds after the one before, kind, whether it may be repeated, seconds of stream, and the
    client's patience."""
    workers: int
    config: RouterConfig
    seed: int

    def gateway(self) -> Gateway:
        """A gateway in front of these mirrors."""
        farm = []
        for number, script in enumerate(self.scripts):
            now, parts = 0.0, list[tuple[float, Behaviour]]()
            for seconds, name in script:
                parts.append((now, BEHAVIOURS[name]))
                now += seconds
            farm.append(Mirror(f"m{number}", *parts, (now, m.healthy())))
        return Gateway(farm, workers=self.workers, seed=self.seed, config=self.config)

    def play(self) -> Gateway:
        """Run it to its end."""
        gateway, now = self.gateway(), 0.0
        for later, kind, repeat, seconds, patience in self.jobs:
            now += later
            gateway.submit(Job(now, seconds, kind, repeat, patience))
        gateway.run(now)
        return gateway


SCRIPTS = st.lists(
    st.tuples(st.sampled_from([0.5, 3.0, 10.0, 40.0]), st.sampled_from(sorted(BEHAVIOURS))),
    min_size=1,
    max_size=4,
).map(tuple)


def _jobs(count: int, pace: float, seed: int) -> tuple[_Job, ...]:
    """Drawn by number, as Hypothesis itself prefers short lists, in which nothing is ejected."""
    rng = random.Random(seed)
    return tuple(
        (
            rng.choice((0.0, pace, pace, 3.0 * pace)),
            rng.choice(KINDS),
            rng.choice(tuple(Repeat)),
            rng.choice((0.0, 1.0, 12.0)),
            rng.choice((NEVER, NEVER, NEVER, NEVER, 0.3, 15.0)),
        )
        for _ in range(count)
    )


JOBS = st.builds(_jobs, st.integers(1, 80), st.sampled_from([0.05, 0.5, 2.0]), st.integers(0, 9999))
CONFIGS = st.builds(
    RouterConfig,
    retry=st.builds(
        RetryConfig,
        attempts=st.integers(1, 5),
        ambiguous=st.sampled_from(["once", "never"]),
        budget=st.sampled_from([0.0, 0.2, 1.0]),
    ),
    balance=st.builds(BalanceConfig, policy=st.sampled_from(["p2c", "priority"])),
    ejection=st.builds(EjectionConfig, max_percent=st.sampled_from([0, 50, 100])),
)
SCHEDULES = st.builds(
    Schedule,
    scripts=st.lists(SCRIPTS, min_size=1, max_size=5).map(tuple),
    jobs=JOBS,
    workers=st.integers(1, 4),
    config=CONFIGS,
    seed=st.integers(0, 1000),
)


def check(schedule: Schedule) -> None:
    """Play it. That nothing is attempted after content, and nothing sent twice that must be sent
    once, is looked at on the way (`BrokenPromise`)."""
    gateway = schedule.play()
    rules = schedule.config.retry
    assert gateway.finished == len(gateway.jobs)
    for job in gateway.jobs:
        assert job.outcome
        assert len(job.attempts) <= rules.attempts
        assert len({name for _, name in job.attempts}) == len(job.attempts)
        assert job.repeat is not Repeat.never or job.sent <= 1
        assert job.ambiguous <= (rules.ambiguous == "once" and job.repeat is Repeat.once)
        assert (job.outcome == "done") <= (job.first_content is not None)
    assert [mirror.in_flight for mirror in gateway.mirrors] == [0] * len(gateway.mirrors)
    assert {seat.load.in_flight for seat in gateway.seats} == {0}
    assert gateway.leases.in_use == 0
    assert len(gateway.leases.ejected) < len(gateway.mirrors)
