"""What happens when a handshake was cut off: first a glance, then an experiment, then a conclusion.

The glance is a handshake under a control name, at once. If it is answered, nothing holds the whole
endpoint up, and the experiment may begin at once; it often ends there, because the fault has
passed. If not, the endpoint is quarantined, and the experiment waits until that is over. A mirror
with a single address so does not lose minutes to one stray reset.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Protocol

from monitor.config import MonitorTimeouts
from monitor.diagnosis.certificates import Memory
from monitor.diagnosis.pace import Pace
from monitor.diagnosis.trial import Role, Trial, outcome_of
from monitor.experiment import Conclusion, EndpointBusy, Laboratory
from monitor.health.board import endpoint_of
from monitor.health.quarantine import Quarantine
from monitor.probes.handshake import TlsContexts
from monitor.probes.trials import Subject, attempt
from monitor.tasks import Tasks, cancelled

GLANCES = 3
"""Controls that must fail, one after the other, before an endpoint is taken to be shut."""
GLANCE_GAP = 0.5
MOST = 256
"""Examinations at once; most of them wait."""


@dataclass(frozen=True, slots=True)
class Case:
    """A path that is suspected, and all that is needed to examine it."""

    mirror: str
    subject: Subject
    timeouts: MonitorTimeouts
    memory: Memory = field(default_factory=Memory)
    before: tuple[Trial, ...] = ()

    @property
    def endpoint(self) -> str:
        """The address and port."""
        return endpoint_of(self.subject.address, self.subject.port)


class Listener(Protocol):
    """Who acts on what examinations find."""

    def quarantined(self, case: Case) -> None:
        """The endpoint is held from now on."""

    def concluded(self, case: Case, conclusion: Conclusion) -> None:
        """An experiment has ended."""


@dataclass(frozen=True, slots=True)
class _Running:
    mirror: str
    hostname: str
    task: asyncio.Task[None]


class Examiner:
    """Examines suspected paths, one at a time on an endpoint; owns the tasks that this takes."""

    def __init__(
        self,
        laboratory: Laboratory,
        contexts: TlsContexts,
        quarantine: Quarantine,
        pace: Pace,
        listener: Listener,
        monotonic: Callable[[], float],
        tasks: Tasks | None = None,
    ) -> None:
        self._supervisor = tasks or Tasks()
        self._laboratory = laboratory
        self._contexts = contexts
        self._quarantine = quarantine
        self._pace = pace
        self._listener = listener
        self._monotonic = monotonic
        self._running: dict[str, _Running] = {}
        """By endpoint."""

    def __repr__(self) -> str:
        return f"<Examiner of {', '.join(self._running) or 'nothing'}>"

    def is_busy(self, what: str) -> bool:
        """Whether an endpoint or a hostname is being examined: nobody else should touch it."""
        return what in self._running or any(r.hostname == what for r in self._running.values())

    def suspect(self, case: Case) -> bool:
        """Examine a path, unless its endpoint or its name is being examined; whether that begins.

        A name is examined at one address at a time: each could be shut by it.
        """
        if (
            self.is_busy(case.endpoint)
            or self.is_busy(case.subject.hostname)
            or len(self._running) >= MOST
        ):
            return False
        examine = partial(self._examine, case)
        task = self._supervisor.job("examination", examine, about=case.endpoint)
        self._running[case.endpoint] = _Running(case.mirror, case.subject.hostname, task)
        task.add_done_callback(partial(self._ended, case.endpoint))
        return True

    def forget(self, mirror: str) -> None:
        """Break off what concerns a mirror that is gone."""
        for running in self._running.values():
            if running.mirror == mirror:
                running.task.cancel()

    async def stop(self) -> None:
        """Break off everything and wait for its end."""
        await cancelled([running.task for running in self._running.values()])

    def _ended(self, endpoint: str, task: asyncio.Task[None]) -> None:
        running = self._running.get(endpoint)
        if running is not None and running.task is task:
            del self._running[endpoint]

    async def _examine(self, case: Case) -> None:
        try:
            conclusion = await self._conclusion(case)
        except EndpointBusy:
            return
        if conclusion is None:
            return
        del self._running[case.endpoint]  # what follows may begin the next one
        self._listener.concluded(case, conclusion)

    async def _conclusion(self, case: Case) -> Conclusion | None:
        """None when a reload has taken all control names away meanwhile."""
        triggered: float | None = None
        answers = await self._answers(case)
        if answers is None:
            return None
        if not answers:
            triggered = self._monotonic()
            self._quarantine.trigger(case.endpoint, triggered)
            self._listener.quarantined(case)
        return await self._laboratory.examine(
            case.subject,
            case.timeouts,
            triggered=triggered,
            memory=case.memory,
            before=case.before,
        )

    async def _answers(self, case: Case) -> bool | None:
        """Whether the endpoint answers under another name; None when there is none to try."""
        if self._quarantine.until(case.endpoint, self._monotonic()) is not None:
            return False
        wait = min(case.timeouts.handshake, self._pace.silent_handshake)
        timeouts = replace(case.timeouts, connect=wait, handshake=wait)
        for number in range(GLANCES):
            if number:
                await asyncio.sleep(GLANCE_GAP)
            controls = self._laboratory.controls  # as they are now: a reload may change them
            if not controls:
                return None
            control = controls[number % len(controls)]
            made = await attempt(Role.control, case.subject, control, self._contexts, timeouts)
            trial = Trial(
                role=Role.control,
                hostname=case.subject.hostname,
                address=case.subject.address,
                port=case.subject.port,
                sni=made.sni,
                step=made.decisive,
                at=self._monotonic(),
            )
            if trial.answered and made.shake is not None:
                return True
        return False


def was_cut(trial: Trial) -> bool:
    """Whether a handshake under the path's own name ended as a firewall would end it."""
    return outcome_of(trial.step).value in ("reset", "eof", "silence")
