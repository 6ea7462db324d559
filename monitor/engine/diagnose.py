"""One diagnosis of one mirror by hand: every name, resolver and address, step by step."""

from __future__ import annotations

import asyncio
import contextlib
import math
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from enum import Enum, auto
from typing import Protocol

from monitor.common.config import MirrorConfig, MonitorConfig
from monitor.common.names import names_of
from monitor.common.tasks import cancelled
from monitor.diagnosis.cdn import Place, cdn_of_path, detect_cdn, networks
from monitor.diagnosis.certificates import Memory
from monitor.diagnosis.classify import could_be_ours, is_unanswered, judge_step
from monitor.diagnosis.dns import Knowledge, judge_dns, judge_resolvers
from monitor.diagnosis.evidence import Code, Evidence
from monitor.diagnosis.finding import Finding, Level
from monitor.diagnosis.interpret import alone, interpret
from monitor.diagnosis.rollup import PathFinding, mirror_finding
from monitor.diagnosis.timing import DiagnosisTiming
from monitor.diagnosis.vantages import compared
from monitor.diagnosis.verdicts import BLOCKS
from monitor.diagnosis.witnesses import doubtful, unplugged
from monitor.engine.anchors import Witnesses
from monitor.engine.block_tests import BlockTestRunner, Conclusion
from monitor.engine.naming import NameService
from monitor.engine.prober import Probe, Prober
from monitor.engine.sni_budget import SniBudget
from monitor.engine.vantages import look
from monitor.health.quarantine import Quarantine
from monitor.health.snapshot import endpoint_of
from monitor.health.vantages import elsewhere
from monitor.probes.connect import as_address, dead_links, has_route
from monitor.probes.opening import Budget
from monitor.probes.proxied import VantageDown, through
from monitor.probes.results import Operation, PathResult, StepResult, Way
from monitor.probes.trial_results import CUT, Role, Trial
from monitor.probes.trials import Subject, attempt

MAX_NAMES = 4
MAX_ADDRESSES = 6
"""Of each name; the rest is left out, and said to be."""

Say = Callable[[Evidence], None]
"""Called with a description of each step."""
Saw = Callable[[StepResult], None]
"""Called with each step that is done, and the result of it."""
INTERRUPTED = "interrupted"
"""Why a block test ended early: its caller did not want to wait."""


class Triggers(Protocol):
    """Memory of endpoints that were cut off by a diagnosis before (`probes/trigger_file.py`)."""

    def ago(self, endpoint: str) -> float | None:
        """Seconds since the endpoint was cut off; None if it was not, of late."""

    def cut(self, endpoint: str) -> None:
        """The endpoint was cut off just now."""

    def answered(self, endpoint: str) -> None:
        """It answers: nothing is shut there."""


class NoTriggers:
    """No memory."""

    def ago(self, endpoint: str) -> float | None:
        """Nothing is known."""
        return None

    def cut(self, endpoint: str) -> None:
        """Nothing is kept."""

    def answered(self, endpoint: str) -> None:
        """Nothing is kept."""


class Untried(Enum):
    """Reasons to leave out a way."""

    cut_off = auto()
    """Another name has just been cut off at its address."""
    held = auto()
    """An earlier diagnosis may have shut its address."""
    too_many = auto()


