"""The ordered experiment that tells a blocked name from a broken server.

    control, target, control, wait out the residual, control, target

The control goes first, because a firewall that has been triggered may cut off *every* handshake
on the same address and port for minutes (residual blocking); a control after the target would
then seem to fail by itself. After the wait both are repeated. If the first control failed and the
one after the wait works, the endpoint was contaminated by somebody else's trigger, and the
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
from monitor.diagnosis.trial import Role, Trial


@dataclass(frozen=True, slots=True)
class Next:
    """The trial to make now, or at `not_before` (monotonic seconds)."""

    role: Role
    not_before: float


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
) -> Next | Done:
    """What to do after `trials`, the ones of this experiment in order; ask once after each.

    `triggered` is when the endpoint was last cut off after the target's name, so that the first
    control waits until that is forgotten. Without `patient` the experiment ends where it would
    have to wait out the residual.
    """
    raise NotImplementedError
