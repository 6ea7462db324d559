"""How sure are we that a path is blocked? A sequential probability ratio test, one per path.

Wald's test on paired trials: a trial of the target counts only if its control succeeded and our
own network was known to work.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from monitor.diagnosis.pace import Pace
from monitor.diagnosis.trial import Finding, Level, Trial


@dataclass(frozen=True, slots=True)
class Confidence:
    """What is believed of one path so far; each observation makes a new value."""

    net: int = 0
    """Failures minus successes that counted."""

    @property
    def level(self) -> Level:
        """Where the log-odds stand."""
        raise NotImplementedError

    def after(
        self,
        trials: Sequence[Trial],
        pace: Pace,
        *,
        anchor_failures: float = 0.0,
        second_address: bool = False,
        akamai: bool = False,
    ) -> Confidence:
        """With the trials of one experiment (or one routine target trial) added."""
        raise NotImplementedError

    def grade(self, finding: Finding) -> Finding:
        """The finding with the level that this bears."""
        raise NotImplementedError