@dataclass(frozen=True, slots=True)
class Inspection:
    """Observations and findings of a diagnosis."""

    mirror: MirrorConfig
    resolutions: tuple[StepResult, ...]
    """One for each name."""
    dns: tuple[Finding, ...]
    """On what the resolvers said about each of these names."""
    paths: tuple[tuple[PathResult, Finding], ...]
    block_test: Conclusion | None
    untried: tuple[tuple[Way, Untried], ...]
    """Ways that were left out, and why."""
    held: tuple[Evidence, ...] = ()
    """Addresses that an earlier diagnosis may have shut, which are left alone."""
    ours: Finding | None = None
    """On our own surroundings, where these are at fault and not the mirror."""
    interrupted: bool = False
    """True if somebody did not want to wait for the end: this is what was known so far."""
    elsewhere: tuple[tuple[str, PathResult], ...] = ()
    """What other vantages saw, by their names."""
    lost: tuple[tuple[str, Evidence], ...] = ()
    """Vantages that could not be used, and why."""
    disbelieved: frozenset[tuple[str, str]] = frozenset()
    """Names and the resolvers whose answer about them is forged or blocked, as it seems."""
    instance: Finding | None = None
    """Finding of the running instance, which has watched the mirror for longer."""
    instance_at: str = ""
    """When that instance last probed the mirror (RFC 3339)."""
    at: float = 0.0
    """When the diagnosis ended, in seconds since the epoch."""

    @property
    def finding(self) -> Finding:
        """On the mirror as a whole: its paths', or that of its names if they lead nowhere."""
        if self.ours is not None:
            return self.ours
        if self.paths:
            found = mirror_finding(self.findings())
            return found if self.ok else replace(found, evidence=(*found.evidence, *self.held))
        if self.held:
            return Finding("residual_block", Level.suspected, evidence=self.held, residual=True)
        if not self.dns:
            return Finding("unknown")
        return max(self.dns, key=lambda found: (found.blocked, found.down))

    @property
    def ok(self) -> bool:
        """True if the mirror can serve."""
        return any(judge_step(path.last).alive for path, _ in self.paths)

    @property
    def cdn(self) -> str:
        """The network that serves the first path of which that is known."""
        return next((cdn for path, _ in self.paths if (cdn := self.cdn_of(path))), "")

    def findings(self) -> list[PathFinding]:
        """The paths in the words of the roll-up."""
        mirror = self.mirror
        return [
            PathFinding(
                mirror.id,
                path.hostname,
                path.address,
                mirror.port,
                finding,
                judge_step(path.last).alive,
                self.cdn_of(path),
            )
            for path, finding in self.paths
        ]

    def places(self) -> list[Place]:
        """The ends of the paths."""
        return [Place(path.address, self.cdn_of(path)) for path, _ in self.paths]

    def cdn_of(self, path: PathResult) -> str:
        """The network that serves a path; "" when nothing shows."""
        seen = (o for r in self.resolutions if r.hostname == path.hostname for o in r.dns)
        return cdn_of_path(path, next((o.chain for o in seen if o.chain), ()))


@dataclass(slots=True)
class _Course:
    """Observations of a diagnosis so far."""

    mirror: MirrorConfig
    resolutions: list[StepResult] = field(default_factory=list)
    paths: list[PathResult] = field(default_factory=list)
    untried: list[tuple[Way, Untried]] = field(default_factory=list)
    held: list[Evidence] = field(default_factory=list)
    waiting: dict[Way, float] = field(default_factory=dict)
    """Ways to an endpoint that an earlier diagnosis may have shut, and when that was."""
    cut: dict[str, Trial] = field(default_factory=dict)
    """By address: the first handshake that was cut off there."""
    trials: list[Trial] = field(default_factory=list)
    """The trials of the block test."""
    conclusion: Conclusion | None = None
    elsewhere: list[tuple[str, PathResult]] = field(default_factory=list)
    lost: list[tuple[str, Evidence]] = field(default_factory=list)
    ours: Finding | None = None


