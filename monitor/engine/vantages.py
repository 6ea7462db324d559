"""Probes of mirrors from other places, through proxies that the operator has.

They run beside the probes from here, wait for none of them and hold none up. What is seen from
there is shown, and settles whether a failure here is a block; it changes no routing.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial

from monitor.common.config import MirrorConfig, MonitorConfig, VantageConfig
from monitor.common.tasks import Tasks, cancelled
from monitor.diagnosis.classify import judge_step
from monitor.diagnosis.evidence import Code
from monitor.diagnosis.timing import DiagnosisTiming
from monitor.diagnosis.verdicts import NAME_CUT
from monitor.engine.mirror_state import MirrorState
from monitor.engine.prober import Prober
from monitor.engine.sni_budget import SniBudget
from monitor.health.paths import in_order
from monitor.health.snapshot import Standing, State, VantageHealth
from monitor.health.vantages import Elsewhere, elsewhere
from monitor.probes.capacity import Capacity, NoCapacity
from monitor.probes.opening import Budget
from monitor.probes.proxied import VantageDown, through
from monitor.probes.results import PathResult, Way

MOST_AT_ONCE = 8
"""Mirrors that one vantage probes at a time."""
MOST_WAYS = 2


async def look(
    prober: Prober, mirror: MirrorConfig, ways: Sequence[Way], config: MonitorConfig
) -> list[PathResult]:
    """Look at a mirror from another place, over these paths; where none of them works and its
    addresses are not pinned, by its name too, which the proxy resolves. Raises VantageDown."""
    timeouts = config.timeouts
    budget = Budget.of(timeouts.connect + timeouts.handshake + timeouts.request)
    found: list[PathResult] = []
    for way in ways[:MOST_WAYS]:
        found += (await prober.ask(mirror, [way], timeouts, budget)).paths
    works = any(judge_step(path.last).alive for path in found)
    if not works and not mirror.addresses and not budget.is_over():
        by_name = Way(mirror.host, mirror.host)
        found += (await prober.ask(mirror, [by_name], timeouts, budget)).paths
    return found


def _ended(
    running: dict[str, asyncio.Task[None]], mirror_id: str, task: asyncio.Task[None]
) -> None:
    if running.get(mirror_id) is task:
        del running[mirror_id]


@dataclass(slots=True)
class _Vantage:
    config: VantageConfig
    prober: Prober
    budget: SniBudget
    running: dict[str, asyncio.Task[None]] = field(default_factory=dict)
    """By mirror."""
    begun: dict[str, float] = field(default_factory=dict)
    """By mirror: when it was probed last, on the monotonic clock."""
    reaches: dict[str, bool] = field(default_factory=dict)
    """By mirror: whether it was reached when it was probed last."""


class Vantages:
    """The other vantages; owns the probes from there."""

    def __init__(
        self,
        pace: DiagnosisTiming,
        watches: Mapping[str, MirrorState],
        touched: Callable[[str], None],
        clock: Callable[[], float],
        monotonic: Callable[[], float],
        tasks: Tasks,
        capacity: Capacity | None = None,
    ) -> None:
        """`capacity` limits connections to mirrors, wherever they come from."""
        self._capacity = capacity
        self._pace = pace
        self._watches = watches
        self._touched = touched
        self._clock = clock
        self._monotonic = monotonic
        self._tasks = tasks
        self._vantages: dict[str, _Vantage] = {}

    def __repr__(self) -> str:
        return f"<Vantages {', '.join(self._vantages) or 'none'}>"

    def configure(self, vantages: Sequence[VantageConfig]) -> None:
        """Use these; what was seen from those that are gone is forgotten."""
        kept = {each.name: each for each in vantages}
        for name, known in list(self._vantages.items()):
            if kept.get(name) != known.config:
                del self._vantages[name]
                for task in known.running.values():
                    task.cancel()
                self._tasks.job("vantage", known.prober.aclose, about=name)
                for watch in self._watches.values():
                    watch.unseen_from(name)
        for name, config in kept.items():
            if name not in self._vantages:
                prober = Prober(capacity=self._capacity, dial=through(config.proxy))
                self._vantages[name] = _Vantage(config, prober, SniBudget(self._pace))

    def run(self, watch: MirrorState, config: MonitorConfig) -> None:
        """Probe a mirror from every vantage, unless that was done of late or is being done."""
        for vantage in self._vantages.values():
            mirror_id, now = watch.mirror.id, self._monotonic()
            spacing = max(config.interval, min(self._pace.target_interval, 2 * config.interval))
            early = now - vantage.begun.get(mirror_id, float("-inf")) < spacing
            busy = mirror_id in vantage.running or len(vantage.running) >= MOST_AT_ONCE
            if early or busy or not self._may_show(vantage, watch, now):
                continue
            vantage.begun[mirror_id] = now
            look = partial(self._look, vantage, watch, config)
            task = self._tasks.job("vantage", look, about=mirror_id)
            vantage.running[mirror_id] = task
            task.add_done_callback(partial(_ended, vantage.running, mirror_id))

    def forget(self, mirror_id: str) -> None:
        """The mirror is gone."""
        for vantage in self._vantages.values():
            vantage.begun.pop(mirror_id, None)
            vantage.reaches.pop(mirror_id, None)
            if (task := vantage.running.get(mirror_id)) is not None:
                task.cancel()

    async def stop(self) -> None:
        """Break off all probes and wait for their end."""
        await cancelled([t for v in self._vantages.values() for t in v.running.values()])
        for vantage in self._vantages.values():
            await vantage.prober.aclose()

    def _may_show(self, vantage: _Vantage, watch: MirrorState, now: float) -> bool:
        """False where the name was cut off there, too, and was shown often enough for now."""
        seen = watch.seen.get(vantage.config.name)
        cut = seen is not None and seen.health.verdict in NAME_CUT
        return not cut or vantage.budget.spend(watch.mirror.host, now)

    async def _look(self, vantage: _Vantage, watch: MirrorState, config: MonitorConfig) -> None:
        name, mirror = vantage.config.name, watch.mirror
        paths = in_order(watch.paths)
        failing = [path.way for path in paths if path.standing is not Standing.ok]
        ways = [*failing[:MOST_WAYS], *(path.way for path in paths if path.way not in failing)]
        try:
            found = await look(vantage.prober, mirror, ways, config)
        except NoCapacity:  # callers need all of it
            return
        except VantageDown as error:
            detail = Code.vantage_down(reason=str(error))
            health = VantageHealth(name, verdict="unknown", detail=detail, at=self._clock())
            watch.seen_from(name, Elsewhere(health))
        else:
            seen = elsewhere(name, found, self._clock(), watch.seen.get(name))
            vantage.reaches[mirror.id] = seen.health.state is not State.down
            if self._reaches_nothing(vantage):
                seen = Elsewhere(seen.health)
            watch.seen_from(name, seen)
        self._touched(mirror.id)

    def _reaches_nothing(self, vantage: _Vantage) -> bool:
        """True if no mirror is reached from there, not even one that is up from here: then the
        proxy may be at fault, and what fails from there says nothing of a server."""
        known = (self._watches.get(mirror_id) for mirror_id in vantage.reaches)
        up = any(watch is not None and watch.is_up for watch in known)
        return up and not any(vantage.reaches.values())
