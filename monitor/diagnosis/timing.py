"""Timing of the diagnosis: every duration and threshold.

One frozen value, handed in, so that tests can shorten it and nothing waits for a number written
elsewhere. Seconds unless said otherwise.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from monitor.probes.results import LEAST_ROUND_TRIP, TOO_SOON


@dataclass(frozen=True, slots=True)
class DiagnosisTiming:
    """Durations and thresholds; "ours" marks a choice of this project, others name their source."""

    residual_hold: float = 185.0
    """After a suspected trigger, how long an address and port is left alone: 180 s is what the
    longest common injectors remember (Wu et al., IEEE S&P 2025), and some slack."""
    residual_again: float = 200.0
    """The hold after a second trigger in a row; doubled from then on (ours)."""
    residual_growth: float = 2.0
    residual_max: float = 1800.0
    wait_jitter: float = 5.0
    """At most this is added to the wait inside a block test."""
    start_jitter: float = 0.25
    """At most this is waited before a block test (OONI ts-024)."""
    costly_look: float = 1800.0
    """Until the next look at a name that would shut the only address for the others too; doubled
    each time ..."""
    costly_look_max: float = 14400.0
    """... up to this: a residual of 180 s is then little more than 1 % of the time (ours)."""
    first_glance: float = 0.125
    """Share of the residual hold after which such an address is looked at again with another name,
    and then whenever the time since the trigger has doubled (ours)."""
    gap: float = 0.25
    """Mean gap between a control and the target after it."""
    stop_growing: float = 3600.0
    """Quiet time after which a hold begins at its first value again (ours)."""

    target_interval: float = 30.0
    """Between two handshakes with the real name on one path while it is healthy."""
    keyed_interval: float = 300.0
    """Between two requests with the mirror's own key, while it is good."""
    key_confirm: float = 5.0
    """Between a first refusal of that key and the request that confirms it (ours)."""
    key_again: float = 10.0
    """Between two such requests at least that refusals in traffic ask for, and after the refusal
    that took the key out of use; doubled from then on, to `keyed_interval` at most (ours)."""
    bulk_interval: float = 1200.0
    """Between two active measurements of throughput."""
    bulk_again: float = 60.0
    """The same after one that was slow or stopped, until enough were to tell (ours)."""
    bulk_lately: float = 600.0
    """How old a measurement of another mirror may be for a comparison (ours)."""
    canary_interval: float = 3600.0
    """Between two real completions at least, and before the first one."""
    interval_jitter: float = 0.2
    """Share by which intervals vary to either side."""
    suspicious_most: int = 6
    """Handshakes with the name of one host while it is suspected ..."""
    suspicious_window: float = 600.0
    """... within this (ours)."""
    anchors_fresh: float = 30.0
    """How old the last sign that our own network works may be."""
    control_baseline: float = 86400.0
    """How long a control that succeeded on an address vouches for itself."""

    silent_handshake: float = 3.0
    """How long a handshake may take while a name is suspected of being met with silence."""

    dns_try: float = 2.0
    dns_tries: int = 2
    dns_total: float = 5.0
    late_window: float = 0.5
    """How long we listen for a second answer after the first (OONI ts-031: 500 ms; GFWatch: 99 %
    of forged answers are within 364 ms of the true one)."""
    resolver_strikes: int = 2
    """Poisoned answers after which a resolver is asked last ..."""
    resolver_demotion: float = 600.0
    """... for this long (ours)."""
    dns_retest: float = 300.0
    last_good: float = 86400.0
    """How long addresses that worked are kept for when no resolver answers."""

    stagger: float = 0.25
    """Between starts on several addresses (RFC 8305 section 5)."""
    new_name_interval: float = 600.0
    """Between first uses of two alternate names of a mirror."""
    backoff_jitter: float = 0.15
    """Share by which back-offs vary to either side."""

    reset_ratio: float = TOO_SOON
    """A reset that comes sooner than this share of the round trip was not sent by the server."""
    rtt_floor: float = LEAST_ROUND_TRIP
    """Below this round trip the ratio says nothing (ours)."""
    lossy: float = 0.05
    """Share of failing anchors above which more failures are required."""
    discard: float = 0.10
    """Share of failing anchors above which a trial says nothing."""

    def shortened(self, residual_hold: float) -> DiagnosisTiming:
        """The same pace with a shorter residual hold, and in proportion all that goes with it."""
        share = residual_hold / self.residual_hold
        return replace(
            self,
            residual_hold=residual_hold,
            residual_again=self.residual_again * share,
            residual_max=self.residual_max * share,
            costly_look=self.costly_look * share,
            costly_look_max=self.costly_look_max * share,
            wait_jitter=self.wait_jitter * share,
            stop_growing=self.stop_growing * share,
            suspicious_window=self.suspicious_window * share,
            new_name_interval=self.new_name_interval * share,
            bulk_again=self.bulk_again * share,
        )


NORMAL = DiagnosisTiming()
