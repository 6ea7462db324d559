"""What an experiment's trials mean: rules A to I, and what the time of a reset says."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from monitor.diagnosis.pace import Pace
from monitor.diagnosis.trial import Finding, Trial


@dataclass(frozen=True, slots=True)
class Memory:
    """What was known about an address before."""

    issuer: str = ""
    """Who issued the certificate that last verified for this name on this address; "" if none."""
    sha256: str = ""
    """The fingerprint of that certificate."""
    trusted_address: bool = True
    """Whether a trusted resolver or the configuration gave the address."""


def interpret(trials: Sequence[Trial], pace: Pace, memory: Memory = Memory()) -> Finding:
    """One finding from the trials of one experiment, in order; also from a part of one.

    Its level is what these trials alone bear; `confidence.Confidence` keeps it over time.
    """
    raise NotImplementedError
