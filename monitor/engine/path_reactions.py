"""Reactions to results: states of paths, block tests, and quarantines with their durations.

Everything here is one synchronous step after a probe, an experiment or news from traffic has come
in; the I/O is elsewhere (`probe_cycle.py`, `block_tests.py`).
"""

from __future__ import annotations

import logging
import random
from collections.abc import Callable, Iterator, Mapping, Sequence

from monitor.common.config import MirrorConfig, MonitorConfig
from monitor.common.metric_registry import MetricRegistry
from monitor.diagnosis.answer import OK, retry_after
from monitor.diagnosis.block_test import REPEATS
from monitor.diagnosis.certificates import judge_certificate
from monitor.diagnosis.classify import could_be_ours, judge_step
from monitor.diagnosis.evidence import Code
from monitor.diagnosis.finding import Finding, Level
from monitor.diagnosis.interpret import NO_CONTROL
from monitor.diagnosis.reactions import Reaction, Scope, grow, hold_after
from monitor.diagnosis.timing import NORMAL, DiagnosisTiming
from monitor.diagnosis.verdicts import (
    AFTER_EFFECT,
    BLOCKS,
    CDN_REFUSES,
    NAME_CUT,
    NO_FAULT,
    SNI_BLOCKS,
    reaction_to,
)
from monitor.engine import metrics
from monitor.engine.anchors import Anchors
from monitor.engine.block_tests import SPARED, BlockTests, Case, Conclusion
from monitor.engine.mirror_state import MirrorState
from monitor.engine.prober import Probe
from monitor.health.paths import CERTAIN, Path, in_order, is_cut, may_be_free
from monitor.health.quarantine import Quarantine
from monitor.health.snapshot import Override, Standing, endpoint_of
from monitor.probes.results import Operation, PathResult, StepResult, Way
from monitor.probes.trial_results import CUT, Role, Trial, was_cut_off
from monitor.probes.trials import Subject

log = logging.getLogger(__name__)

USUAL_INTERVAL = 15.0
"""Seconds between two probes for which the holds of the reactions are meant; a faster monitor tries
again sooner."""
_OF_PATHS = frozenset({Scope.path, Scope.endpoint, Scope.hostname})


def _as_before(path: Path) -> Finding:
    """The finding on a blocked path after one more cut: nothing new has to be found out."""
    seen = path.confidence.residual
    return Finding(
        path.verdict, Level(path.level), evidence=path.evidence, residual=seen, is_open=not seen
    )


def _stands_in_for(mirror: MirrorConfig, other: MirrorConfig) -> bool:
    """True if callers of the other one are served by this one too, as far as settings tell."""
    takes_keys = "*" in mirror.client_keys or set(mirror.client_keys) >= set(other.client_keys)
    lends_key = bool(mirror.api_key) or not other.api_key
    serves = _covers(mirror.paths, other.paths) and _covers(mirror.models, other.models)
    return takes_keys and lends_key and serves


def _covers(these: Sequence[str], those: Sequence[str]) -> bool:
    """True if one list holds all of another one; an empty list stands for everything."""
    return not these or (bool(those) and set(these) >= set(those))


