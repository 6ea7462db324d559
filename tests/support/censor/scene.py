"""One trial of the diagnosis: a mirror's path behind a censor, probed and examined.

What the monitor does over minutes happens here in seconds: a routine handshake with the mirror's
name, and an experiment if it was cut off. Each scene has addresses, a censor and a memory of its
own, so many of them run side by side in one event loop.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Coroutine, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field, replace
from itertools import count
from pathlib import Path
from random import Random
from types import TracebackType
from typing import Any, Self

from monitor.care import Care
from monitor.config import MonitorTimeouts
from monitor.diagnosis.certificates import Memory
from monitor.diagnosis.interpret import interpret
from monitor.diagnosis.pace import Pace
from monitor.diagnosis.trial import CUT, Finding, Role, Trial
from monitor.experiment import Laboratory
from monitor.health.board import endpoint_of
from monitor.health.quarantine import Quarantine
from monitor.probes.handshake import TlsContexts
from monitor.probes.trials import Subject, attempt
from tests.support.censor.impostor import Impostor
from tests.support.censor.relay import Censor

CONTROL = "control.mirror.test"
RESIDUAL = 1.0
"""Seconds that the censors of scenes remember, where they do."""
SHARE = (RESIDUAL + 0.3) / Pace().residual_hold
PACE = replace(
    Pace().shortened(RESIDUAL + 0.3),
    gap=0.05,
    start_jitter=0.05,
    suspicious_window=Pace().suspicious_window * SHARE,
)
TIMEOUT = 1.5
TIMEOUTS = MonitorTimeouts(connect=TIMEOUT, handshake=TIMEOUT)
KNOWN = Memory("mirrorgate tests", "0" * 64)
"""The certificate that verified before; what it was does not matter, only that there was one."""


@dataclass(frozen=True)
class World:
    """What all scenes share: a server, other servers for diversions, and the authority's file."""

    upstream: tuple[str, int]
    impostors: dict[str, Impostor]
    ca_file: Path
    contexts: TlsContexts = field(default_factory=TlsContexts)
    numbers: count[int] = field(default_factory=count)


@dataclass(frozen=True, slots=True)
class Diagnosed:
    """What was found about one path, and how many hellos broke the rules on the way."""

    finding: Finding
    trials: tuple[Trial, ...]
    improper: int
    """Hellos with the mirror's name to the endpoint while it was held."""


class Scene:
    """A mirror with one or two addresses behind a censor; an async context manager."""

    def __init__(self, world: World, addresses: int, seed: int) -> None:
        self.world, self.rng, number = world, Random(seed), next(world.numbers)
        self.hostname = f"m{number}.mirror.test"
        high, low = divmod(number, 250)
        self.addresses = [f"127.{40 + n}.{high}.{low + 1}" for n in range(addresses)]
        self.censor = Censor(rng=self.rng)
        self.online = True
        self.port = 0
        self._stack = AsyncExitStack()
        self._quarantine, self._care = Quarantine(PACE), Care(PACE)
        self._laboratory = Laboratory(
            world.contexts,
            self._quarantine,
            self._care,
            PACE,
            controls=[CONTROL],
            online=lambda: self.online,
            rng=self.rng,
        )

    async def __aenter__(self) -> Self:
        await self._stack.enter_async_context(self.censor)
        self.port = await self.censor.listen(self.addresses, self.world.upstream)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        await self._stack.aclose()

    def meanwhile(self, change: Coroutine[Any, Any, None]) -> None:
        """Let something happen in the background until the scene ends."""
        task = asyncio.create_task(change)

        async def end() -> None:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

        self._stack.push_async_callback(end)

    async def diagnose(self, probes: int = 1) -> list[Diagnosed]:
        """Probe each path until it fails, at most so many times, and examine what was cut off."""
        return list(await asyncio.gather(*(self._path(a, probes) for a in self.addresses)))

    async def _path(self, address: str, probes: int) -> Diagnosed:
        subject = Subject(self.hostname, address, self.port, str(self.world.ca_file))
        for _ in range(probes):
            trial = await self._routine(subject)
            if trial.step.failure is not None:
                break
        trials: Sequence[Trial] = [trial]
        if trial.outcome in CUT:
            self._care.spend(subject.hostname, trial.at)
            self._quarantine.trigger(endpoint_of(address, self.port), trial.at)
            conclusion = await self._laboratory.examine(
                subject, TIMEOUTS, triggered=trial.at, before=[trial], memory=KNOWN
            )
            trials, finding = conclusion.trials, conclusion.finding
        else:
            finding = interpret(trials, PACE, KNOWN)
        return Diagnosed(finding, tuple(trials), self._improper(trials))

    async def _routine(self, subject: Subject) -> Trial:
        """Make the handshake that the monitor makes all the time."""
        made = await attempt(Role.target, subject, "", self.world.contexts, TIMEOUTS)
        return Trial(
            Role.target,
            subject.hostname,
            subject.address,
            subject.port,
            made.sni,
            made.decisive,
            time.monotonic(),
            rtt=made.connect.seconds,
            anchors_ok=self.online,
        )

    def _improper(self, trials: Sequence[Trial]) -> int:
        cuts = [t for t in trials if t.role is Role.target and t.outcome in CUT]
        return sum(
            len(
                self.censor.handshakes(
                    self.hostname, cut.address, cut.at, cut.at + PACE.residual_hold
                )
            )
            for cut in cuts
        )