class Inspector:
    """Inspects mirrors one after the other; keeps what is costly to make anew."""

    def __init__(
        self,
        config: MonitorConfig,
        names: NameService,
        pace: DiagnosisTiming,
        say: Say,
        *,
        patient: bool = False,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        saw: Saw = lambda step: None,
        triggers: Triggers | None = None,
        stop: asyncio.Event | None = None,
    ) -> None:
        self._config = config
        self._saw = saw
        self._names = names
        self._pace = pace
        self._say = say
        self._patient = patient
        self._triggers = triggers or NoTriggers()
        self._stop = stop or asyncio.Event()
        self._prober = Prober()
        self._prober.compare_with(config.sni.control)
        self._witnesses = Witnesses(self._prober.contexts, pace, self._prober.agent, time.monotonic)
        self._witnesses.configure(config.anchors, config.sni.control)
        self._quarantine = Quarantine(pace)
        self._runner = BlockTestRunner(
            self._prober.contexts,
            self._quarantine,
            SniBudget(pace),
            pace,
            controls=config.sni.control,
            round_trips=self._prober.round_trips,
            sleep=sleep,
        )

    async def inspect(self, mirror: MirrorConfig) -> Inspection:
        """Diagnose one mirror, or as far as it comes until `stop` is set."""
        course = _Course(mirror)
        work = asyncio.create_task(self._take(course))
        stopped = asyncio.create_task(self._stop.wait())
        try:
            await asyncio.wait({work, stopped}, return_when=asyncio.FIRST_COMPLETED)
            if work.done():
                await work
        finally:
            interrupted = not work.done()
            stopped.cancel()
            await cancelled([work])
        return self._inspection(course, interrupted)

    def _inspection(self, course: _Course, interrupted: bool) -> Inspection:
        mirror, conclusion, paths = course.mirror, course.conclusion, course.paths
        if conclusion is None and course.trials:
            found = interpret(course.trials, self._pace)
            conclusion = Conclusion(tuple(course.trials), found, INTERRUPTED)
        asked = [(r, self._known(mirror, r.hostname, paths)) for r in course.resolutions]
        memories = {r.hostname: self._names.believed(r) for r in course.resolutions}
        seen = [
            path
            for vantage in self._config.vantages
            for path in elsewhere(
                vantage.name, [p for name, p in course.elsewhere if name == vantage.name], 0.0
            ).paths
        ]
        return Inspection(
            mirror,
            tuple(course.resolutions),
            tuple(judge_dns(r.dns, known) for r, known in asked),
            tuple(
                (
                    path,
                    compared(
                        finding_of(mirror, path, conclusion, memories),
                        path.hostname,
                        path.address,
                        seen,
                    ),
                )
                for path in paths
            ),
            conclusion,
            tuple(course.untried),
            tuple(course.held),
            course.ours,
            interrupted,
            tuple(course.elsewhere),
            tuple(course.lost),
            frozenset(
                (resolution.hostname, resolver)
                for resolution, known in asked
                for resolver, found in judge_resolvers(resolution.dns, known).items()
                if found.verdict in BLOCKS
            ),
            at=time.time(),
        )

    async def _take(self, course: _Course) -> None:
        mirror = course.mirror
        for hostname in names_of(mirror)[:MAX_NAMES]:
            self._say(Code.resolving(name=hostname))
            resolved = await self._names.resolve(mirror, hostname, self._config.timeouts.resolve)
            course.resolutions.append(resolved)
            self._saw(resolved)
            ways = [Way(hostname, address) for address in resolved.addresses]
            course.untried += [(w, Untried.cut_off) for w in ways if w.address in course.cut]
            free = [way for way in ways if way.address not in course.cut]
            course.untried += [(way, Untried.too_many) for way in free[MAX_ADDRESSES:]]
            free = free[:MAX_ADDRESSES]
            open_ = [way for way in free if await self._is_open(course, way)]
            addresses = tuple(way.address for way in open_)
            trying = Code.trying(name=hostname, addresses=addresses)
            self._say(trying if addresses else Code.trying_nothing(name=hostname))
            for path in await asyncio.gather(*(self._try(mirror, way) for way in open_)):
                course.paths.append(path)
                if (trial := routine_trial(mirror, path)) and trial.outcome in CUT:
                    course.cut[path.address] = trial
                    self._triggers.cut(endpoint_of(path.address, mirror.port))
        course.ours = await self._surroundings(course)
        if course.ours is None:
            await self._look_from_elsewhere(course)
            await self._compare(course)

    async def _look_from_elsewhere(self, course: _Course) -> None:
        """The same from the other vantages, the paths that fail here first."""
        ordered = sorted(course.paths, key=lambda path: judge_step(path.last).alive)
        ways = [path.way for path in ordered] or list(course.waiting)
        for vantage in self._config.vantages:
            self._say(Code.from_vantage(name=course.mirror.host, vantage=vantage.name))
            async with contextlib.aclosing(Prober(dial=through(vantage.proxy))) as prober:
                try:
                    found = await look(prober, course.mirror, ways, self._config)
                except VantageDown as error:
                    course.lost.append((vantage.name, Code.vantage_down(reason=str(error))))
                else:
                    course.elsewhere += [(vantage.name, path) for path in found]

    async def _is_open(self, course: _Course, way: Way) -> bool:
        """False for an endpoint that an earlier diagnosis may have shut, until a control name is
        answered there again."""
        mirror = course.mirror
        endpoint = endpoint_of(way.address, mirror.port)
        ago = self._triggers.ago(endpoint)
        if ago is None or ago >= self._pace.residual_hold:
            return True
        subject = Subject(way.hostname, way.address, mirror.port, mirror.ca_file)
        for control in self._config.sni.control[:1]:
            made = await attempt(
                Role.control, subject, control, self._prober.contexts, self._config.timeouts
            )
            if made.answered:
                self._triggers.answered(endpoint)
                return True
        if self._patient and self._config.sni.control:
            course.waiting[way] = time.monotonic() - ago
        else:
            left = self._pace.residual_hold - ago
            course.held.append(
                Code.cut_before_this(address=endpoint, ago=round(ago), left=math.ceil(left))
            )
            course.untried.append((way, Untried.held))
        return False

    async def _surroundings(self, course: _Course) -> Finding | None:
        """The finding on our own clock or network, where no path works because of these."""
        paths = course.paths
        if any(judge_step(path.last).alive for path in paths):
            return None
        links = dead_links()
        if links is not None and not any(_on_this_machine(path.address) for path in paths):
            return unplugged(links)
        doubted = next((path for path in paths if doubtful(path.last)), None)
        if doubted is not None:
            self._say(Code.asking_others())
            await self._witnesses.ask(doubted.way, course.mirror.port)
            return self._witnesses.explain(doubted.last, time.time())
        why = await self._offline(course)
        if why is None:
            return None
        return Finding("local_network_down", Level.confirmed, evidence=(why,))

    async def _offline(self, course: _Course) -> Evidence | None:
        """Why our own network is to blame, if it is."""
        if any(not could_be_ours(path.last) for path in course.paths):
            return None
        silent = all(is_unanswered(each, ()) for each in course.resolutions)
        if course.waiting or course.held or not (course.paths or silent):
            return None
        if not has_route():
            return Code.no_route_anywhere()
        controls = self._config.sni.control
        if course.paths or not controls:
            return None
        for name in controls:
            if await self._names.answers(name, self._config.timeouts.resolve):
                return None
        return Code.resolvers_silent(names=tuple(controls))

    def _known(self, mirror: MirrorConfig, hostname: str, paths: Sequence[PathResult]) -> Knowledge:
        """Return the knowledge for judging the resolvers' answers about a name."""
        steps = [(p, p.step(Operation.tls_handshake)) for p in paths if p.hostname == hostname]
        shaken = [(path.address, step.tls) for path, step in steps if step and step.tls]
        return replace(
            self._names.knowledge(mirror, hostname),
            verified=frozenset(address for address, tls in shaken if tls.verified),
            refused=frozenset(address for address, tls in shaken if tls.verify_code),
            cdn_of=networks().by_address,
        )

    async def _try(self, mirror: MirrorConfig, way: Way) -> PathResult:
        timeouts = self._config.timeouts
        total = timeouts.connect + timeouts.handshake + timeouts.request
        (path,) = (await self._prober.ask(mirror, [way], timeouts, Budget.of(total))).paths
        for step in path.steps:
            self._saw(step)
        return path

    async def _compare(self, course: _Course) -> None:
        """Run a block test on the first path that was cut off, now or by an earlier diagnosis."""
        mirror, cut = course.mirror, next(iter(course.cut.values()), None)
        way = Way(cut.hostname, cut.address) if cut else next(iter(course.waiting), None)
        if way is None or not self._config.sni.control:
            return
        self._say(Code.comparing(name=way.hostname, address=way.address))
        endpoint = endpoint_of(way.address, mirror.port)

        def saw(trial: Trial) -> None:
            course.trials.append(trial)
            if trial.role is Role.target and trial.outcome in CUT:
                self._triggers.cut(endpoint)
            elif trial.answered and trial.address == way.address:
                self._triggers.answered(endpoint)

        course.trials += [cut] if cut else []
        course.conclusion = await self._runner.examine(
            Subject(way.hostname, way.address, mirror.port, mirror.ca_file),
            self._config.timeouts,
            triggered=cut.at if cut else course.waiting[way],
            patient=self._patient,
            before=[cut] if cut else [],
            saw=saw,
        )
        if cut is None and course.trials:
            course.paths.append(await self._after_waiting(mirror, way, course.trials))

    async def _after_waiting(
        self, mirror: MirrorConfig, way: Way, trials: Sequence[Trial]
    ) -> PathResult:
        """The path whose first trial had to wait: asked to the end where that was answered."""
        if trials and trials[-1].role is Role.target and trials[-1].outcome not in CUT:
            return await self._try(mirror, way)
        decisive = next((t for t in reversed(trials) if t.role is Role.target), trials[-1])
        return PathResult(way.address, (decisive.step,), way.hostname)


