"""Block tests on suspected paths: when they start, how they run, and their conclusions."""

from __future__ import annotations

import asyncio
import contextlib
import random
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Protocol, Self

from monitor.common.config import MonitorTimeouts
from monitor.common.tasks import Tasks, cancelled
from monitor.diagnosis.block_test import Done, Next, next_step, shut_since
from monitor.diagnosis.certificates import Memory
from monitor.diagnosis.confidence import Confidence
from monitor.diagnosis.finding import Finding
from monitor.diagnosis.interpret import interpret, interpret_spared
from monitor.diagnosis.timing import DiagnosisTiming
from monitor.engine.address_memory import Baseline, RoundTrips
from monitor.engine.sni_budget import SniBudget
from monitor.health.quarantine import Quarantine
from monitor.health.snapshot import endpoint_of
from monitor.probes.tls import TlsContexts
from monitor.probes.trial_results import CUT, Outcome, Role, Trial
from monitor.probes.trials import Subject, attempt

GLANCES = 3
"""Controls that must fail, one after the other, before an endpoint is taken to be shut."""
GLANCES_ERRATIC = 8
"""The same where half of all hellos may be cut off."""
GLANCE_GAP = 0.5
"""Seconds between two of them."""
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
    """Routine trials that go into the finding, the cut that raised the suspicion last."""
    spared: bool = False
    """True if the name must not be shown again where it shuts the endpoint: other names, of this
    mirror or another one, are served there, and nothing leads round it for them."""
    erratic: bool = False
    """True if the name was answered of late soon after it had been cut off: no experiment tells
    more, and chance cuts off controls as well."""
    by_turns: bool = False
    """True if another name was blocked at the endpoint before, and may be free: it is shown before
    this one is shown again and again."""
    tested_elsewhere: bool = False
    """True if the name, a spared one, is under test at another address: it may have shut both, and
    is not shown at this one."""
    alone: bool = False
    """True if requests have no way round the endpoint: it is looked at before its time is over."""

    @property
    def endpoint(self) -> str:
        """The address and port."""
        return endpoint_of(self.subject.address, self.subject.port)


class Listener(Protocol):
    """Receiver of the findings of block tests."""

    def answered_since(self, endpoint: str, moment: float) -> frozenset[str]:
        """The names under which the endpoint has answered traffic well after that moment."""

    def quarantined(self, case: Case) -> None:
        """The endpoint is held from now on."""

    def progressed(self, case: Case, finding: Finding) -> None:
        """An experiment that goes on for minutes has shown this so far."""

    def concluded(self, case: Case, conclusion: Conclusion) -> None:
        """An experiment has ended."""


@dataclass(frozen=True, slots=True)
class _Running:
    case: Case
    task: asyncio.Task[None]
    opened: asyncio.Event
    """Set when traffic shows that the endpoint answers."""