class Reactions:
    """Turns results into what is known of paths, and into what is done about it."""

    def __init__(
        self,
        quarantine: Quarantine,
        anchors: Anchors,
        pace: DiagnosisTiming,
        rng: random.Random,
        monotonic: Callable[[], float],
        watches: Mapping[str, MirrorState],
        touched: Callable[[str], None],
        totals: MetricRegistry,
    ) -> None:
        """`touched` is called with the id of every mirror that should be shown anew."""
        self._config = MonitorConfig()
        self._quarantine = quarantine
        self._anchors = anchors
        self._pace = pace
        self._rng = rng
        self._monotonic = monotonic
        self._watches = watches
        self._touched = touched
        self._totals = totals
        self._block_tests: BlockTests | None = None

    def configure(self, config: MonitorConfig) -> None:
        """Take new settings."""
        self._config = config

    def examine_with(self, block_tests: BlockTests) -> None:
        """Have suspected paths examined by these, which tell their conclusions here."""
        self._block_tests = block_tests

    def heard(self) -> None:
        """Something out there has answered: our own network works."""
        self._anchors.heard()

    # Probes

    def take(self, watch: MirrorState, result: PathResult, began: float, alive: bool) -> None:
        """A probe that began then went over a path, to its end or to where it failed; `alive`: the
        mirror answers as it should over this path or another one."""
        path = watch.paths.path(result.way)
        if path is None:
            return  # it was forgotten meanwhile
        now, last = self._monotonic(), result.last
        meaning = judge_step(last)
        path.led_over(watch.network_of(result))
        answered = last.failure is None and (last.http is None or meaning.alive)
        of_mirror = reaction_to(meaning.verdict).scope not in _OF_PATHS
        if answered or (of_mirror and not alive):
            self._anchors.heard()
            path.was_answered(began)
            if path.last_bad <= began:  # else it may have failed after this
                self._worked(watch, path, result, now)
            return
        if self._anchors.silent or (could_be_ours(last) and not self._anchors.online):
            path.tried(now)  # frozen: this may be our own network's fault
            return
        path.failed(now, meaning.verdict)
        self._touched(watch.mirror.id)
        if last.operation is Operation.tls_handshake:
            self._handshake_failed(watch, path, last, now)
        elif path.failures >= self._config.fall:
            self.react(watch, path, Finding(meaning.verdict, Level.suspected))

    def _worked(self, watch: MirrorState, path: Path, result: PathResult, now: float) -> None:
        connected = result.step(Operation.connect)
        shaken = result.step(Operation.tls_handshake)
        seconds = sum(step.seconds for step in (connected, shaken) if step is not None)
        before = path.standing
        news = path.probed(now, seconds * 1000, shaken.tls if shaken is not None else None)
        self._shorten_holds_elsewhere(watch, path, now)
        if news:
            self._touched(watch.mirror.id)
            if before is not Standing.untested and path.may_say(now):
                named = "" if path.hostname == path.address else f"{path.hostname} over "
                log.info("%s: %s%s works again", watch.mirror.id, named, path.address)

    def _shorten_holds_elsewhere(self, watch: MirrorState, path: Path, now: float) -> None:
        """This path works: a look at a blocked name at another address costs its mirror nothing any
        more. Holds there end sooner, unless others depend on that address."""
        until = now + self._pace.residual_hold
        for other in watch.paths:
            waits = other.verdict in SNI_BLOCKS and other.held_until > until
            if waits and other.address != path.address and not self._comes_later(watch, other):
                other.waits_no_longer_than(until)

    def _handshake_failed(
        self, watch: MirrorState, path: Path, step: StepResult, now: float
    ) -> None:
        seen = step.tls
        if seen is not None and seen.verify_code:
            self.react(watch, path, judge_certificate(seen, path.hostname, path.memory))
        elif was_cut_off(step):
            self.cut_off(watch, path, step, now)
        elif path.failures >= self._config.fall:
            self.react(watch, path, Finding(path.verdict, Level.suspected))

    # Suspicion

    def cut_off(self, watch: MirrorState, path: Path, step: StepResult, now: float) -> None:
        """A handshake under the path's name was cut off: nobody uses the endpoint until more is
        known, nor the name elsewhere, if there is a way without it."""
        path.cut_off(now)
        subject = self._subject(watch, path)
        spared = self._is_spared(watch, path)
        known_to_shut = spared and path.confidence.residual
        if path.is_blocked and path.confidence.net >= REPEATS and not known_to_shut:
            self.react(watch, path, _as_before(path))
            return
        for other in watch.paths.beside(path):
            other.doubted(now, "unknown")
        watch.paths.trust_slow_names(path)
        self.spare_name(watch, path, now)
        mirror, block_tests = watch.mirror, self._block_tests
        trial = Trial(
            role=Role.target,
            hostname=path.hostname,
            address=path.address,
            port=mirror.port,
            sni=step.sni or path.hostname,
            step=step,
            at=now,
            in_residual=False,
            anchors_ok=self._anchors.online,
        )
        if block_tests is not None and self._config.sni.control:
            case = Case(
                mirror.id,
                subject,
                self._config.timeouts,
                path.memory,
                (trial,),
                spared=spared,
                erratic=path.is_erratic(now),
                by_turns=self._others_turn(watch, path),
                alone=not self._leads_round(watch, path),
            )
            block_tests.suspect(case)
        elif path.failures >= self._config.fall:
            self.react(watch, path, Finding(path.verdict, Level.suspected))

    def is_left_out(self, mirror: str, path: Path) -> bool:
        """True while a path is held, and not even the last resort of its mirror: its name would
        shut the endpoint on which others depend, or which another one may open."""
        watch = self._watches.get(mirror)
        held = is_cut(path) and path.is_held(self._monotonic())
        return held and watch is not None and self._comes_later(watch, path)

    def _comes_later(self, watch: MirrorState, path: Path) -> bool:
        return self._is_spared(watch, path) or self._others_turn(watch, path)

    def _is_spared(self, watch: MirrorState, path: Path) -> bool:
        """True if the path's name must not be shown where it shuts the endpoint: other names, of
        its mirror or of another one, depend on that."""
        return any(
            other.standing is not Standing.held and not self._only_fails(its, watch)
            for its, other in self._dependents(watch, path)
        )

    def _others_turn(self, watch: MirrorState, path: Path) -> bool:
        """True if the next name to show at the endpoint is one that was blocked there before."""
        return any(may_be_free(other, path) for _, other in self._dependents(watch, path))

    def _dependents(self, watch: MirrorState, path: Path) -> Iterator[tuple[MirrorState, Path]]:
        """The paths that lead to the same endpoint under other names, of mirrors in use that have
        no way round it: neither an own one, nor a mirror for the same callers.

        The path's own mirror is no such way: that it works elsewhere is no reason to take another
        one out of use again and again.
        """
        here = (path.address, watch.mirror.port)
        elsewhere = self._others_beyond(watch, *here)
        for its, other in self._paths_over(endpoint_of(*here)):
            if other.hostname == path.hostname or its.wish is not Override.use:
                continue
            mine = its is watch
            own = its.paths.may_work_elsewhere(path) if mine else its.paths.works_without(*here)
            if not own and not any(_stands_in_for(mirror, its.mirror) for mirror in elsewhere):
                yield its, other

    def _leads_round(self, watch: MirrorState, path: Path) -> bool:
        """True if requests have another way than the path's endpoint: over another address of the
        mirror, or a mirror for the same callers."""
        others = self._others_beyond(watch, path.address, watch.mirror.port)
        return watch.paths.may_work_elsewhere(path) or any(
            _stands_in_for(other, watch.mirror) for other in others
        )

    def _others_beyond(self, watch: MirrorState, address: str, port: int) -> list[MirrorConfig]:
        """The other mirrors in use that work without this endpoint."""
        return [
            other.mirror
            for other in self._watches.values()
            if other is not watch
            and other.is_up
            and other.wish is Override.use
            and other.paths.works_without(address, port)
        ]

    def _only_fails(self, its: MirrorState, watch: MirrorState) -> bool:
        """True if another mirror has only answered with errors for as long as a look may take the
        endpoint from it: a name that may be blocked no more does not wait for that."""
        since = self._monotonic() - self._pace.residual_hold
        return its is not watch and its.is_down and its.is_reached and its.turned <= since

    def spare_name(self, watch: MirrorState, path: Path, now: float) -> None:
        """Do not show the path's name at another address until more is known, if there is a way
        without it."""
        if watch.paths.may_work_under_another_name(path):
            for other in watch.paths.under(path.hostname):
                other.doubted(now, path.verdict)

    def _subject(self, watch: MirrorState, path: Path) -> Subject:
        """The path to examine, and names and addresses to compare it with."""
        mirror, since = watch.mirror, self._monotonic() - self._pace.control_baseline
        over = self._paths_over(endpoint_of(path.address, mirror.port))
        beside = [other for _, other in over if other.hostname != path.hostname]
        known = dict.fromkeys(p.hostname for p in beside if p.last_good >= since)
        unproven = [p.hostname for p in beside if p.hostname not in known and not is_cut(p)]
        works = [p.address for p in in_order(watch.paths) if p.standing is Standing.ok]
        elsewhere = next((address for address in works if address != path.address), "")
        return Subject(
            path.hostname,
            path.address,
            mirror.port,
            mirror.ca_file,
            fellows=tuple(known),
            unproven=tuple(unproven),
            elsewhere=elsewhere,
        )

    def answered_since(self, endpoint: str, moment: float) -> frozenset[str]:
        """The names whose handshakes came about at the endpoint and began well after that
        moment."""
        over = (path for _, path in self._paths_over(endpoint))
        return frozenset(path.hostname for path in over if path.answered > moment + CERTAIN)

    def _paths_over(self, endpoint: str) -> Iterator[tuple[MirrorState, Path]]:
        """The paths of all mirrors that lead to an address and port."""
        for watch in self._watches.values():
            for path in watch.paths:
                if endpoint_of(path.address, watch.mirror.port) == endpoint:
                    yield watch, path

    def _twins(self, path: Path, endpoint: str) -> list[tuple[MirrorState, Path]]:
        """The paths of other mirrors that lead to the same endpoint under the same name: whatever
        cuts it off cannot tell them from this one."""
        over = self._paths_over(endpoint)
        return [each for each in over if each[1] is not path and each[1].hostname == path.hostname]

    def answered(self, watch: MirrorState, path: Path, began: float) -> None:
        """A handshake of traffic that began then came about over a path: what answers is not shut,
        so the endpoint is left alone no longer."""
        path.was_answered(began)
        endpoint = endpoint_of(path.address, watch.mirror.port)
        if self._quarantine.contradicted(endpoint, began, self._monotonic()):
            log.info("%s answers: it is left alone no longer", endpoint)
            if self._block_tests is not None:
                self._block_tests.contradicted(endpoint, path.hostname)
            self._touched(watch.mirror.id)

    def progressed(self, case: Case, finding: Finding) -> None:
        """An experiment has shown something, and goes on for minutes: a block is shown at once."""
        watch, path = self._examined(case)
        if watch is not None and path is not None and finding.verdict in SNI_BLOCKS:
            path.judged(finding.verdict, Level.suspected.value, finding.evidence)
            self._touched(watch.mirror.id)

    def _examined(self, case: Case) -> tuple[MirrorState | None, Path | None]:
        """The mirror and the path of an experiment, if they are still there."""
        watch, subject = self._watches.get(case.mirror), case.subject
        path = watch.paths.path(Way(subject.hostname, subject.address)) if watch else None
        return watch, path

    def quarantined(self, case: Case) -> None:
        """An endpoint is held from now on, for every mirror that has it."""
        log.info("%s is left alone: a block is suspected", case.endpoint)
        _, path = self._examined(case)
        if path is not None:
            either = (Code.after_effect_or_every_name(),)
            path.judged(path.verdict, Level.suspected.value, either)
            if case.spared:  # so that another name is the first to be used when the time is over
                now = self._monotonic()
                until = now + self._next_costly_look(path)
                path.put_aside(until)
                for _, twin in self._twins(path, case.endpoint):
                    twin.doubted(now, path.verdict)
                    twin.put_aside(until)
        for mirror in {watch.mirror.id for watch, _ in self._paths_over(case.endpoint)}:
            self._touched(mirror)

    def concluded(self, case: Case, conclusion: Conclusion) -> None:
        """An experiment has ended."""
        watch, path = self._examined(case)
        if watch is None or path is None:
            return
        finding = self._graded(watch, path, conclusion)
        metrics.count_experiment(self._totals, watch.mirror.id, finding)
        log.info(
            "%s over %s: %s (%s; %s)",
            path.hostname,
            case.endpoint,
            finding.verdict,
            finding.level,
            conclusion.why,
        )
        self._touched(watch.mirror.id)
        for other in (path, *watch.paths.beside(path)):
            other.due()
        if finding.verdict == OK or finding.is_open:
            self._quarantine.lift(case.endpoint)
        if finding.verdict == OK:
            path.was_answered(max(t.sent_at for t in conclusion.trials if t.answered))
            path.succeeded(self._monotonic())
        elif finding.verdict not in NO_FAULT:
            cut = [t.sent_at for t in conclusion.trials if t.outcome in CUT]
            self.react(watch, path, finding, max(cut, default=None))

    def _graded(self, watch: MirrorState, path: Path, conclusion: Conclusion) -> Finding:
        finding = conclusion.finding
        others = [p for p in watch.paths.under(path.hostname) if p.address != path.address]
        last = conclusion.trials[-1:]
        cut_elsewhere = any(t.role is Role.elsewhere and t.outcome in CUT for t in last)
        path.tested(
            conclusion.trials,
            self._pace,
            anchor_failures=self._anchors.failing,
            second_address=any(p.verdict == finding.verdict for p in others) or cut_elsewhere,
            akamai=watch.network == "akamai",
        )
        counted = conclusion.why != SPARED and finding.rule != NO_CONTROL
        return path.confidence.grade(finding) if counted and finding.verdict in BLOCKS else finding

    # Reactions

    def react(
        self, watch: MirrorState, path: Path, finding: Finding, cut_at: float | None = None
    ) -> None:
        """Hold what the verdict is about, for as long as it asks for; `cut_at`: when a handshake
        was last cut off there, now if it is not given."""
        reaction, now = reaction_to(finding.verdict), self._monotonic()
        path.judged(finding.verdict, finding.level.value, finding.evidence)
        until = self._until(watch, path, finding, now if cut_at is None else cut_at)
        cut = finding.verdict in NAME_CUT
        twins = self._twins(path, endpoint_of(path.address, watch.mirror.port)) if cut else ()
        for its, _ in twins:
            self._touched(its.mirror.id)
        for held in (path, *self._fellows(watch, path, reaction), *(twin for _, twin in twins)):
            if held is not path:
                held.judged(finding.verdict, Level.suspected.value, ())
            held.hold(until)
        self._touched(watch.mirror.id)

    def burdened(self, watch: MirrorState, finding: Finding) -> None:
        """Long answers stop dead, or are slow: where another network leads to the mirror, that one
        is taken; its share of the traffic is smaller in any case (`MirrorState.weigh`)."""
        works = [path for path in in_order(watch.paths) if path.standing is Standing.ok]
        elsewhere = [path for path in works[1:] if path.network != works[0].network]
        if reaction_to(finding.verdict).scope is Scope.cdn and elsewhere:
            self.react(watch, works[0], finding)

    def rest(self, watch: MirrorState, probe: Probe, wall: float) -> None:
        """A mirror that refuses us for a reason of its own is asked seldom, or when it says."""
        meaning = probe.meaning
        reaction, now = reaction_to(meaning.verdict), self._monotonic()
        if not (reaction.hold and reaction.scope is Scope.mirror):
            watch.rest.forget()
        elif meaning.alive or (meaning.verdict in CDN_REFUSES and watch.is_down):
            asked = retry_after(probe.headers, wall)
            hold = hold_after(reaction, watch.rest.taken + 1, self._rng, self._pace, asked)
            scale = self._scale(meaning.verdict) if asked is None else 1.0
            watch.rest.begin(now + hold * scale)

    def _until(self, watch: MirrorState, path: Path, finding: Finding, cut_at: float) -> float:
        """Until when to hold; where the endpoint is quarantined, that says how long.

        The next look at a blocked name shuts the endpoint again: seldom, where nothing else works,
        and hardly ever, where other names depend on the endpoint.
        """
        verdict, reaction = finding.verdict, reaction_to(finding.verdict)
        now, pace, repeats = self._monotonic(), self._pace, path.repeats + 1
        if not reaction.quarantine and verdict not in NAME_CUT:
            return now + self._usual_hold(path, verdict)
        some = now + pace.residual_hold
        if finding.is_open and not finding.residual:
            return some
        until = some if finding.is_open else self._left_alone(watch, path, finding, cut_at)
        if verdict in NAME_CUT and self._comes_later(watch, path):
            return max(until, now + self._next_costly_look(path))
        if verdict not in SNI_BLOCKS or watch.paths.works_elsewhere(path):
            return until
        return max(until, now + grow(pace.residual_hold, 2.0, repeats, pace.residual_max))

    def _left_alone(self, watch: MirrorState, path: Path, finding: Finding, cut_at: float) -> float:
        """Quarantine the endpoint, if that is the reaction to the verdict: until when, or how long
        the path is held by itself."""
        verdict, reaction, now = finding.verdict, reaction_to(finding.verdict), self._monotonic()
        if not reaction.quarantine:
            return now + self._usual_hold(path, verdict)
        endpoint, quarantine = endpoint_of(path.address, watch.mirror.port), self._quarantine
        if (until := quarantine.until(endpoint, now)) is not None:
            return until
        if verdict == AFTER_EFFECT:
            return quarantine.still_shut(endpoint, now)
        return quarantine.trigger(endpoint, cut_at)

    def _usual_hold(self, path: Path, verdict: str) -> float:
        """Seconds for which the reaction to a verdict holds a path."""
        seconds = hold_after(reaction_to(verdict), path.repeats + 1, self._rng, self._pace)
        return seconds * self._scale(verdict)

    def _next_costly_look(self, path: Path) -> float:
        """Seconds until the next look at a name that shuts an address on which others depend."""
        return grow(self._pace.costly_look, 2.0, path.repeats + 1, self._pace.costly_look_max)

    def _fellows(self, watch: MirrorState, path: Path, reaction: Reaction) -> list[Path]:
        """The other paths that a verdict speaks of; what works by its own probes stays in use, but
        behind one content network all of them lead to the same place."""
        if reaction.scope is Scope.cdn:
            return [p for p in watch.paths if p is not path and p.network == path.network != ""]
        if reaction.scope is Scope.hostname:
            under = [p for p in watch.paths.under(path.hostname) if p is not path]
            held = [p for p in under if p.standing is Standing.held and p.verdict == path.verdict]
            return [*held, *(p for p in under if p.standing is Standing.suspected)]
        some = watch.paths.beside(path) if reaction.scope is Scope.endpoint else []
        return [p for p in some if p.standing is Standing.suspected]

    def _scale(self, verdict: str) -> float:
        """Tests and impatient operators shorten what is waited: the residual, or the interval."""
        if verdict in BLOCKS:
            return self._pace.residual_hold / NORMAL.residual_hold
        return min(1.0, self._config.interval / USUAL_INTERVAL)
