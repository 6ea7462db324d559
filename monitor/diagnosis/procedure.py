"""The ordered experiment that tells a blocked name from a broken server.

    control, target, control, wait out the residual, control, target

A control that is cut off right after the target is tried once more, for that would be a residual
block. The control goes first, because a firewall that has been triggered may cut off *every*
handshake on the same address and port for minutes (residual blocking); a control after the target
would then seem to fail by itself. After the wait both are repeated. If the first control failed and
the one after the wait works, the endpoint was contaminated by somebody else's trigger, and the
experiment is made once more. When control and target are both cut off, a hello without a name and
a few bytes that are not TLS show what it is that is cut off.

Order after OONI's `sni_blocking` (https://github.com/ooni/spec, ts-024) and Censored Planet's
control measurements; the decisions about what follows are in `interpret.py`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from random import Random

from monitor.diagnosis.pace import Pace
from monitor.diagnosis.rounds import Round, rounds_of
from monitor.diagnosis.trial import CUT, Outcome, Role, Trial

MOST_ROUNDS = 2


@dataclass(frozen=True, slots=True)
class Next:
    """The trial to make now, or at `not_before` (monotonic seconds)."""

    role: Role
    not_before: float
    control: str = ""
    """The control name to send; empty if none was handed in or it is no control."""


@dataclass(frozen=True, slots=True)
class Done:
    """Nothing more can be learned; `why` is for people who read logs."""

    why: str


def next_step(
    trials: Sequence[Trial],
    now: float,
    rng: Random,
    pace: Pace,
    *,
    triggered: float | None = None,
    patient: bool = True,
    controls: Sequence[str] = (),
) -> Next | Done:
    """What to do after `trials`, the ones of this experiment in order; ask once after each.

    `triggered` is when the endpoint was last cut off after the target's name, so that the first
    control waits until that is forgotten. Without `patient` the experiment ends where it would
    have to wait out the residual. Of several `controls` the next is tried when one is cut off.
    """
    _, rounds = rounds_of(trials)
    if not rounds:
        return _begin(now, rng, pace, triggered if patient else None, controls)
    at = trials[-1].at
    if not rounds[-1].controlled and any(earlier.controlled for earlier in rounds):
        return Done("everything is cut off since the target was tried")
    step = _within(rounds[-1], at, rng, pace, controls)
    if isinstance(step, Next):
        rash = step.role is Role.target and not rounds[-1].controlled and not patient
        return Done(TOO_LONG) if rash and _held(triggered, now, pace) else step
    if step is not _WAIT:
        return step
    if not patient:
        return Done(TOO_LONG)
    if rounds[-1].waited is not None and len(rounds) >= MOST_ROUNDS:
        return Done("cut off even after the wait, twice")
    return Next(Role.control, at + _wait(rng, pace, len(rounds)), _chosen(rounds[-1], controls))


TOO_LONG = "the residual would have to be waited out"
"""Why an impatient experiment ends early."""
_WAIT = Done("")
"""Says within this module: go on after the residual."""


def _begin(
    now: float, rng: Random, pace: Pace, triggered: float | None, controls: Sequence[str]
) -> Next:
    start = now + rng.uniform(0.0, pace.start_jitter)
    if triggered is not None:
        start = max(start, triggered + _wait(rng, pace))
    return Next(Role.control, start, controls[0] if controls else "")


def _held(triggered: float | None, now: float, pace: Pace) -> bool:
    return triggered is not None and now < triggered + pace.residual_hold


def _wait(rng: Random, pace: Pace, times: int = 1) -> float:
    hold = min(pace.residual_hold * pace.residual_growth ** (times - 1), pace.residual_max)
    return hold + rng.uniform(0.0, pace.wait_jitter)


def _within(
    this: Round, at: float, rng: Random, pace: Pace, controls: Sequence[str]
) -> Next | Done:
    soon = at + pace.gap * rng.uniform(0.5, 1.5)
    if this.again is not None:
        return Done("complete")
    if this.waited is not None:
        return _after_the_wait(this, soon)
    if this.target is None:
        return _first_target(this, soon, controls)
    if this.target.outcome not in CUT:
        return Done(f"the target ended with {this.target.outcome}: no question is left")
    if this.controlled:
        when = soon if this.followers else at
        return _WAIT if this.followed else Next(Role.control, when, _chosen(this, controls))
    return _both_cut_off(this, soon)


def _first_target(this: Round, soon: float, controls: Sequence[str]) -> Next | Done:
    if not this.reached:
        return _WAIT
    if not this.controlled and len(this.before) < len(controls):
        return Next(Role.control, soon, controls[len(this.before)])
    return Next(Role.target, soon)


def _both_cut_off(this: Round, soon: float) -> Next | Done:
    ends = {this.target and this.target.outcome, this.control and this.control.outcome}
    if ends == {Outcome.silence}:
        return _WAIT
    if this.no_sni is None:
        return Next(Role.no_sni, soon)
    if this.no_sni.answered or this.not_tls is not None:
        return _WAIT
    return Next(Role.not_tls, soon)


def _after_the_wait(this: Round, soon: float) -> Next | Done:
    vouched = this.no_sni is not None and this.no_sni.answered
    if this.waited is not None and (this.waited.answered or vouched):
        return Next(Role.target, soon)
    return _WAIT if this.controlled else Done("cut off before and after the wait")


def _chosen(this: Round, controls: Sequence[str]) -> str:
    if this.control is not None and this.control.sni in controls:
        return this.control.sni
    return controls[0] if controls else ""
