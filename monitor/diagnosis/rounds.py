"""Which trial of an experiment is which: the sequence, read back from its trials.

A round is `control, target, control, (wait), control, target`, with a second control right after
the target if the first one is cut off there; where the one before it is cut off the round is
`control, target, no SNI, not TLS, (wait), control`. A control that works after the wait although
the first did not begins the next round.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from monitor.diagnosis.trial import Outcome, Role, Trial

FOLLOWERS = 2
"""Controls right after the target that must be cut off to speak of a residual block: a residual
cuts off every one of them, chance seldom two in a row."""


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
    again: Trial | None = None
    """The target after the wait."""

    @property
    def control(self) -> Trial | None:
        """The first control that counts: one that was answered, else the last."""
        good = next((trial for trial in self.before if trial.answered), None)
        return good or (self.before[-1] if self.before else None)

    @property
    def after(self) -> Trial | None:
        """What a control right after the target shows: an answer if there was one."""
        return self.followers[-1] if self.followers else None

    @property
    def followed(self) -> bool:
        """Whether no more controls are needed right after the target."""
        return self.after is not None and (self.after.answered or len(self.followers) >= FOLLOWERS)

    @property
    def controlled(self) -> bool:
        """Whether the endpoint answered a control before the target was tried."""
        return self.control is not None and self.control.answered

    @property
    def reached(self) -> bool:
        """Whether a connection was opened for the first control."""
        return self.control is not None and self.control.outcome is not Outcome.unreached

    def takes(self, trial: Trial) -> bool:
        """Put a trial into its place; False if it belongs to the next round."""
        if trial.role is Role.no_sni:
            self.no_sni = trial
        elif trial.role is Role.not_tls:
            self.not_tls = trial
        elif trial.role is Role.target:
            return self._target(trial)
        else:
            return self._control(trial)
        return True

    def _target(self, trial: Trial) -> bool:
        if self.waited is not None:
            self.again = trial
        else:
            self.target = trial
        return True

    def _control(self, trial: Trial) -> bool:
        if self.waited is not None:
            return False
        if self.target is None and (self.reached or not self.before):
            self.before.append(trial)
        elif self.controlled and not self.followed:
            self.followers.append(trial)
        else:
            self.waited = trial
        return True


def rounds_of(trials: Sequence[Trial]) -> tuple[tuple[Trial, ...], list[Round]]:
    """The targets before the first control, and the rounds in order."""
    start = next((i for i, t in enumerate(trials) if t.role is not Role.target), len(trials))
    rounds: list[Round] = []
    for trial in trials[start:]:
        if not rounds or not rounds[-1].takes(trial):
            rounds.append(Round(before=[trial]))
        last = rounds[-1]
        if not last.controlled and last.waited is not None and last.waited.answered:
            rounds.append(Round(before=[last.waited]))
    return tuple(trials[:start]), rounds
