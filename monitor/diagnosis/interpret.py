"""Interpretation of a block test's trials: rules A to I, and the time of a reset.

A  the name is cut off twice, controls before both are answered: the name is blocked
B  the name is answered: what was seen before has passed
C  controls are cut off around a trigger: residual, inconclusive
D  names, no name and other bytes are cut off alike: the endpoint or TLS as such
E  silence for every name: overload, or a drop by address
F  an alert: the server does not know the name
G  a certificate that does not verify (`certificates.py`)
H  something that is not TLS: a block page
I  cut off within the handshake: a reader of certificates, or the server
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

from monitor.diagnosis.block_test import Round, rounds_of
from monitor.diagnosis.certificates import Memory, judge_certificate
from monitor.diagnosis.confidence import Confidence, reset_ratio, residual_seen
from monitor.diagnosis.timing import DiagnosisTiming
from monitor.probes.trial_results import CUT, Finding, Level, Outcome, Role, Trial

__all__ = ["Memory", "alone", "came_of", "interpret", "tells"]

_BLOCK = {
    Outcome.reset: "sni_block_rst",
    Outcome.eof: "sni_block_fin",
    Outcome.silence: "sni_block_drop",
}
_ALONE = {Outcome.reset: "tls_reset", Outcome.eof: "tls_eof", Outcome.silence: "tls_timeout"}
_WORDS = {
    Outcome.reset: "reset",
    Outcome.eof: "closed",
    Outcome.silence: "met with silence",
    Outcome.unreached: "not even connected",
    Outcome.late: "cut off half-way",
    Outcome.plain: "answered with something that is not TLS",
    Outcome.other: "ended by an unknown fault",
}
_UNREACHED = {
    "connection_refused": "connection_refused",
    "connection_reset": "connection_reset",
}
_NO_MEMORY = Memory()


def interpret(
    trials: Sequence[Trial], pace: DiagnosisTiming, memory: Memory = _NO_MEMORY
) -> Finding:
    """One finding from the trials of one experiment, in order; also from a part of one.

    Its level is what these trials alone bear; `confidence.Confidence` keeps it over time.
    """
    routine, rounds = rounds_of(trials)
    if not trials:
        return Finding("unknown")
    # What a glance at start-up met is not held against the experiment that came after it.
    decides = trials[len(routine) :] if rounds else trials
    if not all(trial.anchors_ok for trial in decides):
        blind = "Our own network was not known to work while this was tried."
        return Finding("local_network_down", rule="0", evidence=(blind,))
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
    return _all_cut_off(this, decisive)


def alone(trial: Trial, memory: Memory = _NO_MEMORY) -> Finding:
    """Finding of one target trial without controls; it never says that a name is blocked."""
    seen, outcome = trial.step.tls, trial.outcome
    if outcome is Outcome.hello:
        return Finding("ok", ok=1.0, rule="B", evidence=(f"{trial.hostname} is answered.",))
    if outcome is Outcome.alert and seen is not None:
        text = f"The server refuses TLS for {trial.hostname} with alert {seen.alert}."
        return Finding("tls_alert", Level.confirmed, 0.0, 1.0, 0.0, "F", (text,))
    if outcome is Outcome.certificate and seen is not None:
        return judge_certificate(seen, trial.hostname, memory)
    if outcome is Outcome.plain:
        text = "Our TLS hello is answered with something that is not TLS."
        return Finding("block_page", Level.suspected, 0.7, 0.3, 0.0, "H", (text,))
    if trial.in_residual:
        text = "The same address and port was cut off shortly before, after a blocked name."
        return Finding("residual_block", rule="C", evidence=(text,), residual=True)
    if outcome is Outcome.late:
        text = "The handshake was cut off after a part of the server's answer."
        return Finding("tls_reset_late", Level.none, 0.3, 0.7, 0.0, "I", (text,))
    if outcome is Outcome.unreached:
        verdict = _UNREACHED.get(trial.step.failure or "", "ip_unreachable")
        return Finding(verdict, rule="2", blocked=0.5, down=0.5, evidence=(tells(trial),))
    verdict = _ALONE.get(outcome, "tls_failed")
    return Finding(verdict, blocked=0.5, down=0.5, evidence=(tells(trial),))


def tells(trial: Trial) -> str:
    """Describe the result of one trial in a sentence."""
    if trial.outcome is Outcome.unreached:
        return f"No connection came about: {trial.step.failure}."
    hello = f"With {trial.sni or 'no name'} in our hello"
    sent = "With bytes that are not TLS" if trial.role is Role.not_tls else hello
    return f"{sent} {came_of(trial)}."


def came_of(trial: Trial) -> str:
    """The same without what was sent, as a clause."""
    if trial.outcome is Outcome.unreached:
        return f"no connection came about: {trial.step.failure}"
    if trial.answered:
        return "the server answers"
    word = _WORDS.get(trial.outcome, "ended")
    tls = trial.step.tls
    after = f" after {tls.since_hello * 1000:.0f} ms" if tls and tls.since_hello else ""
    return f"the connection is {word}{after}"


def _passed(good: Trial, routine: Sequence[Trial], rounds: Sequence[Round]) -> Finding:
    evidence = [f"{good.hostname} is answered now."]
    earlier = [*routine, *(this.target for this in rounds if this.target)]
    failed = [trial for trial in earlier if trial.outcome is not Outcome.hello]
    if failed:
        evidence.append("It was not before; that has passed.")
    if not rounds[-1].controlled:
        evidence.append("The control name is not answered here and is of no use.")
    return Finding("ok", ok=1.0, rule="B", evidence=tuple(evidence))


def _no_target(this: Round, routine: Sequence[Trial]) -> Finding:
    """Only controls yet: they fail, or the experiment has just begun."""
    evidence = tuple(tells(trial) for trial in (*routine[-1:], *this.before, this.waited) if trial)
    control = this.waited or this.control
    if control is None or control.answered:
        return Finding("unknown", rule="C", evidence=evidence)
    if this.waited is None and routine and routine[-1].outcome in CUT:
        text = "That may be the after-effect of a block, or concern every name: wait and repeat."
        return Finding(_ALONE[routine[-1].outcome], rule="C", evidence=(*evidence, text))
    return replace(alone(control), rule="C", evidence=evidence)


def _still_cut_off(this: Round) -> Finding:
    text = "Everything is cut off since the target was tried; the control was answered before."
    evidence = (*(tells(trial) for trial in this.before), text)
    return Finding("residual_block", Level.suspected, 0.5, 0.5, 0.0, "C", evidence, residual=True)


def _name_cut_off(
    this: Round, target: Trial, trials: Sequence[Trial], pace: DiagnosisTiming
) -> Finding:
    """The target was cut off although a control was answered (rule A, or C while it lasts)."""
    residual = this.after is not None and not this.after.answered
    evidence = tuple(_story(this, target, trials, pace))
    if this.waited is not None and not this.waited.answered:
        return Finding("residual_block", Level.suspected, 0.5, 0.5, 0.0, "C", evidence, True)
    finding = Finding(_BLOCK[target.outcome], rule="A", evidence=evidence, residual=residual)
    graded = Confidence().after(trials, pace).grade(finding)
    differs = this.again is not None and this.target and this.target.outcome != target.outcome
    if graded.level is Level.confirmed and differs:
        return replace(graded, level=Level.suspected)
    return graded


def _story(
    this: Round, target: Trial, trials: Sequence[Trial], pace: DiagnosisTiming
) -> Iterator[str]:
    """Describe the events in order, and those among them that no server causes."""
    yield from (tells(trial) for trial in (this.control, this.target) if trial)
    if this.after is not None:
        if this.after.answered:
            yield "Right after it the control is answered again: no residual block."
        else:
            yield _scope(residual_seen(trials))
    for trial in (this.waited, this.again):
        if trial is not None:
            yield f"After the wait: {tells(trial)}"
    if text := _too_soon(target, pace):
        yield text


def _scope(waited: bool) -> str:
    known = "and is answered again after the wait" if waited else "so far"
    return (
        "Right after it the control is cut off too, on the same address and port, "
        f"{known}: servers do not do that."
    )


def _too_soon(trial: Trial, pace: DiagnosisTiming) -> str:
    ratio = reset_ratio(trial, pace)
    if ratio is None or ratio >= pace.reset_ratio or trial.rtt is None:
        return ""
    return (
        f"It ended after {(trial.reset_after or 0) * 1000:.1f} ms, a round trip takes "
        f"{trial.rtt * 1000:.1f} ms: the server cannot have sent that."
    )


def _all_cut_off(this: Round, target: Trial) -> Finding:
    """Control and target were cut off alike (rules D and E)."""
    tried = (*this.before, this.target, this.no_sni, this.not_tls, this.waited)
    evidence = tuple(tells(trial) for trial in tried if trial)
    control = this.control
    if control is not None and not control.baseline:
        evidence += (f"{control.sni} has not been answered here before: it compares with little.",)
    if this.waited is None and target.in_residual:
        return alone(target)
    if this.no_sni is not None and this.no_sni.answered and this.waited is not None:
        note = "The control name is of no use here: the server may refuse every unknown name."
        verdict = _BLOCK[target.outcome]
        return Finding(verdict, Level.suspected, 0.5, 0.5, 0.0, "D", (*evidence, note))
    if target.outcome is Outcome.silence and control and control.outcome is Outcome.silence:
        return Finding("tls_timeout", Level.none, 0.5, 0.5, 0.0, "E", evidence)
    if this.no_sni is None or this.not_tls is None:
        return Finding(_ALONE[target.outcome], Level.none, 0.5, 0.5, 0.0, "D", evidence)
    tolerated = this.not_tls.outcome is not Outcome.reset
    verdict = "tls_block" if tolerated else "ip_port_block"
    return Finding(verdict, Level.suspected, 0.75, 0.25, 0.0, "D", evidence)
