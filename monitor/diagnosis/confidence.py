"""Confidence that a path is blocked: a sequential probability ratio test, one per path.

Wald's test on paired trials: a failed target counts only if the control before it succeeded and
our own network was known to work. The failure that made us look never counts: there is no trial
without one, so that it says nothing that a path without a block would not say too. A block is taken
to be noticed in 95 of 100 trials and a path without one to fail in 5 of 100 (injectors miss up to
5 % of triggers: Wu et al., S&P 2025; noisy networks fail in about 5 %: Burnett and Feamster,
Encore, 2015), so that every trial moves the log-odds by ln 19; before the first one in twenty is
taken to be blocked.

A control that is answered where the name is cut off shows that the name makes the difference, not
who cuts it off: a server that has lost a name, or a load balancer whose backend for it is dead,
does the same. So such a difference is suspected, and never more, unless something was seen that no
server does: a reset sooner than a round trip, a hello that was not even acknowledged, controls that
are cut off after the name, each time, and answered after a wait. With that, two net failures
confirm. What else was seen adds or takes away at most two. On a lossy link five are required. A
path that was cleared and fails begins anew.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from monitor.diagnosis.block_test import rounds_of
from monitor.diagnosis.finding import Finding, Level
from monitor.diagnosis.timing import DiagnosisTiming
from monitor.diagnosis.verdicts import SNI_BLOCKS
from monitor.probes.trial_results import CUT, Outcome, Trial

STEP = math.log(0.95 / 0.05)
PRIOR = -2.9
CONFIRMED, CLEARED = 4.6, -4.6
"""Log-odds: 99 of 100 for, 99 of 100 against."""
INJECTED = 2.0
LOST = 2.0
SECOND_ADDRESS = 1.5
RESIDUAL = 2.0
TIMEOUT = -1.0
AKAMAI = -2.0
"""Its edges answer strangers' names in ways that were taken for censorship before (Censored
Planet)."""
CLIP = 2.0
EVEN = 0.5
"""Probability of a block as long as the server itself may be the reason."""
FAILURES = 3
FAILURES_LOSSY = 5


@dataclass(frozen=True, slots=True)
class Confidence:
    """Belief about one path so far; each observation makes a new value."""

    net: int = 0
    """Failures minus successes that counted, from -1 to as many as can be required."""
    injected: bool = False
    """A reset came too soon for the server to have sent it."""
    residual: bool = False
    """The control was cut off right after the target, and works again after the wait."""
    spared: bool = False
    """The name was cut off and the control right after it answered: what cuts off controls at other
    times counts something, as a server does that bans who has failed there several times."""
    silent: bool = False
    """The target ended in silence, which has more innocent causes than a reset."""
    lost: bool = False
    """Its hello was not even acknowledged, while those of controls are."""
    second_address: bool = False
    """Another address fails in the same way for the same name."""
    akamai: bool = False
    lossy: bool = False

    @property
    def decided(self) -> bool:
        """True if something was seen that a server does not do."""
        return self.injected or self.lost or (self.residual and not self.spared)

    @property
    def extra(self) -> float:
        """The sum of what else was seen, bounded."""
        seen = (
            (self.injected, INJECTED),
            (self.lost, LOST),
            (self.residual, RESIDUAL),
            (self.second_address, SECOND_ADDRESS),
            (self.silent and not self.decided, TIMEOUT),
            (self.akamai, AKAMAI),
        )
        total = sum(weight for present, weight in seen if present)
        return max(-CLIP, min(CLIP, total))

    @property
    def log_odds(self) -> float:
        """Natural logarithm of the odds that the path is blocked."""
        return PRIOR + self.net * STEP + (self.extra if self.net > 0 else 0.0)

    @property
    def probability(self) -> float:
        """The same as a probability; even at most while nothing tells path and server apart."""
        found = 1.0 / (1.0 + math.exp(-self.log_odds))
        return EVEN if self.net > 0 and not self.decided else found

    @property
    def level(self) -> Level:
        """The level that the log-odds bear; every difference that was seen is suspected."""
        enough = self.net >= FAILURES_LOSSY if self.lossy else self.log_odds >= CONFIRMED
        if enough and self.decided:
            return Level.confirmed
        if self.net > 0:
            return Level.suspected
        return Level.cleared if self.log_odds <= CLEARED else Level.none

    def after(
        self,
        trials: Sequence[Trial],
        pace: DiagnosisTiming,
        *,
        anchor_failures: float = 0.0,
        second_address: bool = False,
        akamai: bool = False,
    ) -> Confidence:
        """With the trials of one block test, or one routine trial of the target, added.

        `anchor_failures` is the share of anchors' connects that failed meanwhile.
        """
        if anchor_failures > pace.discard:
            return self
        now = replace(self, lossy=anchor_failures > pace.lossy, akamai=self.akamai or akamai)
        for trial in counted(trials):
            now = now.failed(trial, pace) if trial.outcome in CUT else now.succeeded()
        if now.net <= 0:
            return now
        return replace(
            now,
            residual=now.residual or residual_seen(trials),
            spared=now.spared or spared(trials, pace),
            second_address=now.second_address or second_address,
        )

    def failed(self, trial: Trial, pace: DiagnosisTiming) -> Confidence:
        """One failure that counts more."""
        most = FAILURES_LOSSY if self.lossy else max(self.net, FAILURES)
        return replace(
            self,
            net=min(max(self.net, 0) + 1, most),
            injected=self.injected or is_injected(trial, pace),
            silent=trial.outcome is Outcome.silence,
            lost=self.lost or trial.lost,
        )

    def succeeded(self) -> Confidence:
        """One success more; when none is left to outweigh, what else was seen is forgotten."""
        net = max(self.net - 1, -1)
        return replace(self, net=net) if net > 0 else Confidence(net, lossy=self.lossy)

    def grade(self, finding: Finding) -> Finding:
        """The finding with the level and the weights that this bears; only of a blocked name, for
        nothing else is what was counted."""
        if finding.verdict not in SNI_BLOCKS:
            return finding
        blocked = self.probability
        return replace(finding, level=self.level, blocked=blocked, down=1.0 - blocked, ok=0.0)


def counted(trials: Sequence[Trial]) -> Iterator[Trial]:
    """The target trials that say something: successes, and failures whose control succeeded.

    Not the routine failure that a block test begins with: it was selected for having failed.
    """
    routine, rounds = rounds_of(trials)
    pairs = [(trial, False) for trial in routine]
    for this in rounds:
        pairs += [(t, this.controlled) for t in (this.target,) if t]
        pairs += [(t, bool(this.waited and this.waited.answered)) for t in (this.again,) if t]
    for trial, controlled in pairs:
        failure = controlled and trial.outcome in CUT
        if trial.anchors_ok and (failure or trial.outcome is Outcome.hello):
            yield trial


def residual_seen(trials: Sequence[Trial]) -> bool:
    """True if controls were cut off right after the target, and answered after the wait."""
    return any(this.shut for this in rounds_of(trials)[1])


def spared(trials: Sequence[Trial], pace: DiagnosisTiming) -> bool:
    """True if the target was cut off once, and a control right after it answered.

    Also the failure that made us look, which counts for nothing else: a server that bans who has
    failed twice has it for the first, and cuts controls off after the next one.
    """
    routine, rounds = rounds_of(trials)
    if any(this.spared for this in rounds):
        return True
    first = rounds[0].control if rounds else None
    return bool(
        first is not None
        and first.answered
        and routine
        and routine[-1].outcome in CUT
        and first.at - routine[-1].sent_at < pace.residual_hold
    )


def is_injected(trial: Trial, pace: DiagnosisTiming) -> bool:
    """True if a reset or close came sooner than the server can have sent it."""
    ratio = reset_ratio(trial, pace)
    return ratio is not None and ratio < pace.reset_ratio


def reset_ratio(trial: Trial, pace: DiagnosisTiming) -> float | None:
    """Time to the reset in round trips; None if it was none or the round trip is too short."""
    if trial.reset_after is None or trial.rtt is None or trial.rtt <= pace.rtt_floor:
        return None
    return trial.reset_after / trial.rtt
