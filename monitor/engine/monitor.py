"""The monitor: the path of a probe, from the schedule to the published snapshot.

schedule → probe cycle → reactions → health machine → board → listeners, and history beside it.
What follows the probe is one synchronous step, so that nobody sees a part of it.
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import replace
from typing import Any

from monitor.common.audit import Actor
from monitor.common.config import MirrorConfig, MonitorConfig, MonitorTimeouts
from monitor.common.metric_registry import MetricRegistry
from monitor.common.tasks import Tasks, cancelled
from monitor.diagnosis.classify import is_unanswered
from monitor.diagnosis.timing import NORMAL, DiagnosisTiming
from monitor.diagnosis.witnesses import doubtful
from monitor.engine import metrics
from monitor.engine.anchors import Anchors, ResolverWitness, Witnesses
from monitor.engine.background_checks import BackgroundChecks, PeriodicChecks
from monitor.engine.block_tests import BlockTestRunner, BlockTests
from monitor.engine.canaries import Canaries
from monitor.engine.mirror_state import MirrorState, identity
from monitor.engine.naming import NameService
from monitor.engine.path_reactions import Reactions
from monitor.engine.probe_cycle import ProbeCycle, ProbeCycles
from monitor.engine.prober import Probe, Prober
from monitor.engine.publisher import Publisher
from monitor.engine.recorder import History
from monitor.engine.scheduler import FEW, Next, ProbeTiming, Schedule, paced, stale_after
from monitor.engine.sni_budget import SniBudget
from monitor.engine.state_evaluation import StateEvaluation
from monitor.engine.traffic import TrafficNews
from monitor.engine.vantages import Vantages
from monitor.health.quarantine import Quarantine
from monitor.health.snapshot import HealthBoard, HealthSnapshot, Override
from monitor.health.vantages import Elsewhere
from monitor.probes.capacity import Capacity, NoCapacity
from monitor.probes.results import NO_ANSWER, PathResult
from monitor.store.store import Store, StoreError

log = logging.getLogger(__name__)

QUICK_CONNECT = 1.5
"""Seconds for TCP to a mirror that is down: a lost SYN is sent again after one."""
FOLLOW_EVERY = 2.0
"""Seconds between two looks at what other instances of the store have decided."""


class Monitor:
    """Watches mirrors and keeps the board current."""

    def __init__(
        self,
        config: MonitorConfig,
        mirrors: tuple[MirrorConfig, ...],
        store: Store,
        board: HealthBoard,
        totals: MetricRegistry,
        on_change: Callable[[HealthSnapshot], None],
        *,
        probed: Callable[[str, bool], None] = lambda mirror, ok: None,
        clock: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
        rng: random.Random | None = None,
        prober: Prober | None = None,
        capacity: Capacity | None = None,
        pace: DiagnosisTiming = NORMAL,
        tasks: Tasks | None = None,
    ) -> None:
        """`probed` gets every probed mirror, and True if it was answered; not where that may be
        our own network's fault. `capacity` limits connections to mirrors; `tasks` supervises
        the monitor's tasks."""
        self._config = config
        self._store = store
        self._board = board
        self._tasks = tasks = tasks or Tasks(totals)
        self.history = History(store, board.current.vantage, totals, clock, monotonic, tasks)
        self._totals = totals
        self._on_change = on_change
        self._probed = probed
        self._clock = clock
        self._monotonic = monotonic
        self._pace = pace = paced(config, pace)
        rng = random.Random() if rng is None else rng
        self._prober = prober or Prober(
            NameService(config.dns.resolvers, pace, tasks=tasks), capacity
        )
        self._schedule = Schedule(
            self._probe,
            config.interval,
            monotonic,
            rng,
            late=lambda seconds: totals.observe(metrics.LATE, seconds),
            tasks=tasks,
        )
        self._mirrors = _enabled(mirrors)
        self._watches: dict[str, MirrorState] = {}
        self._followed: Mapping[str, tuple[Override, float | None]] = {}
        """Overrides by mirror, as the store had them last."""
        self._housekeeping: asyncio.Task[None] | None = None
        self._began = False
        """True once the mirrors are probed."""
        self._anchors = Anchors(pace, monotonic)
        self._resolver = ResolverWitness(self._prober.resolver_answers, pace, monotonic)
        self._witnesses = Witnesses(self._prober.contexts, pace, self._prober.agent, monotonic)
        quarantine, sni_budget = Quarantine(pace), SniBudget(pace)
        self._runner = BlockTestRunner(
            self._prober.contexts,
            quarantine,
            sni_budget,
            pace,
            online=lambda: self._anchors.online,
            heard=self._anchors.heard,
            round_trips=self._prober.round_trips,
            rng=rng,
            monotonic=monotonic,
        )
        self._reactions = Reactions(
            quarantine, self._anchors, pace, rng, monotonic, self._watches, self._touched, totals
        )
        self._publisher = Publisher(
            board,
            quarantine,
            self._reactions.is_left_out,
            totals,
            self._notify,
            clock,
            monotonic,
        )
        self._block_tests = BlockTests(
            self._runner,
            self._prober.contexts,
            quarantine,
            pace,
            self._reactions,
            monotonic,
            tasks,
        )
        self._reactions.examine_with(self._block_tests)
        self._cycles = ProbeCycles(
            self._prober,
            quarantine,
            sni_budget,
            self._block_tests.is_busy,
            self._reactions.is_left_out,
            monotonic,
        )
        self._background_checks = BackgroundChecks(
            PeriodicChecks(self._prober, pace, rng, monotonic),
            Canaries(self._prober, pace, rng, monotonic, clock),
            self._watches,
            self._reactions.burdened,
            self._touched,
            totals,
            tasks,
        )
        self._vantages = Vantages(
            pace, self._watches, self._touched, clock, monotonic, tasks, capacity
        )
        self._evaluation = StateEvaluation(
            self._watches,
            self._anchors,
            self._resolver,
            self.history,
            board.current.vantage,
            self._schedule.suspect,
            self._touched,
            monotonic,
        )
        self._traffic = TrafficNews(
            self._watches,
            self._reactions,
            self._background_checks,
            self.suspect,
            self._touched,
            monotonic,
        )
        self._use(config)

    def _use(self, config: MonitorConfig) -> None:
        self._config = config
        self._reactions.configure(config)
        self.history.configure(config.retention)
        self._runner.configure(config.sni.control)
        self._prober.compare_with(config.sni.control)
        self._anchors.configure(config.anchors)
        self._witnesses.configure(config.anchors, config.sni.control)
        self._resolver.configure(config.sni.control)
        self._evaluation.configure(config.interval)
        self._vantages.configure(config.vantages)
        self._totals.set(metrics.PROBE_INTERVAL, config.interval)

    async def start(self, *, probes: bool = True) -> None:
        """Read what was before, then begin: every mirror is unknown until it is probed. Without
        `probes` the first ones wait for `begin`."""
        wishes, before = await self._store.wishes(), await self.history.start()
        self._followed = wishes
        known = {i: state for i, state in before.items() if i in self._mirrors}
        self._evaluation.start(wishes, known)
        wall, now = self._clock(), self._monotonic()
        for mirror in self._mirrors.values():
            self._watch(mirror)
            aside = self.history.aside.get(mirror.id, ())
            self._watches[mirror.id].paths.recall(aside, wall, now)
        self._publish_all()
        self._housekeeping = self._tasks.service("monitor", self._housekeep)
        if probes:
            self.begin()

    def begin(self) -> None:
        """Begin to probe the mirrors."""
        self._began = True
        for mirror_id in self._watches:
            self._schedule.add(mirror_id)

    async def stop(self) -> None:
        """Break off all probes; each part ends whatever the end of another one raises."""
        async with AsyncExitStack() as stack:
            stack.push_async_callback(self.history.stop)
            stack.push_async_callback(self._prober.aclose)
            if self._housekeeping is not None:
                stack.push_async_callback(cancelled, [self._housekeeping])
            stack.callback(self._publisher.stop)
            stack.push_async_callback(self._background_checks.stop)
            stack.push_async_callback(self._block_tests.stop)
            stack.push_async_callback(self._vantages.stop)
            stack.push_async_callback(self._schedule.stop)

    def configure(self, config: MonitorConfig, mirrors: tuple[MirrorConfig, ...]) -> None:
        """Use another configuration; the health of mirrors that stay is kept."""
        self._use(config)
        self._mirrors = _enabled(mirrors)
        self._prober.contexts.forget()
        self._prober.names.use(config.dns.resolvers)
        if self._housekeeping is None:
            return  # the start will watch them, once wishes are known
        for mirror_id in [i for i, w in self._watches.items() if not self._stays(w)]:
            self._forget(mirror_id)
        known = {mirror_id: set(watch.paths.names) for mirror_id, watch in self._watches.items()}
        for mirror in self._mirrors.values():
            self._watch(mirror)
        self._publish_all()
        self._schedule.set_interval(config.interval)
        if self._began:
            self.begin()
        for mirror_id, names in known.items():
            if set(self._watches[mirror_id].paths.names) - names:
                self.suspect(mirror_id)  # nobody has resolved the new one yet

    async def set_wish(
        self, mirror_id: str, wish: Override, until: float | None, by: Actor
    ) -> None:
        """Set the operator's override of a mirror: kept, then published.

        Where the store cannot be written, it is in effect and kept later. Raises KeyError when
        there is no such mirror, StoreError when it could never be kept.
        """
        if mirror_id not in self._watches:
            raise KeyError(mirror_id)
        await self._store.set_wish(mirror_id, wish, until, by, self._clock())
        if self._evaluation.set_wish(mirror_id, wish, until, self._clock()):
            self._publish(self._watches[mirror_id])

    async def follow(self) -> None:
        """Take over overrides that other instances of the store set, until cancelled."""
        while True:
            await asyncio.sleep(FOLLOW_EVERY)
            await self.catch_up()

    async def catch_up(self) -> None:
        """Take over the overrides that have changed in the store since the last time."""
        if self._store.postponed:
            return  # the store does not know yet what was decided here
        try:
            wishes = await self._store.wishes()
        except StoreError as error:
            log.debug("overrides of other instances are not known for now: %s", error)
            return
        for mirror_id, wish in wishes.items():
            changed = self._followed.get(mirror_id) != wish
            if changed and self._evaluation.set_wish(mirror_id, *wish, self._clock()):
                self._publish(self._watches[mirror_id])
        self._followed = wishes

    def suspect(self, mirror_id: str) -> None:
        """Traffic failed on a mirror: probe it at once, at most once a second."""
        if (watch := self._watches.get(mirror_id)) is not None:
            watch.rest.wake()
        self._schedule.suspect(mirror_id)

    def hear(self, news: Mapping[str, Any]) -> None:
        """Take a worker's report of traffic."""
        self._traffic.hear(news)

    def see_from(self, told: Mapping[str, Mapping[str, Elsewhere]]) -> None:
        """Take how all other instances of the store see the mirrors, by instance and mirror."""
        for watch in self._watches.values():
            if watch.seen_by_instances(
                {
                    name: seen[watch.mirror.id]
                    for name, seen in told.items()
                    if watch.mirror.id in seen
                }
            ):
                self._touched(watch.mirror.id)

    def _stays(self, watch: MirrorState) -> bool:
        mirror = self._mirrors.get(watch.mirror.id)
        return mirror is not None and identity(mirror) == identity(watch.mirror)

    def _watch(self, mirror: MirrorConfig) -> None:
        """Begin to watch a mirror, or go on with its new settings."""
        watch = self._watches.get(mirror.id)
        rise, fall = self._config.rise, self._config.fall
        if watch is None:
            metrics.begin_at_zero(self._totals, mirror.id)
            watch = self._watches[mirror.id] = MirrorState(
                mirror, rise, fall, self._clock(), pace=self._pace, monotonic=self._monotonic()
            )
            self._evaluation.begin(watch, self._clock())
        watch.configure(mirror, rise, fall, self._monotonic())
        self._evaluation.refresh(watch, self._clock())

    def _forget(self, mirror_id: str) -> None:
        """Stop watching; from now on history does not know what it is."""
        self._schedule.remove(mirror_id)
        self._block_tests.forget(mirror_id)
        self._vantages.forget(mirror_id)
        self._background_checks.forget(mirror_id)
        watch, now = self._watches.pop(mirror_id), self._clock()
        watch.set_wish(Override.use, None)
        self._evaluation.refresh(watch, now, watch.blind(now))
        self._totals.remove("mirror", mirror_id)

    # A probe cycle

    async def _probe(self, mirror_id: str) -> Next:
        watch = self._watches[mirror_id]
        if watch.rest.holds(self._monotonic()):
            watch.still_there(self._monotonic())
            return Next.usual
        config = self._config
        self._vantages.run(watch, config)
        timing = ProbeTiming.of(config, self._pace)
        try:
            cycle = await self._cycles.take(watch.paths, self._timeouts(watch), timing)
        except NoCapacity:  # callers need all of it: then traffic shows how it is
            watch.still_there(self._monotonic())
            return Next.soon
        try:
            soon = await self._finish_cycle(watch, cycle)
            checked = await self._cycles.check_others(watch.paths, cycle, config.timeouts, timing)
        finally:
            await cycle.asked.give_up()
        self._apply_checks(watch, cycle, checked)
        if self._is_returning(watch):
            return Next.returning
        return Next.soon if soon or watch.wants_another else Next.usual

    async def _finish_cycle(self, watch: MirrorState, cycle: ProbeCycle) -> bool:
        """Apply the result of a cycle; True if the next one should come soon."""
        if self._anchors and not cycle.probe.meaning.alive:
            await self._anchors.ask()
        await self._ask_resolver(cycle.probe)
        await self._ask_witnesses(watch, cycle.probe.paths)
        soon = self._apply(watch, cycle, self._clock())
        if cycle.probe.best is not None:
            self._background_checks.run(watch.mirror, cycle.probe.best.way, self._config)
        return soon

    def _is_returning(self, watch: MirrorState) -> bool:
        """True if the mirror is down in a way that may end at any moment, and few others are."""
        return watch.may_return and sum(w.is_down for w in self._watches.values()) <= FEW

    def _timeouts(self, watch: MirrorState) -> MonitorTimeouts:
        """The timeouts; shorter for a mirror that may return at any moment and is probed often."""
        timeouts = self._config.timeouts
        if not self._is_returning(watch):
            return timeouts
        return replace(timeouts, connect=min(timeouts.connect, QUICK_CONNECT))

    async def _ask_resolver(self, probe: Probe) -> None:
        """See whether a name that got no answer is the only one."""
        if is_unanswered(probe.resolution, probe.paths):
            await self._resolver.ask()
        elif any(seen.failure not in NO_ANSWER for seen in probe.resolution.dns):
            self._resolver.heard()

    async def _ask_witnesses(self, watch: MirrorState, paths: Sequence[PathResult]) -> None:
        """See whether others show the same as a path whose certificate is refused."""
        if doubted := next((path for path in paths if doubtful(path.last)), None):
            await self._witnesses.ask(doubted.way, watch.mirror.port)

    def _apply_checks(
        self, watch: MirrorState, cycle: ProbeCycle, checked: Sequence[PathResult]
    ) -> None:
        """Apply what handshake checks showed of the other paths."""
        metrics.count_paths(self._totals, watch.mirror.id, checked)
        for result in checked:
            if self._witnesses.explain(result.last, self._clock()) is None:
                self._reactions.take(watch, result, cycle.began, cycle.probe.meaning.alive)
        if checked:
            self._publish(watch)

    def _apply(self, watch: MirrorState, cycle: ProbeCycle, now: float) -> bool:
        """Apply what a cycle found, in one step; True if the next one should come soon."""
        if cycle.pending:
            watch.still_there(self._monotonic())
            return True
        probe = cycle.probe if cycle.touched else watch.untouched(cycle.probe)
        watch.take(probe, now, self._monotonic())
        metrics.count_probe(self._totals, watch.mirror.id, probe, now)
        explained = None
        for result in probe.paths:
            ours = self._witnesses.explain(result.last, now)
            if ours is None:
                self._reactions.take(watch, result, cycle.began, probe.meaning.alive)
            explained = explained or ours
        seen, since = probe, self._monotonic() - stale_after(self._config.interval)
        probe = watch.borne_out(seen, since)
        doubt = self._evaluation.judge(watch, probe, now, explained)
        if cycle.touched and (probe.meaning.alive or not watch.could_be_ours):
            with self._tasks.guarded("snapshot"):
                self._probed(watch.mirror.id, probe.meaning.alive)
        self._reactions.rest(watch, seen, now)
        if probe.meaning.alive:
            metrics.observe_latency(self._totals, watch.health())
        self.history.sample(watch.sample(probe, now, self._board.current.vantage))
        self._publish(watch)
        return doubt or watch.wants_another

    # Publishing

    def _touched(self, mirror_id: str) -> None:
        self._publisher.touch(mirror_id)

    def _publish(self, watch: MirrorState) -> None:
        """Publish the state of a mirror at once."""
        self._publisher.touch(watch.mirror.id)
        self._publisher.publish()

    def _publish_all(self) -> None:
        self._publisher.watch(self._mirrors, self._watches)
        self._publisher.publish()

    def _notify(self, snapshot: HealthSnapshot) -> None:
        """Notify workers, then history; a failure of one listener does not stop the other."""
        for listener in (self._on_change, self.history.see):
            with self._tasks.guarded("snapshot"):
                listener(snapshot)

    async def _housekeep(self) -> None:
        """Run the regular work beside probing."""
        while True:
            await asyncio.sleep(min(1.0, self._config.interval))
            now = self._clock()
            for watch in list(self._watches.values()):
                with self._tasks.guarded("monitor"):
                    self._housekeep_mirror(watch, now)
            with self._tasks.guarded("monitor"):
                for mirror_id in self._publisher.look():
                    self._schedule.suspect(mirror_id)
            self.history.keep()

    def _housekeep_mirror(self, watch: MirrorState, now: float) -> None:
        self._background_checks.weigh(watch.mirror.id)
        if self._background_checks.calls_for_key(watch.mirror.id):
            self._schedule.suspect(watch.mirror.id)
        if self._evaluation.expire(watch, now):
            self._publisher.touch(watch.mirror.id)


def _enabled(mirrors: tuple[MirrorConfig, ...]) -> dict[str, MirrorConfig]:
    return {mirror.id: mirror for mirror in mirrors if mirror.enabled}
