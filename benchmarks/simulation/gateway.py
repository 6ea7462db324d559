"""Workers and control, with messages that take their time, in front of scripted mirrors."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from functools import partial

from benchmarks.simulation.mirrors import Mirror, Seat
from benchmarks.simulation.rivals import Chooser
from benchmarks.simulation.way import Job, Way, Worker
from benchmarks.simulation.world import World
from router.balancing.breaker_messages import Word, from_message, to_message
from router.balancing.pool import Pool
from router.balancing.timeouts import Classes
from router.balancing.trial_leases import Leases
from router.forwarding.config import RouterConfig

MESSAGE_SECONDS = 0.02
"""A word between a worker and control."""
PROBE_SECONDS = 5.0

Choosers = Callable[[Sequence[Seat], RouterConfig, random.Random], Chooser]


class Gateway:
    """All workers. With `choosers` a rival chooses, and there is no control."""

    def __init__(
        self,
        mirrors: Sequence[Mirror],
        *,
        workers: int = 2,
        seed: int = 1,
        config: RouterConfig | None = None,
        choosers: Choosers | None = None,
    ) -> None:
        self.world = World()
        self.jobs: list[Job] = []
        self.finished = 0
        self.mirrors = mirrors
        self.config = config or RouterConfig()
        self.rng = random.Random(seed)
        rules = self.config.ejection
        self.leases = Leases(rules, self.config.timeouts.first_content + 4.0, self.rng)
        names = [mirror.name for mirror in mirrors]
        self.leases.mirrors(dict.fromkeys(names, ""), names)
        self.pools: dict[str, Pool[Seat]] = {}
        self.seats: list[Seat] = []
        self._workers = [self._worker(f"w{n}", choosers) for n in range(workers)]
        self._probes_until = 0.0

    def _worker(self, name: str, choosers: Choosers | None) -> Worker:
        seats = [Seat(mirror, self.config) for mirror in self.mirrors]
        self.seats += seats
        rng = random.Random(self.rng.random())
        chooser: Chooser
        if choosers is not None:
            chooser = choosers(seats, self.config, rng)
        else:
            pool: Pool[Seat] = Pool(self.config, rng, partial(self._to_control, name))
            pool.members(seats)
            self.pools[name] = chooser = pool
        classes = Classes(self.config.timeouts, self.config.classes)
        return Worker(self.world, self.config, chooser, classes, self.rng, self._done)

    def _done(self, job: Job) -> None:
        self.finished += 1

    # Words

    def _to_control(self, worker: str, word: Word) -> None:
        message = to_message(word)
        self.world.after(MESSAGE_SECONDS, lambda: self._control_hears(worker, message))

    def _control_hears(self, worker: str, message: dict[str, object]) -> None:
        word = from_message(message)
        for to, answer in self.leases.hear(worker, word, self.world.now):
            self._to_workers(to, answer)

    def _to_workers(self, to: str | None, word: Word) -> None:
        for name, pool in self.pools.items():
            if to in (None, name):
                self.world.after(MESSAGE_SECONDS, partial(self._worker_hears, pool, word))

    def _worker_hears(self, pool: Pool[Seat], word: Word) -> None:
        pool.hear(word, self.world.now)

    def _probe(self) -> None:
        now = self.world.now
        self.leases.expire(now)
        for mirror in self.mirrors:
            standing = self.leases.probed(mirror.name, mirror.reachable(now), now)
            if standing is not None:
                self._to_workers(None, standing)
        if now < self._probes_until:
            self.world.after(PROBE_SECONDS, self._probe)

    # Requests

    def submit(self, job: Job, worker: int | None = None) -> None:
        """A client's request, at its time."""
        self.jobs.append(job)
        place = self.rng.randrange(len(self._workers)) if worker is None else worker
        self.world.after(job.began - self.world.now, lambda: self._enter(job, place))

    def _enter(self, job: Job, place: int) -> None:
        Way(self._workers[place], job)

    def offer(self, rate: float, until: float) -> None:
        """Steady traffic as clients make it, at random times: four short streams to a long one."""
        now = self.world.now
        while now < until:
            now += self.rng.expovariate(rate)
            self.submit(Job(now, 1.0 if self.rng.random() < 0.8 else 12.0))

    def run(self, until: float) -> None:
        """Let traffic and probes go until then, and everything that was begun to its end."""
        self._probes_until = until
        if self.pools:
            self.world.after(PROBE_SECONDS, self._probe)
        self.world.run()