@asynccontextmanager
async def inspector(
    config: MonitorConfig,
    pace: DiagnosisTiming,
    say: Say,
    *,
    patient: bool = False,
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    saw: Saw = lambda step: None,
    triggers: Triggers | None = None,
    stop: asyncio.Event | None = None,
) -> AsyncIterator[Inspector]:
    """An inspector, whose resolvers are closed in the end; `stop` ends a diagnosis early."""
    names = NameService(config.dns.resolvers, pace)
    try:
        yield Inspector(
            config,
            names,
            pace,
            say,
            patient=patient,
            sleep=sleep,
            saw=saw,
            triggers=triggers,
            stop=stop,
        )
    finally:
        await names.aclose()


def _on_this_machine(address: str) -> bool:
    literal = as_address(address)
    return literal is not None and literal.is_loopback


def routine_trial(mirror: MirrorConfig, path: PathResult) -> Trial | None:
    """The path's handshake as a trial; None if it did not come to one."""
    shaken = path.step(Operation.tls_handshake)
    if shaken is None:
        return None
    now = time.monotonic()
    return Trial(Role.target, path.hostname, path.address, mirror.port, shaken.sni, shaken, now)


def finding_of(
    mirror: MirrorConfig,
    path: PathResult,
    block_test: Conclusion | None,
    believed: Mapping[str, frozenset[str] | None],
) -> Finding:
    """Finding about one path: from the block test on it, else from its last step.

    `believed` has the addresses of each name that nobody can have forged, None where none is known.
    """
    if block_test is not None and block_test.trials:
        first = block_test.trials[0]
        if (first.hostname, first.address) == (path.hostname, path.address):
            return block_test.finding
    last, trial = path.last, routine_trial(mirror, path)
    if last.operation is Operation.tls_handshake and last.failure and trial and not last.note:
        trusted = believed.get(path.hostname)
        return alone(trial, Memory(trusted_address=trusted is None or path.address in trusted))
    meaning = judge_step(last)
    ok = 1.0 if meaning.verdict == "ok" else 0.0
    if meaning.seen is None:
        return Finding(meaning.verdict, ok=ok)
    endpoint = endpoint_of(path.address, mirror.port)
    judged = Code.path_judged(address=endpoint, sentence=meaning.seen)
    return Finding(meaning.verdict, ok=ok, evidence=(judged,))