class BlockTests:
    """Examines suspected paths, one at a time on an endpoint; owns the tasks that this takes."""

    def __init__(
        self,
        runner: BlockTestRunner,
        contexts: TlsContexts,
        quarantine: Quarantine,
        pace: DiagnosisTiming,
        listener: Listener,
        monotonic: Callable[[], float],
        tasks: Tasks | None = None,
    ) -> None:
        self._supervisor = tasks or Tasks()
        self._runner = runner
        self._contexts = contexts
        self._quarantine = quarantine
        self._pace = pace
        self._listener = listener
        self._monotonic = monotonic
        self._running: dict[str, _Running] = {}
        """By endpoint."""

    def __repr__(self) -> str:
        return f"<BlockTests of {', '.join(self._running) or 'nothing'}>"

    def is_busy(self, what: str) -> bool:
        """True if an endpoint or a hostname is being examined: nobody else should touch it."""
        return what in self._running or any(
            r.case.subject.hostname == what for r in self._running.values()
        )

    def suspect(self, case: Case) -> bool:
        """Examine a path, unless its endpoint or its name is being examined; whether that begins.

        A name is shown at one address at a time: each could be shut by it. One that is spared is
        only waited for at another address, or the next name to be cut off there would be blamed.
        """
        if self.is_busy(case.endpoint) or len(self._running) >= MOST:
            return False
        if self.is_busy(case.subject.hostname):
            if not case.spared:
                return False
            case = replace(case, tested_elsewhere=True)
        opened = asyncio.Event()
        examine = partial(self._examine, case, opened)
        task = self._supervisor.job("examination", examine, about=case.endpoint)
        self._running[case.endpoint] = _Running(case, task, opened)
        task.add_done_callback(partial(self._ended, case.endpoint))
        return True

    def forget(self, mirror: str) -> None:
        """Break off what concerns a mirror that is gone."""
        for running in self._running.values():
            if running.case.mirror == mirror:
                running.task.cancel()

    def contradicted(self, endpoint: str, hostname: str) -> None:
        """Traffic was answered under that name at an endpoint that is taken to be shut: nothing has
        to be waited out there."""
        running = self._running.get(endpoint)
        if running is None:
            return
        if running.case.spared and running.case.subject.hostname != hostname:
            running.opened.set()
        else:
            running.task.cancel()

    async def stop(self) -> None:
        """Break off everything and wait for its end."""
        await cancelled([running.task for running in self._running.values()])

    def _ended(self, endpoint: str, task: asyncio.Task[None]) -> None:
        running = self._running.get(endpoint)
        if running is not None and running.task is task:
            del self._running[endpoint]

    async def _examine(self, case: Case, opened: asyncio.Event) -> None:
        try:
            conclusion = await self._conclusion(case, opened)
        except (EndpointBusy, NoControls):
            return
        if conclusion is None:
            return
        del self._running[case.endpoint]  # what follows may begin the next one
        self._listener.concluded(case, conclusion)

    async def _conclusion(self, case: Case, opened: asyncio.Event) -> Conclusion | None:
        """None when nothing is shut, as traffic shows. Raises NoControls, EndpointBusy."""
        triggered: float | None = None
        answered, subject = await self._answered(case), case.subject
        if answered and case.erratic:
            return None
        if answered in subject.unproven:
            subject = replace(subject, fellows=(*subject.fellows, answered))
        elif not answered:
            triggered = case.before[-1].sent_at if case.before else self._monotonic()
            names = self._listener.answered_since(case.endpoint, triggered)
            if names:
                open_beside = case.spared and subject.hostname not in names
                trials = case.before
                return self._runner.conclude_spared(trials, case.memory) if open_beside else None
            # The controls may have begun the block anew, and requests that had no way without the
            # name while they were waiting.
            triggered = self._monotonic()
            self._quarantine.trigger(case.endpoint, triggered)
            self._listener.quarantined(case)
            if case.spared:
                return await self._spared(case, triggered, opened)
            if case.alone and not case.tested_elsewhere and await self._opens(case, triggered):
                self._quarantine.lift(case.endpoint)
                triggered = None
        if case.tested_elsewhere:
            return None
        conclusion = await self._runner.examine(
            subject,
            case.timeouts,
            triggered=triggered,
            patient=not case.spared,
            once=case.by_turns,
            memory=case.memory,
            before=case.before,
            progressed=partial(self._listener.progressed, case),
        )
        if case.spared and (shut_at := shut_since(conclusion.trials)) is not None:
            self._listener.quarantined(case)
            return await self._spared(replace(case, before=conclusion.trials), shut_at, opened)
        return conclusion

    async def _spared(
        self, case: Case, triggered: float, opened: asyncio.Event
    ) -> Conclusion | None:
        """Wait until the endpoint answers under another name, and show the suspected one no more.

        Looks come whenever the time since the trigger has doubled, and later every second residual
        hold: whatever begins anew with each of them ends all the same. None when there is no other
        name left to look with, or when connections are refused for longer than a censor remembers:
        then the server is down, and probes see sooner that it is back.
        """
        hold, slack, trials = self._pace.residual_hold, self._pace.wait_jitter, case.before
        since = self._pace.first_glance * hold
        while True:
            due = triggered + since + (slack if since >= hold else 0.0)
            self._quarantine.prolong(case.endpoint, self._monotonic(), due)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(max(due - self._monotonic(), 0.0)):
                    await opened.wait()
                return self._runner.conclude_spared(trials, case.memory)
            names = self._to_look_with(case.subject)
            if not names:
                return None
            for name in names:
                trial = await self._runner.look(case.subject, name, self._patience(case))
                if trial.answered:
                    return self._runner.conclude_spared((*trials, trial), case.memory)
                if trial.outcome is Outcome.unreached and since >= hold:
                    return None
            since += min(since, 2 * hold)

    async def _opens(self, case: Case, triggered: float) -> bool:
        """Look while the endpoint is held, ever more seldom; whether it answers another name.

        A server that was stuck for a moment looks like one that is shut, and answers again soon.
        """
        hold, since = self._pace.residual_hold, self._pace.first_glance * self._pace.residual_hold
        while since < hold:
            await asyncio.sleep(triggered + since - self._monotonic())
            for name in self._to_look_with(case.subject):
                trial = await self._runner.look(case.subject, name, self._patience(case))
                if trial.answered:
                    return True
            since *= 2
        return False

    def _to_look_with(self, subject: Subject) -> tuple[str, ...]:
        """A control name, and one of the mirror's, for servers that cut off whatever they do not
        know; none when the operator wants none."""
        controls = self._runner.controls_of(replace(subject, fellows=()))
        known = (*subject.fellows, *subject.unproven)
        return (*controls[:1], *known[:1]) if controls else ()

    def _patience(self, case: Case) -> MonitorTimeouts:
        wait = min(case.timeouts.handshake, self._pace.silent_handshake)
        return replace(case.timeouts, connect=wait, handshake=wait)

    async def _answered(self, case: Case) -> str:
        """The other name under which the endpoint answers; "" if it does not. Raises NoControls.

        Names of which nothing is known come last, and only where all depends on the endpoint: the
        server may cut off every name but its own.
        """
        if self._quarantine.until(case.endpoint, self._monotonic()) is not None:
            return ""
        subject = case.subject
        alone = not subject.fellows and not subject.elsewhere
        unproven = subject.unproven if alone else ()
        timeouts = self._patience(case)
        glances = GLANCES_ERRATIC if case.erratic else GLANCES
        for number, other in enumerate((*[""] * glances, *unproven)):
            if number:
                await asyncio.sleep(GLANCE_GAP)
            controls = self._runner.controls_of(subject)  # now: a reload may change them
            if not controls:
                raise NoControls
            name = other or controls[number % len(controls)]
            made = await attempt(Role.control, subject, name, self._contexts, timeouts)
            if made.answered:
                return name
        return ""


