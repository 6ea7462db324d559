"""Experiments on suspected paths: `diagnosis.procedure` says what to try next, this tries it.

One at a time per endpoint, seldom, and never with the suspected name on an endpoint that is held.
An experiment lasts minutes, for it has to wait out what its own trials may set off; whoever runs
it may cancel it at any time.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace

from monitor.care import Care
from monitor.config import MonitorTimeouts
from monitor.diagnosis.certificates import Memory
from monitor.diagnosis.interpret import interpret
from monitor.diagnosis.pace import Pace
from monitor.diagnosis.procedure import Done, Next, next_step
from monitor.diagnosis.trial import ANSWERED, CUT, Finding, Role, Trial, outcome_of
from monitor.health.board import endpoint_of
from monitor.health.quarantine import Quarantine
from monitor.probes.endpoints import Baseline, RoundTrips
from monitor.probes.handshake import TlsContexts
from monitor.probes.trials import Subject, attempt

MOST_TRIALS = 16
"""More than any procedure asks for; a bound in case of a mistake in one."""
_NO_MEMORY = Memory()


class EndpointBusy(Exception):
    """Another experiment runs on the same address and port."""


@dataclass(frozen=True, slots=True)
class Conclusion:
    """What an experiment tried and found."""

    trials: tuple[Trial, ...]
    finding: Finding
    why: str
    """Why it ended, for logs."""


class Laboratory:
    """Runs experiments; knows the clock, the limits and what all of them have in common."""

    def __init__(
        self,
        contexts: TlsContexts,
        quarantine: Quarantine,
        care: Care,
        pace: Pace,
        *,
        controls: Sequence[str] = (),
        online: Callable[[], bool] = lambda: True,
        heard: Callable[[], None] = lambda: None,
        round_trips: RoundTrips | None = None,
        rng: random.Random | None = None,
        monotonic: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self.controls = tuple(controls)
        """`monitor.sni.control`, which may change; without any, nothing is examined."""
        self._contexts = contexts
        self._quarantine = quarantine
        self._care = care
        self._pace = pace
        self._online = online
        """Whether our own network works; `heard` is told when a server has answered."""
        self._heard = heard
        self._round_trips = round_trips or RoundTrips()
        self._baseline = Baseline(pace)
        self._rng = rng or random.Random()
        self._monotonic = monotonic
        self._sleep = sleep
        self._busy: set[str] = set()

    def is_busy(self, address: str, port: int) -> bool:
        """Whether an experiment runs on this endpoint."""
        return endpoint_of(address, port) in self._busy

    async def examine(
        self,
        subject: Subject,
        timeouts: MonitorTimeouts,
        *,
        triggered: float | None = None,
        patient: bool = True,
        memory: Memory = _NO_MEMORY,
        before: Sequence[Trial] = (),
    ) -> Conclusion:
        """Find out what is wrong with a path. Raises EndpointBusy.

        `triggered` is when the endpoint was last cut off; `patient` is False for somebody who
        waits at a terminal; `before` are routine trials that go into the finding.
        """
        endpoint = endpoint_of(subject.address, subject.port)
        if endpoint in self._busy:
            raise EndpointBusy(endpoint)
        self._busy.add(endpoint)
        try:
            trials, why = await self._trials(subject, timeouts, triggered, patient)
        finally:
            self._busy.discard(endpoint)
        made = (*before, *trials)
        return Conclusion(made, interpret(made, self._pace, memory), why)

    async def _trials(
        self, subject: Subject, timeouts: MonitorTimeouts, triggered: float | None, patient: bool
    ) -> tuple[list[Trial], str]:
        trials: list[Trial] = []
        while len(trials) < MOST_TRIALS:
            if not self.controls:
                return trials, "there is no control name"
            step = next_step(
                trials,
                self._monotonic(),
                self._rng,
                self._pace,
                triggered=triggered,
                patient=patient,
                controls=self.controls,
            )
            if isinstance(step, Done):
                return trials, step.why
            if not await self._wait_for(step, trials, subject, patient):
                return trials, "it is not allowed to go on for now"
            if step.control and step.control not in self.controls:
                continue  # a reload has replaced it during the wait
            trial = await self._try(step, subject, timeouts)
            trials.append(trial)
            if trial.role is Role.target and trial.outcome in CUT:
                triggered = trial.at
                self._quarantine.trigger(endpoint_of(trial.address, trial.port), trial.at)
        return trials, "too many trials"

    async def _wait_for(
        self, step: Next, trials: Sequence[Trial], subject: Subject, patient: bool
    ) -> bool:
        """Wait until the step may be made; False if nobody wants to wait for so long."""
        while (due := self._due(step, trials, subject)) > (now := self._monotonic()):
            if not patient and due > step.not_before:
                return False
            await self._sleep(due - now)
        return step.role is not Role.target or self._care.spend(subject.hostname, now)

    def _due(self, step: Next, trials: Sequence[Trial], subject: Subject) -> float:
        """When: not while the endpoint is held, but for what has to follow a trigger at once."""
        now, due = self._monotonic(), step.not_before
        follows = bool(trials) and step.not_before - trials[-1].at <= 2 * self._pace.gap
        if step.role is Role.target or not follows:
            held = self._quarantine.until(endpoint_of(subject.address, subject.port), now)
            due = max(due, held or due)
        if step.role is Role.target:
            due = max(due, self._care.free_at(subject.hostname, now))
        return due

    async def _try(self, step: Next, subject: Subject, timeouts: MonitorTimeouts) -> Trial:
        held = self._quarantine.until(endpoint_of(subject.address, subject.port), self._monotonic())
        made = await attempt(step.role, subject, step.control, self._contexts, timeouts)
        if made.connect.failure is None:
            self._round_trips.add(subject.address, made.connect.seconds)
        if made.shake is not None and outcome_of(made.shake) in ANSWERED:
            self._heard()
        trial = Trial(
            role=step.role,
            hostname=subject.hostname,
            address=subject.address,
            port=subject.port,
            sni=made.sni,
            step=made.decisive,
            at=self._monotonic(),
            rtt=self._round_trips.of(subject.address),
            in_residual=held is not None,
            anchors_ok=self._online(),
        )
        return self._with_baseline(trial) if trial.role is Role.control else trial

    def _with_baseline(self, trial: Trial) -> Trial:
        vouched = self._baseline.vouches(trial.address, trial.sni, trial.answered, trial.at)
        return replace(trial, baseline=vouched)
