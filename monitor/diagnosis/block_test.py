"""The ordered trials that tell a blocked name from a broken server."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from random import Random

from monitor.diagnosis.timing import DiagnosisTiming
from monitor.probes.trial_results import CUT, Outcome, Role, Trial

MOST_WAITS = 2
REPEATS = 2
"""Times that a name is shown and cut off before a finding, where other names are answered at once
after it: nothing has to be waited out then."""


@dataclass(frozen=True, slots=True)
class Next:
    """The trial to make now, or at `not_before` (monotonic seconds)."""

    role: Role
    not_before: float
    control: str = ""
    """The control name to send; empty if none was handed in or it is no control."""
    at_once: bool = False
    """It belongs to what was tried a moment ago, though the endpoint may be held since."""


@dataclass(frozen=True, slots=True)
class Done:
    """Nothing more can be learned; `why` is for people who read logs."""

    why: str


def next_step(
    trials: Sequence[Trial],
    now: float,
    rng: Random,
    pace: DiagnosisTiming,
    *,
    triggered: float | None = None,
    patient: bool = True,
    controls: Sequence[str] = (),
    elsewhere: bool = False,
) -> Next | Done:
    """Return the next step after `trials`, the ones of this block test in order; ask once after
    each.

    `triggered` is when the endpoint was last cut off after the target's name, so that the first
    control waits until that is forgotten. Without `patient` the block test ends where it would
    have to wait out the residual. Of several `controls` the next is tried when one is cut off.
    With `elsewhere` the name is shown at another address at the end, if it has shut none.
    """
    if trials and trials[-1].role is Role.elsewhere:
        return _COMPLETE
    _, rounds = rounds_of(trials)
    if not rounds:
        return _begin(now, rng, pace, triggered if patient else None, controls)
    at = trials[-1].at
    if not rounds[-1].controlled and any(earlier.controlled for earlier in rounds):
        return Done("everything is cut off since the target was tried")
    step = _within(rounds, at, rng, pace, controls)
    if step is _COMPLETE and elsewhere and rounds[-1].is_open:
        return Next(Role.elsewhere, at + pace.gap, at_once=True)
    if isinstance(step, Next):
        rash = step.role is Role.target and not rounds[-1].controlled and not patient
        return Done(TOO_LONG) if rash and _held(triggered, now, pace) else step
    if step is not _WAIT:
        return step
    if not patient:
        return Done(TOO_LONG)
    waits = sum(one.waited is not None for one in rounds)
    if rounds[-1].waited is not None and waits >= MOST_WAITS:
        return Done("cut off even after the wait, twice")
    since = rounds[-1].cut_at if rounds[-1].waited is None else at
    times = 1 + sum(one.waited is not None for one in rounds[:-1])
    return Next(Role.control, since + _wait(rng, pace, times), _chosen(rounds[-1], controls))


TOO_LONG = "the residual would have to be waited out"
"""Why an impatient block test ends early."""
_WAIT = Done("")
"""Says within this module: go on after the residual."""
_COMPLETE = Done("complete")


def _begin(
    now: float, rng: Random, pace: DiagnosisTiming, triggered: float | None, controls: Sequence[str]
) -> Next:
    start = now + rng.uniform(0.0, pace.start_jitter)
    if triggered is not None:
        start = max(start, triggered + _wait(rng, pace))
    return Next(Role.control, start, controls[0] if controls else "")


def _held(triggered: float | None, now: float, pace: DiagnosisTiming) -> bool:
    return triggered is not None and now < triggered + pace.residual_hold


def _wait(rng: Random, pace: DiagnosisTiming, times: int = 1) -> float:
    hold = min(pace.residual_hold * pace.residual_growth ** (times - 1), pace.residual_max)
    return hold + rng.uniform(0.0, pace.wait_jitter)


def _within(
    rounds: Sequence[Round], at: float, rng: Random, pace: DiagnosisTiming, controls: Sequence[str]
) -> Next | Done:
    this, soon = rounds[-1], at + pace.gap * rng.uniform(0.5, 1.5)
    if this.again is not None:
        if this.controlled and this.again.outcome in CUT and not _settled(this.last):
            return Next(Role.control, soon, _chosen(this, controls), at_once=True)
        return _COMPLETE
    if this.waited is not None:
        return _after_the_wait(this, soon, controls)
    if this.target is None:
        return _first_target(this, soon, controls)
    if this.target.outcome not in CUT:
        return Done(f"the target ended with {this.target.outcome}: no question is left")
    if not this.controlled:
        return _both_cut_off(this, soon)
    if not this.followed:
        when = soon if this.followers else at
        return Next(Role.control, when, _chosen(this, controls), at_once=True)
    if not this.is_open:
        return _WAIT
    shown = sum(one.controlled and one.target is not None for one in rounds)
    return _COMPLETE if shown >= REPEATS else Next(Role.target, soon, at_once=True)


def _first_target(this: Round, soon: float, controls: Sequence[str]) -> Next | Done:
    if not this.reached:
        return _WAIT
    if not this.controlled and len(this.before) < len(controls):
        return Next(Role.control, soon, controls[len(this.before)], at_once=True)
    return Next(Role.target, soon, at_once=this.controlled)


def _both_cut_off(this: Round, soon: float) -> Next | Done:
    ends = {this.target and this.target.outcome, this.control and this.control.outcome}
    if ends == {Outcome.silence}:
        return _WAIT
    if this.no_sni is None:
        return Next(Role.no_sni, soon, at_once=True)
    if this.no_sni.answered or this.not_tls is not None:
        return _WAIT
    return Next(Role.not_tls, soon, at_once=True)


def _after_the_wait(this: Round, soon: float, controls: Sequence[str]) -> Next | Done:
    vouched = this.no_sni is not None and this.no_sni.answered
    if this.controlled and this.waited is not None and this.waited.answered:
        if this.counts_connections:
            return Done("a control was cut off though the target was not tried")
        if len(this.unprovoked) < UNPROVOKED:
            return Next(Role.control, soon, _chosen(this, controls))
    if this.waited is not None and (this.waited.answered or vouched):
        return Next(Role.target, soon, at_once=this.waited.answered)
    return _WAIT if this.controlled else Done("cut off before and after the wait")


def _chosen(this: Round, controls: Sequence[str]) -> str:
    if this.control is not None and this.control.sni in controls:
        return this.control.sni
    return controls[0] if controls else ""


FOLLOWERS = 2
"""Controls right after the target that must be cut off to speak of a residual block: a residual
cuts off every one of them, chance seldom two in a row."""

UNPROVOKED = 2
"""Further controls after the wait, before the target is tried again. With them the target has
another place among the handshakes than before, also than after a glance, so that a limit of
handshakes, which cuts off the first beyond it and all others for a while, shows itself."""


@dataclass(slots=True)
class Round:
    """The trials of one round by their place; None where it has not come to that."""

    before: list[Trial] = field(default_factory=list)
    """Controls ahead of the target: one, and others while they fail."""
    target: Trial | None = None
    followers: list[Trial] = field(default_factory=list)
    """Controls right after the target: one, and another if that is cut off."""
    no_sni: Trial | None = None
    not_tls: Trial | None = None
    waited: Trial | None = None
    """The control after the wait."""
    unprovoked: list[Trial] = field(default_factory=list)
    """Controls after that one, with no target since the wait."""
    again: Trial | None = None
    """The target after the wait."""
    last: list[Trial] = field(default_factory=list)
    """Controls right after that one."""

    @property
    def control(self) -> Trial | None:
        """The first control that counts: one that was answered, else the last."""
        good = next((trial for trial in self.before if trial.answered), None)
        return good or (self.before[-1] if self.before else None)

    @property
    def after(self) -> Trial | None:
        """Result of a control right after the target: an answer if there was one."""
        return self.followers[-1] if self.followers else None

    @property
    def followed(self) -> bool:
        """True if no more controls are needed right after the target."""
        return _settled(self.followers)

    @property
    def is_open(self) -> bool:
        """True if another name was answered right after the target."""
        return self.after is not None and self.after.answered

    @property
    def counts_connections(self) -> bool:
        """True if a control was cut off that followed upon an answered one alone."""
        return any(trial.outcome in CUT for trial in self.unprovoked)

    @property
    def spared(self) -> bool:
        """True if the target was cut off once, and the endpoint was not shut by it."""
        pairs = ((self.target, self.followers), (self.again, self.last))
        return self.controlled and any(
            shown is not None and shown.outcome in CUT and bool(after) and after[-1].answered
            for shown, after in pairs
        )

    @property
    def shut(self) -> bool:
        """True if controls were cut off right after the target, and answered after the wait,
        one after the other."""
        again = (self.waited, *self.unprovoked)
        return (
            self.followed
            and not self.is_open
            and len(again) > UNPROVOKED
            and all(trial is not None and trial.answered for trial in again)
        )

    @property
    def cut_at(self) -> float:
        """When a block that the target set off began, at the latest: with some networks each hello
        that is cut off begins it anew."""
        if self.target is not None and self.controlled:
            cut = [trial.at for trial in self.followers if not trial.answered]
            return max((self.target.sent_at, *cut))
        last = (*self.before, self.target, *self.followers, self.no_sni, self.not_tls)
        return max(trial.at for trial in last if trial is not None)

    @property
    def controlled(self) -> bool:
        """True if the endpoint answered a control before the target was tried."""
        return self.control is not None and self.control.answered

    @property
    def reached(self) -> bool:
        """True if a connection was opened for the first control."""
        return self.control is not None and self.control.outcome is not Outcome.unreached

    def takes(self, trial: Trial) -> bool:
        """Put a trial into its place; False if it belongs to the next round."""
        if trial.role is Role.no_sni:
            self.no_sni = trial
        elif trial.role is Role.not_tls:
            self.not_tls = trial
        elif trial.role is Role.target:
            return self._target(trial)
        elif trial.role is Role.control:
            return self._control(trial)
        return True

    def _target(self, trial: Trial) -> bool:
        if self.waited is not None:
            self.again = trial
        elif self.target is None:
            self.target = trial
        else:
            return False
        return True

    def _control(self, trial: Trial) -> bool:
        if self.again is not None and self.controlled and not _settled(self.last):
            self.last.append(trial)
            return True
        if self.waited is not None:
            more = self.controlled and self.again is None and len(self.unprovoked) < UNPROVOKED
            if more and self.waited.answered:
                self.unprovoked.append(trial)
                return True
            return False
        if self.target is None and (self.reached or not self.before):
            self.before.append(trial)
        elif self.controlled and not self.followed:
            self.followers.append(trial)
        else:
            self.waited = trial
        return True


def shut_since(trials: Sequence[Trial]) -> float | None:
    """When the target has shut the endpoint that answers no control since; None if it has not."""
    _, rounds = rounds_of(trials)
    this = rounds[-1] if rounds else Round()
    for shown, after in ((this.again, this.last), (this.target, this.followers)):
        if shown is not None:
            shut = this.controlled and shown.outcome in CUT and after and not after[-1].answered
            return shown.sent_at if shut else None
    return None


def _settled(controls: Sequence[Trial]) -> bool:
    """True if no more of these controls are needed: one was answered, or enough were cut off."""
    return bool(controls) and (controls[-1].answered or len(controls) >= FOLLOWERS)


def rounds_of(trials: Sequence[Trial]) -> tuple[tuple[Trial, ...], list[Round]]:
    """The targets before the first control, and the rounds in order."""
    start = next((i for i, t in enumerate(trials) if t.role is not Role.target), len(trials))
    rounds: list[Round] = []
    for trial in trials[start:]:
        if rounds and rounds[-1].takes(trial):
            pass
        elif trial.role is Role.target:
            rounds.append(Round(before=rounds[-1].followers[-1:], target=trial))
        else:
            rounds.append(Round(before=[trial]))
        last = rounds[-1]
        if not last.controlled and last.waited is not None and last.waited.answered:
            rounds.append(Round(before=[last.waited]))
    return tuple(trials[:start]), rounds
