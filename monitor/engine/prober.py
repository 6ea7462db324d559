"""One probe of one mirror: resolve its name, then try its paths until one works.

Up to three paths are tried, a new one as soon as the one before has failed, or has taken
longer than a moment; the first that works answers the probe. So a path that is dead or slow never
hides one that works, and a probe costs a healthy mirror exactly one request. A path that was
overtaken goes on to its own end, which is evidence like any other.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from monitor.common.config import MirrorConfig, MonitorTimeouts
from monitor.diagnosis.answer import Meaning, is_strange
from monitor.diagnosis.classify import judge, judge_step
from monitor.engine.address_memory import RoundTrips
from monitor.engine.naming import NameService
from monitor.probes.capacity import Capacity, NoCapacity, Unlimited
from monitor.probes.connect import Dial, connect
from monitor.probes.http import request, request_nothing, user_agent
from monitor.probes.opening import Budget, Opened, open_path
from monitor.probes.results import CLIENT_CERTIFICATE, PathResult, StepResult, Way
from monitor.probes.tls import Shake, TlsContexts, control_passes

MAX_PATHS = 3
STAGGER = 1.0
"""Seconds after which the next address is tried beside one that has not answered."""


@dataclass(frozen=True, slots=True)
class Probe:
    """Results of one probe."""

    resolution: StepResult
    paths: tuple[PathResult, ...]
    meaning: Meaning

    @property
    def best(self) -> PathResult | None:
        """The path that works, None if none does."""
        return next((path for path in self.paths if judge_step(path.last).alive), None)

    @property
    def headers(self) -> Mapping[str, str]:
        """Of the response that its meaning was read from; empty when there was none."""
        answers = (path.last.http for path in (self.best, *reversed(self.paths)) if path)
        return next((answer.headers for answer in answers if answer), {})


@dataclass(frozen=True, slots=True)
class Asked:
    """Results of paths that were asked until one worked; its owner waits for those that were
    overtaken, or gives them up."""

    paths: tuple[PathResult, ...]
    overtaken: Mapping[Way, asyncio.Task[PathResult]]

    async def late(self) -> tuple[PathResult, ...]:
        """The results of those that were overtaken, once they have ended."""
        ends = await asyncio.gather(*self.overtaken.values(), return_exceptions=True)
        faults = [e for e in ends if isinstance(e, Exception) and not isinstance(e, NoCapacity)]
        if faults:
            raise faults[0]
        return tuple(end for end in ends if isinstance(end, PathResult))

    async def give_up(self) -> None:
        """Break off what is still running."""
        for task in self.overtaken.values():
            task.cancel()
        await asyncio.gather(*self.overtaken.values(), return_exceptions=True)


class Prober:
    """Makes probes; keeps what is costly to make anew."""

    def __init__(
        self,
        names: NameService | None = None,
        capacity: Capacity | None = None,
        dial: Dial = connect,
    ) -> None:
        """`names` is closed with the prober; without it the system's resolver is asked. `capacity`
        limits connections; without it there is always some. `dial` opens them."""
        self._dial = dial
        self.names = names or NameService()
        self._capacity = capacity or Unlimited()
        self.contexts = TlsContexts()
        self.round_trips = RoundTrips()
        self.agent = user_agent()
        self._controls: Sequence[str] = ()

    def compare_with(self, controls: Sequence[str]) -> None:
        """Take these control names; without any, what is lost is compared with nothing."""
        self._controls = controls

    async def probe(
        self,
        mirror: MirrorConfig,
        timeouts: MonitorTimeouts,
        seconds: float,
    ) -> Probe:
        """Probe `mirror` under its own name within `seconds`."""
        budget = Budget.of(seconds)
        resolution = await self.resolve(mirror, budget.limit(timeouts.resolve))
        ways = [Way(mirror.host, address) for address in resolution.addresses]
        asked = await self.ask(mirror, ways, timeouts, budget)
        await asked.give_up()
        return Probe(resolution, asked.paths, judge(resolution, asked.paths))

    async def resolve(self, mirror: MirrorConfig, timeout: float, hostname: str = "") -> StepResult:
        """The addresses to try for one of the mirror's names, by default its own."""
        return await self.names.resolve(mirror, hostname or mirror.host, timeout)

    async def resolver_answers(self, hostname: str, timeout: float) -> bool:
        """True if any resolver says anything about a name."""
        return await self.names.answers(hostname, timeout)

    async def aclose(self) -> None:
        """Close what is kept open."""
        await self.names.aclose()

    async def ask(
        self,
        mirror: MirrorConfig,
        ways: Sequence[Way],
        timeouts: MonitorTimeouts,
        budget: Budget,
    ) -> Asked:
        """Ask for the models over these paths, in their order, until one of them answers."""
        return await until_one_works(
            {way: partial(self._ask, mirror, way, timeouts, budget) for way in ways[:MAX_PATHS]}
        )

    async def check_handshake(
        self, mirror: MirrorConfig, way: Way, timeouts: MonitorTimeouts, budget: Budget
    ) -> PathResult:
        """Connect and shake hands over one path, and leave: nothing is asked."""
        async with self.open(mirror, way, timeouts, budget) as opened:
            return PathResult(way.address, opened.steps, way.hostname)

    @contextlib.asynccontextmanager
    async def open(
        self, mirror: MirrorConfig, way: Way, timeouts: MonitorTimeouts, budget: Budget
    ) -> AsyncIterator[Opened]:
        """Open a path, and remember what it shows of the address. Raises NoCapacity."""
        leave = await self._capacity.enter(mirror, budget.limit(timeouts.connect))
        try:
            async with open_path(
                mirror, way, self.contexts, timeouts, budget, self._dial
            ) as opened:
                if opened.steps[0].failure is None:
                    self.round_trips.add(way.address, opened.steps[0].seconds)
                if opened.verified:
                    self.names.verified(way.hostname, way.address)
                yield opened
        finally:
            leave()

    async def _ask(
        self, mirror: MirrorConfig, way: Way, timeouts: MonitorTimeouts, budget: Budget
    ) -> PathResult:
        async with self.open(mirror, way, timeouts, budget) as opened:
            steps = opened.steps
            if opened.stream is not None:
                limit = budget.limit(timeouts.request)
                asked = await request(opened.stream, mirror, way, self.agent, limit)
                shaken = steps[-1].tls
                if shaken is not None and shaken.asked_for_certificate:
                    asked = replace(asked, note=CLIENT_CERTIFICATE)
                steps += (asked,)
        if steps[-1].lost and mirror.scheme == "https":
            passes = await self._control_passes(mirror, way, timeouts, budget)
            steps = (*steps[:-1], replace(steps[-1], control_passes=passes))
        if is_strange(steps[-1].http):
            steps = (*steps[:-1], await self._ask_again(steps[-1], mirror, way, timeouts, budget))
        return PathResult(way.address, steps, way.hostname)

    async def _control_passes(
        self, mirror: MirrorConfig, way: Way, timeouts: MonitorTimeouts, budget: Budget
    ) -> bool | None:
        """Try whether data under a control name pass on the same address."""
        if not self._controls:
            return None
        leave = await self._capacity.enter(mirror, budget.limit(timeouts.connect))
        try:
            limit = budget.limit(timeouts.connect)
            connection, _ = await self._dial(way.address, mirror.port, limit, way.hostname)
            if connection is None:
                return None
            with connection:
                shake = Shake(way.address, way.hostname, self._controls[0])
                limit = budget.limit(timeouts.handshake)
                return await control_passes(connection, self.contexts.for_control(), shake, limit)
        finally:
            leave()

    async def _ask_again(
        self,
        step: StepResult,
        mirror: MirrorConfig,
        way: Way,
        timeouts: MonitorTimeouts,
        budget: Budget,
    ) -> StepResult:
        """The step, with what the mirror says of completions too."""
        async with self.open(mirror, way, timeouts, budget) as opened:
            if opened.stream is None or step.http is None:
                return step
            limit = budget.limit(timeouts.request)
            second = await request_nothing(opened.stream, mirror, way, self.agent, limit)
        status = second.http.status if second.http else None
        return replace(step, http=replace(step.http, completions=status))


async def until_one_works(
    starts: Mapping[Way, Callable[[], Coroutine[Any, Any, PathResult]]], stagger: float = STAGGER
) -> Asked:
    """Run paths in order until one works; those that are still running then run on."""
    waiting = list(starts.items())[::-1]
    running: dict[Way, asyncio.Task[PathResult]] = {}
    ended: list[PathResult] = []
    try:
        while waiting or running:
            if waiting:
                way, start = waiting.pop()
                running[way] = asyncio.create_task(start())
            done, _ = await asyncio.wait(
                running.values(),
                timeout=stagger if waiting else None,
                return_when=asyncio.FIRST_COMPLETED,
            )
            running = {way: task for way, task in running.items() if task not in done}
            ended.extend(task.result() for task in done)
            if any(judge_step(path.last).alive for path in ended):
                break
    except BaseException:
        await Asked((), running).give_up()
        raise
    return Asked(tuple(ended), running)
