"""Interpretation of a block test's trials: rules A to K, and the time of a reset.

A  the name is cut off twice, controls before both are answered: the name is blocked
B  the name is answered: what was seen before has passed
C  controls are cut off around a trigger: residual, inconclusive
D  names, no name and other bytes are cut off alike: the endpoint or TLS as such, if the server
   cannot have done it; else nothing tells a block from a dead backend
E  silence for every name: overload, or a drop by address
F  an alert: the server does not know the name, or speaks another TLS
G  a certificate that does not verify (`certificates.py`)
H  something that is not TLS: a block page
I  cut off within the handshake: a reader of certificates, or the server
J  the name is cut off here and answered at another address: the server, or the path to it alone
K  the name is cut off, and others after it that are answered again; it is not shown once more
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

from monitor.diagnosis.block_test import Round, rounds_of
from monitor.diagnosis.certificates import Memory, judge_certificate
from monitor.diagnosis.classify import judge_step
from monitor.diagnosis.clauses import Clause
from monitor.diagnosis.confidence import Confidence, counted, is_injected, residual_seen, spared
from monitor.diagnosis.evidence import Code, Evidence
from monitor.diagnosis.finding import Finding, Level
from monitor.diagnosis.timing import DiagnosisTiming
from monitor.probes.trial_results import ANSWERED, CUT, Outcome, Role, Trial

__all__ = ["Memory", "alone", "came_of", "interpret", "tells"]

_BLOCK = {
    Outcome.reset: "sni_block_rst",
    Outcome.eof: "sni_block_fin",
    Outcome.silence: "sni_block_drop",
}
_ALONE = {Outcome.reset: "tls_reset", Outcome.eof: "tls_eof", Outcome.silence: "tls_timeout"}
_CUT = {
    Outcome.reset: Code.cut_reset,
    Outcome.eof: Code.cut_closed,
    Outcome.late: Code.cut_halfway,
    Outcome.plain: Code.cut_plain,
    Outcome.other: Code.cut_unknown,
}
NO_CONTROL = "D"
"""The rule of findings without an answered control, whose trials do not count (`confidence.py`)."""
SHOWN = 0.001
"""Seconds; shorter times are below what is shown of them."""
_UNREACHED = {
    "connection_refused": "connection_refused",
    "connection_reset": "connection_reset",
}
_NO_MEMORY = Memory()


def interpret(
    trials: Sequence[Trial], pace: DiagnosisTiming, memory: Memory = _NO_MEMORY
) -> Finding:
    """One finding from the trials of one block test, in order; also from a part of one.

    Its level is what these trials alone bear; `confidence.Confidence` keeps it over time.
    """
    routine, rounds = rounds_of(trials)
    if not trials:
        return Finding("unknown")
    # What a glance at start-up met is not held against the block test that came after it.
    decides = trials[len(routine) :] if rounds else trials
    if not all(trial.anchors_ok for trial in decides):
        return Finding("local_network_down", rule="0", evidence=(Code.network_in_doubt(),))
    if not rounds:
        return alone(routine[-1], memory)
    this = rounds[-1]
    if not this.controlled and any(earlier.controlled for earlier in rounds):
        return _still_cut_off(this)
    decisive = this.again or this.target
    if decisive is None:
        return _no_target(this, routine)
    if decisive.outcome is Outcome.hello:
        return _passed(decisive, routine, rounds)
    if decisive.outcome not in CUT:
        return alone(decisive, memory)
    if this.controlled:
        return _name_cut_off(this, decisive, trials, pace)
    return _all_cut_off(this, decisive, pace)


def interpret_spared(
    trials: Sequence[Trial], pace: DiagnosisTiming, memory: Memory = _NO_MEMORY
) -> Finding:
    """Finding on a spared name, which was cut off and other names after it, while these are
    answered again: no more than suspected, for the name is not shown once more to find out.

    A server that was away for a moment looks the same.
    """
    shown = next(t for t in reversed(trials) if t.role is Role.target and t.outcome in CUT)
    finding = interpret(trials, pace, memory)
    if finding.rule == "0":
        return finding
    if finding.verdict != _BLOCK[shown.outcome]:
        even = (tells(shown), *(tells(t) for t in trials[-1:] if t.role is Role.control))
        finding = Finding(_BLOCK[shown.outcome], Level.suspected, 0.5, 0.5, 0.0, "K", even)
    told = (*finding.evidence, Code.not_shown_again(name=shown.hostname))
    return replace(finding, level=Level.suspected, evidence=told, residual=True, is_open=True)


def alone(trial: Trial, memory: Memory = _NO_MEMORY) -> Finding:
    """Finding of one target trial without controls; it never says that a name is blocked."""
    seen, outcome = trial.step.tls, trial.outcome
    if outcome is Outcome.hello:
        answered = Code.name_answered(name=trial.hostname)
        return Finding("ok", ok=1.0, rule="B", evidence=(answered,))
    if outcome is Outcome.alert and seen is not None and seen.alert is not None:
        if seen.incompatible:
            other = (Evidence.of(Clause.tls_incompatible, alert=seen.alert),)
            return Finding("tls_failed", Level.confirmed, 0.0, 1.0, 0.0, "F", other)
        alert = Code.alert(name=trial.hostname, alert=seen.alert)
        return Finding("tls_alert", Level.confirmed, 0.0, 1.0, 0.0, "F", (alert,))
    if outcome is Outcome.certificate and seen is not None:
        return judge_certificate(seen, trial.hostname, memory)
    if outcome is Outcome.plain:
        return Finding("block_page", Level.suspected, 0.7, 0.3, 0.0, "H", (Code.not_tls_answer(),))
    if trial.in_residual:
        before = (Code.cut_shortly_before(),)
        return Finding("residual_block", rule="C", evidence=before, residual=True)
    if outcome is Outcome.late:
        late = (Code.cut_within_handshake(),)
        return Finding("tls_reset_late", Level.none, 0.3, 0.7, 0.0, "I", late)
    if outcome is Outcome.unreached:
        verdict = _UNREACHED.get(trial.step.failure or "", "ip_unreachable")
        return Finding(verdict, rule="2", blocked=0.5, down=0.5, evidence=(tells(trial),))
    verdict = _ALONE.get(outcome, "tls_failed")
    return Finding(verdict, blocked=0.5, down=0.5, evidence=(tells(trial),))


def tells(trial: Trial) -> Evidence:
    """Describe the result of one trial in a sentence."""
    if trial.outcome is Outcome.unreached:
        return Code.not_connected(failure=_failure(trial))
    if trial.role is Role.not_tls:
        return Code.sent_not_tls(end=came_of(trial))
    if trial.sni and trial.role is Role.control:
        return Code.sent_control(name=trial.sni, end=came_of(trial))
    if trial.sni:
        return Code.sent_name(name=trial.sni, end=came_of(trial))
    return Code.sent_no_name(end=came_of(trial))


def came_of(trial: Trial) -> Evidence:
    """The same without what was sent, as a clause."""
    if trial.outcome is Outcome.unreached:
        return Code.end_not_connected(failure=_failure(trial))
    if trial.answered:
        return Code.end_answered()
    if trial.outcome is Outcome.silence:
        return Code.end_silent(seconds=trial.step.seconds)
    tls = trial.step.tls
    alerted = tls is not None and tls.alert is not None
    how = Code.cut_alert() if alerted else _CUT.get(trial.outcome, Code.cut_unknown)()
    if tls and tls.since_hello and tls.since_hello < SHOWN:
        return Code.end_cut_at_once(how=how)
    if tls and tls.since_hello:
        return Code.end_cut_after(how=how, ms=tls.since_hello * 1000)
    return Code.end_cut(how=how)


def _failure(trial: Trial) -> Evidence | str:
    return judge_step(trial.step).seen or ""


def _passed(good: Trial, routine: Sequence[Trial], rounds: Sequence[Round]) -> Finding:
    evidence = [Code.name_answered_now(name=good.hostname)]
    earlier = [*routine, *(this.target for this in rounds if this.target)]
    failed = [trial for trial in earlier if trial.outcome is not Outcome.hello]
    if failed:
        evidence.append(Code.passed())
    if not rounds[-1].controlled:
        evidence.append(Code.control_unanswered())
    return Finding("ok", ok=1.0, rule="B", evidence=tuple(evidence))


def _no_target(this: Round, routine: Sequence[Trial]) -> Finding:
    """Only controls yet: they fail, or the block test has just begun."""
    evidence = tuple(tells(trial) for trial in (*routine[-1:], *this.before, this.waited) if trial)
    control = this.waited or this.control
    if control is None or control.answered:
        return Finding("unknown", rule="C", evidence=evidence)
    if this.waited is None and routine and routine[-1].outcome in CUT:
        either = Code.after_effect_or_every_name()
        return Finding(_ALONE[routine[-1].outcome], rule="C", evidence=(*evidence, either))
    return replace(alone(control), rule="C", evidence=evidence)


def _still_cut_off(this: Round) -> Finding:
    evidence = (*(tells(trial) for trial in this.before), Code.all_cut_since_target())
    return Finding("residual_block", Level.suspected, 0.5, 0.5, 0.0, "C", evidence, residual=True)


def _name_cut_off(
    this: Round, target: Trial, trials: Sequence[Trial], pace: DiagnosisTiming
) -> Finding:
    """The target was cut off although a control was answered (rule A, or C while it lasts)."""
    residual = this.after is not None and not this.after.answered
    evidence = tuple(_story(this, target, trials, pace))
    if this.waited is not None and not this.waited.answered:
        return Finding("residual_block", Level.suspected, 0.5, 0.5, 0.0, "C", evidence, True)
    if this.counts_connections:
        told = (*evidence, Code.counts_connections())
        return Finding(_ALONE[target.outcome], Level.none, 0.2, 0.8, 0.0, "C", told)
    finding = Finding(
        _BLOCK[target.outcome],
        rule="A",
        evidence=evidence,
        residual=residual,
        is_open=this.is_open and not residual_seen(trials),
    )
    sure = Confidence().after(trials, pace)
    graded = sure.grade(finding)
    if sure.decided:
        differs = len({trial.outcome for trial in counted(trials)}) > 1
        confirmed = graded.level is Level.confirmed
        return replace(graded, level=Level.suspected) if confirmed and differs else graded
    return _undecided(graded, target, trials)


def _undecided(finding: Finding, target: Trial, trials: Sequence[Trial]) -> Finding:
    """The server itself may cut the name off; what became of it at another address may tell."""
    elsewhere = next((trial for trial in trials if trial.role is Role.elsewhere), None)
    told = finding.evidence
    if elsewhere is None or elsewhere.outcome not in (CUT | ANSWERED):
        return replace(finding, evidence=(*told, Code.may_be_the_server()))
    name, address = target.hostname, elsewhere.address
    if elsewhere.answered:
        told = (*told, Code.answered_elsewhere(name=name, address=address))
        verdict = _ALONE[target.outcome]
        return replace(finding, verdict=verdict, blocked=0.2, down=0.8, rule="J", evidence=told)
    told = (*told, Code.cut_off_elsewhere(name=name, address=address), Code.may_be_the_server())
    return replace(finding, evidence=told)


def _story(
    this: Round, target: Trial, trials: Sequence[Trial], pace: DiagnosisTiming
) -> Iterator[Evidence]:
    """Describe the events in order, and those among them that no server causes."""
    yield from (tells(trial) for trial in (this.control, this.target) if trial)
    if this.target is not None and _had_time(this.target):
        yield Code.not_too_soon()
    cut = [trial for trial in counted(trials) if trial.outcome in CUT]
    if len(cut) > 1:
        yield Code.cut_each_time(name=target.hostname, count=len(cut))
    if any(trial.lost for trial in cut):
        yield Code.lost_on_the_way(name=target.hostname)
    shut = this.after is not None and not this.after.answered
    if spared(trials, pace) and (shut or residual_seen(trials)):
        yield Code.residual_at_times()
    elif residual_seen(trials):
        yield Code.residual_passed()
    elif shut:
        yield Code.residual_so_far()
    elif this.after is not None and all(each.is_open for each in rounds_of(trials)[1]):
        yield Code.no_residual()
    for trial in (this.waited, *this.unprovoked, this.again):
        if trial is not None:
            yield Code.after_the_wait(trial=tells(trial))
    if early := _too_soon(target, pace):
        yield early


def _too_soon(trial: Trial, pace: DiagnosisTiming) -> Evidence | None:
    if trial.rtt is None or not is_injected(trial, pace):
        return None
    return Code.too_soon(after=(trial.reset_after or 0) * 1000, round_trip=trial.rtt * 1000)


def _had_time(trial: Trial) -> bool:
    """True if a reset or close came when an answer of the server can have come."""
    after, round_trip = trial.reset_after, trial.rtt
    return after is not None and round_trip is not None and after >= max(round_trip, SHOWN)


def _all_cut_off(this: Round, target: Trial, pace: DiagnosisTiming) -> Finding:
    """Control and target were both cut off (rules D and E)."""
    tried = (*this.before, this.target, this.no_sni, this.not_tls, this.waited)
    evidence = tuple(tells(trial) for trial in tried if trial)
    control = this.control
    if control is not None and not control.baseline:
        evidence += (Code.control_unproven(name=control.sni),)
    if this.waited is None and target.in_residual:
        return alone(target)
    forged, forged_control = (
        trial is not None and is_injected(trial, pace) for trial in (target, control)
    )
    if forged and not forged_control and (early := _too_soon(target, pace)):
        evidence += (early, Code.control_by_the_server())
        verdict = _BLOCK[target.outcome]
        return Finding(verdict, Level.suspected, 0.75, 0.25, 0.0, NO_CONTROL, evidence)
    if this.no_sni is not None and this.no_sni.answered and this.waited is not None:
        verdict, evidence = _BLOCK[target.outcome], (*evidence, Code.control_of_no_use())
        return Finding(verdict, Level.suspected, 0.5, 0.5, 0.0, NO_CONTROL, evidence)
    if target.outcome is Outcome.silence and control and control.outcome is Outcome.silence:
        return Finding("tls_timeout", Level.none, 0.5, 0.5, 0.0, "E", evidence)
    if not forged:
        evidence += (Code.nothing_is_answered(),)
    if this.no_sni is None or this.not_tls is None or not forged:
        return Finding(_ALONE[target.outcome], Level.none, 0.5, 0.5, 0.0, NO_CONTROL, evidence)
    tolerated = this.not_tls.outcome is not Outcome.reset
    verdict = "tls_block" if tolerated else "ip_port_block"
    return Finding(verdict, Level.suspected, 0.75, 0.25, 0.0, NO_CONTROL, evidence)