MOST_TRIALS = 20
"""More than any procedure asks for; a bound in case of a mistake in one."""
_NO_MEMORY = Memory()
SPARED = "the name is not shown again: it would shut the only address"
"""Why it ends where other names depend on the address."""


class EndpointBusy(Exception):
    """Another experiment runs on the same address and port."""


class NoControls(Exception):
    """A reload has taken all control names away: there is nothing to compare with."""


@dataclass(frozen=True, slots=True)
class Conclusion:
    """Trials and finding of a block test."""

    trials: tuple[Trial, ...]
    finding: Finding
    why: str
    """Why it ended, for logs."""


class _Suspicion:
    """The suspicion that the name has shut its endpoint for every name; a context manager.

    The endpoint is quarantined once that is shown, by a control that is cut off too, or once no
    control looks at once. Until then, a fraction of a second, traffic goes on there under other
    names, for which there may be no other address.
    """

    def __init__(self, quarantine: Quarantine, endpoint: str) -> None:
        self._quarantine, self._endpoint = quarantine, endpoint
        self._cut_at: float | None = None
        """When the name was cut off, while nothing has been tried since."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._hold()

    def before(self, step: Next) -> None:
        """This is tried next."""
        if step.role is not Role.control or not step.at_once:
            self._hold()

    def after(self, step: Next, trial: Trial) -> bool:
        """This was tried; True if it was the name, and was cut off."""
        if trial.role is Role.target and trial.outcome in CUT:
            self._cut_at = trial.sent_at
            return True
        if trial.role is Role.control and trial.answered and step.at_once:
            self._quarantine.lift(self._endpoint)  # nothing was shut
            self._cut_at = None
        else:
            self._hold()
        return False

    def _hold(self) -> None:
        if self._cut_at is not None:
            self._quarantine.trigger(self._endpoint, self._cut_at)
            self._cut_at = None


class BlockTestRunner:
    """Runs experiments; knows the clock, the limits and what all of them have in common."""

    def __init__(
        self,
        contexts: TlsContexts,
        quarantine: Quarantine,
        sni_budget: SniBudget,
        pace: DiagnosisTiming,
        *,
        controls: Sequence[str] = (),
        online: Callable[[], bool] = lambda: True,
        heard: Callable[[], None] = lambda: None,
        round_trips: RoundTrips | None = None,
        rng: random.Random | None = None,
        monotonic: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._controls = tuple(controls)
        """`monitor.sni.control`, which may change; without any, nothing is examined."""
        self._contexts = contexts
        self._quarantine = quarantine
        self._sni_budget = sni_budget
        self._pace = pace
        self._online = online
        """True if our own network works; `heard` is called when a server has answered."""
        self._heard = heard
        self._round_trips = round_trips or RoundTrips()
        self._baseline = Baseline(pace)
        self._rng = rng or random.Random()
        self._monotonic = monotonic
        self._sleep = sleep
        self._busy: set[str] = set()

    def controls_of(self, subject: Subject) -> tuple[str, ...]:
        """The control names as they are now, then names that are known at the address; none when
        the operator wants none."""
        return (*self._controls, *subject.fellows) if self._controls else ()

    def configure(self, controls: Sequence[str]) -> None:
        """Take other control names, also for what runs."""
        self._controls = tuple(controls)

    def is_busy(self, address: str, port: int) -> bool:
        """True if an experiment runs on this endpoint."""
        return endpoint_of(address, port) in self._busy

    async def examine(
        self,
        subject: Subject,
        timeouts: MonitorTimeouts,
        *,
        triggered: float | None = None,
        patient: bool = True,
        once: bool = False,
        memory: Memory = _NO_MEMORY,
        before: Sequence[Trial] = (),
        progressed: Callable[[Finding], None] = lambda finding: None,
        saw: Callable[[Trial], None] = lambda trial: None,
    ) -> Conclusion:
        """Find out what is wrong with a path. Raises EndpointBusy.

        `triggered` is when the endpoint was last cut off; `patient` is False for somebody who
        waits at a terminal; `once`: the name is not shown again after a cut. `before` are routine
        trials that go into the finding. `progressed` is called with what every trial but the last
        has shown, `saw` with each trial that is made.
        """

        def show() -> None:
            progressed(interpret((*before, *trials), self._pace, memory))

        endpoint = endpoint_of(subject.address, subject.port)
        if endpoint in self._busy:
            raise EndpointBusy(endpoint)
        self._busy.add(endpoint)
        try:
            trials: list[Trial] = []
            why = await self._run(trials, subject, timeouts, triggered, patient, once, show, saw)
        finally:
            self._busy.discard(endpoint)
        made = (*before, *trials)
        return Conclusion(made, interpret(made, self._pace, memory), why)

    def conclude_spared(self, trials: tuple[Trial, ...], memory: Memory) -> Conclusion:
        """Conclusion on a spared name: its endpoint answers under another one, and it is not shown
        there again."""
        return Conclusion(trials, interpret_spared(trials, self._pace, memory), SPARED)

    async def look(self, subject: Subject, control: str, timeouts: MonitorTimeouts) -> Trial:
        """Look at an endpoint once, with a control name."""
        return await self._try(Next(Role.control, 0.0, control), subject, timeouts)

    async def _run(
        self,
        trials: list[Trial],
        subject: Subject,
        timeouts: MonitorTimeouts,
        triggered: float | None,
        patient: bool,
        once: bool,
        show: Callable[[], None],
        saw: Callable[[Trial], None],
    ) -> str:
        """Make trials until nothing more can be learned; why it ended."""
        wait = min(timeouts.handshake, self._pace.silent_handshake)
        timeouts = replace(timeouts, handshake=wait)
        endpoint = endpoint_of(subject.address, subject.port)
        with _Suspicion(self._quarantine, endpoint) as suspicion:
            while len(trials) < MOST_TRIALS:
                controls = self.controls_of(subject)
                if not controls:
                    return "there is no control name"
                decided = Confidence().after(trials, self._pace).decided
                step = next_step(
                    trials,
                    self._monotonic(),
                    self._rng,
                    self._pace,
                    triggered=triggered,
                    patient=patient,
                    controls=controls,
                    elsewhere=bool(subject.elsewhere) and not decided,
                )
                if isinstance(step, Done):
                    return step.why
                suspicion.before(step)
                if trials:
                    show()
                if not await self._wait_for(step, subject, patient):
                    return "it is not allowed to go on for now"
                if step.control and step.control not in self.controls_of(subject):
                    continue  # a reload has replaced it during the wait
                trial = await self._try(step, subject, timeouts)
                trials.append(trial)
                cut = suspicion.after(step, trial)
                if cut:
                    triggered = trial.sent_at
                saw(trial)
                if cut and once:
                    return "another name comes first"
        return "too many trials"

    async def _wait_for(self, step: Next, subject: Subject, patient: bool) -> bool:
        """Wait until the step may be made; False if nobody wants to wait for so long."""
        while (due := self._due(step, subject)) > (now := self._monotonic()):
            if not patient and due > step.not_before:
                return False
            await self._sleep(due - now)
        return step.role is not Role.target or self._sni_budget.spend(subject.hostname, now)

    def _due(self, step: Next, subject: Subject) -> float:
        """The time of a step: not in a hold, unless it has to follow a trigger at once."""
        now, due = self._monotonic(), step.not_before
        if not step.at_once:
            held = self._quarantine.until(endpoint_of(subject.address, subject.port), now)
            due = max(due, held or due)
        if step.role is Role.target:
            due = max(due, self._sni_budget.free_at(subject.hostname, now))
        return due

    async def _try(self, step: Next, subject: Subject, timeouts: MonitorTimeouts) -> Trial:
        held = self._quarantine.until(endpoint_of(subject.address, subject.port), self._monotonic())
        made = await attempt(step.role, subject, step.control, self._contexts, timeouts)
        if made.connect.failure is None:
            self._round_trips.add(made.connect.address, made.connect.seconds)
        if made.answered:
            self._heard()
            seen = made.decisive.tls
            if step.role is Role.control and seen is not None and seen.first_byte is not None:
                self._round_trips.answered(made.connect.address, seen.first_byte)
        trial = Trial(
            role=step.role,
            hostname=subject.hostname,
            address=made.connect.address,
            port=subject.port,
            sni=made.sni,
            step=made.decisive,
            at=self._monotonic(),
            rtt=self._round_trips.of(made.connect.address),
            in_residual=held is not None,
            anchors_ok=self._online(),
        )
        return self._with_baseline(trial) if trial.role is Role.control else trial

    def _with_baseline(self, trial: Trial) -> Trial:
        vouched = self._baseline.vouches(trial.address, trial.sni, trial.answered, trial.at)
        return replace(trial, baseline=vouched)