@dataclass(frozen=True, slots=True)
class ProbeReport:
    """The result of one probe."""

    mirror: MirrorConfig
    probe: Probe

    @property
    def ok(self) -> bool:
        """True if the mirror can serve."""
        return self.probe.meaning.alive

    @property
    def verdict(self) -> str:
        """The verdict's name."""
        return self.probe.meaning.verdict

    @property
    def sentence(self) -> str:
        """The reason in one sentence; empty when all is well."""
        return str(self.probe.meaning.seen or "")

    @property
    def cdn(self) -> str:
        """The content delivery network that was seen, or ""."""
        answer = self.probe.best.last.http if self.probe.best else None
        return detect_cdn(answer.headers) if answer else ""

    def lines(self) -> list[str]:
        """The report, line by line."""
        resolution = self.probe.resolution
        found = ", ".join(resolution.addresses)
        return [
            f"{self.mirror.host}: {_step(resolution)}{f' → {found}' if found else ''}",
            *(line for path in self.probe.paths for line in _path(path)),
            f"verdict: {self.verdict}{f' ({self.sentence})' if self.sentence else ''}",
        ]


def _path(path: PathResult) -> list[str]:
    return [f"  {path.address}: {_step(step)}{_extra(step)}" for step in path.steps]


def _step(step: StepResult) -> str:
    return f"{step.operation} {step.failure or 'ok'} in {step.seconds * 1000:.0f} ms"


def _extra(step: StepResult) -> str:
    if step.http is not None:
        return f", status {step.http.status}"
    if step.tls is not None and step.tls.version:
        return f", {step.tls.version}, certificate of {step.tls.issuer}" * (step.failure is None)
    return f" ({step.note})" if step.note else ""


async def probe_once(mirror: MirrorConfig, config: MonitorConfig) -> ProbeReport:
    """Probe a mirror once, step by step, with nothing else running."""
    timeouts = config.timeouts
    total = timeouts.resolve + timeouts.connect + timeouts.handshake + timeouts.request
    async with contextlib.aclosing(Prober(NameService(config.dns.resolvers))) as prober:
        return ProbeReport(mirror, await prober.probe(mirror, timeouts, total))
