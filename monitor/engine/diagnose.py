"""One diagnosis of one mirror by hand: every name, resolver and address, step by step."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace

from monitor.common.config import MirrorConfig, MonitorConfig
from monitor.common.names import names_of
from monitor.diagnosis.cdn import Place, cdn_of_path, detect_cdn, networks
from monitor.diagnosis.certificates import Memory
from monitor.diagnosis.classify import judge_step
from monitor.diagnosis.dns import Knowledge, judge_dns
from monitor.diagnosis.evidence import Code
from monitor.diagnosis.finding import Finding
from monitor.diagnosis.interpret import alone
from monitor.diagnosis.rollup import PathFinding, mirror_finding
from monitor.diagnosis.timing import DiagnosisTiming
from monitor.diagnosis.witnesses import doubtful, unplugged
from monitor.engine.anchors import Witnesses
from monitor.engine.block_tests import BlockTestRunner, Conclusion
from monitor.engine.naming import NameService
from monitor.engine.prober import Probe, Prober
from monitor.engine.sni_budget import SniBudget
from monitor.health.quarantine import Quarantine
from monitor.probes.connect import any_link, as_address
from monitor.probes.opening import Budget
from monitor.probes.results import Operation, PathResult, StepResult, Way
from monitor.probes.trial_results import CUT, Role, Trial
from monitor.probes.trials import Subject

MAX_NAMES = 4
MAX_ADDRESSES = 6
"""Of each name; the rest is left out, and said to be."""

Say = Callable[[str], None]
"""Called with a description of each step."""
Saw = Callable[[StepResult], None]
"""Called with each step that is done, and the result of it."""


@dataclass(frozen=True, slots=True)
class Inspection:
    """Observations and findings of a diagnosis."""

    mirror: MirrorConfig
    resolutions: tuple[StepResult, ...]
    """One for each name."""
    dns: tuple[Finding, ...]
    """On what the resolvers said about each of these names."""
    paths: tuple[tuple[PathResult, Finding], ...]
    experiment: Conclusion | None
    spared: tuple[Way, ...]
    """Not tried, because the address had just been cut off after another name, or one too many."""
    ours: Finding | None = None
    """On our own surroundings, where these are at fault and not the mirror."""

    @property
    def finding(self) -> Finding:
        """On the mirror as a whole: its paths', or that of its names if they lead nowhere."""
        if self.ours is not None:
            return self.ours
        if self.paths:
            return mirror_finding(self.findings())
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
    ) -> None:
        self._config = config
        self._saw = saw
        self._names = names
        self._say = say
        self._patient = patient
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
        """Diagnose one mirror."""
        resolutions: list[StepResult] = []
        paths: list[PathResult] = []
        spared: list[Way] = []
        cut: dict[str, Trial] = {}
        for hostname in names_of(mirror)[:MAX_NAMES]:
            self._say(f"{hostname}: resolving")
            resolved = await self._names.resolve(mirror, hostname, self._config.timeouts.resolve)
            resolutions.append(resolved)
            self._saw(resolved)
            ways = [Way(hostname, address) for address in resolved.addresses]
            free = [way for way in ways if way.address not in cut][:MAX_ADDRESSES]
            spared += [way for way in ways if way not in free]
            self._say(f"{hostname}: trying {', '.join(way.address for way in free) or 'nothing'}")
            for path in await asyncio.gather(*(self._try(mirror, way) for way in free)):
                paths.append(path)
                if (trial := routine_trial(mirror, path)) and trial.outcome in CUT:
                    cut[path.address] = trial
        ours = await self._surroundings(mirror, paths)
        conclusion = await self._compare(mirror, None if ours else next(iter(cut.values()), None))
        memories = {r.hostname: self._names.believed(r) for r in resolutions}
        dns = [judge_dns(r.dns, self._known(mirror, r.hostname, paths)) for r in resolutions]
        found = [(path, finding_of(mirror, path, conclusion, memories)) for path in paths]
        return Inspection(
            mirror,
            tuple(resolutions),
            tuple(dns),
            tuple(found),
            conclusion,
            tuple(spared),
            ours,
        )

    async def _surroundings(
        self, mirror: MirrorConfig, paths: Sequence[PathResult]
    ) -> Finding | None:
        """The finding on our own clock or network, where no path works because of these."""
        if any(judge_step(path.last).alive for path in paths):
            return None
        if not any_link() and not any(_on_this_machine(path.address) for path in paths):
            return unplugged()
        doubted = next((path for path in paths if doubtful(path.last)), None)
        if doubted is None:
            return None
        self._say("asking others for their time and certificate")
        await self._witnesses.ask(doubted.way, mirror.port)
        return self._witnesses.explain(doubted.last, time.time())

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

    async def _compare(self, mirror: MirrorConfig, cut: Trial | None) -> Conclusion | None:
        """The experiment, on the first path that was cut off."""
        if cut is None or not self._config.sni.control:
            return None
        self._say(f"{cut.hostname}: comparing with a control name on {cut.address}")
        return await self._runner.examine(
            Subject(cut.hostname, cut.address, cut.port, mirror.ca_file),
            self._config.timeouts,
            triggered=cut.at,
            patient=self._patient,
            before=[cut],
        )


@asynccontextmanager
async def inspector(
    config: MonitorConfig,
    pace: DiagnosisTiming,
    say: Say,
    *,
    patient: bool = False,
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    saw: Saw = lambda step: None,
) -> AsyncIterator[Inspector]:
    """An inspector, whose resolvers are closed in the end."""
    names = NameService(config.dns.resolvers, pace)
    try:
        yield Inspector(config, names, pace, say, patient=patient, sleep=sleep, saw=saw)
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
    experiment: Conclusion | None,
    believed: Mapping[str, frozenset[str] | None],
) -> Finding:
    """Finding about one path: from the block test on it, else from its last step.

    `believed` has the addresses of each name that nobody can have forged, None where none is known.
    """
    if experiment is not None and experiment.trials:
        first = experiment.trials[0]
        if (first.hostname, first.address) == (path.hostname, path.address):
            return experiment.finding
    last, trial = path.last, routine_trial(mirror, path)
    if last.operation is Operation.tls_handshake and last.failure and trial and not last.note:
        trusted = believed.get(path.hostname)
        return alone(trial, Memory(trusted_address=trusted is None or path.address in trusted))
    meaning = judge_step(last)
    ok = 1.0 if meaning.verdict == "ok" else 0.0
    if meaning.seen is None:
        return Finding(meaning.verdict, ok=ok)
    judged = Code.path_judged(address=path.address, sentence=meaning.seen)
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
