"""Trials of a block test: the values that diagnosis is made of.

A *trial* is one TCP connection with at most one TLS hello on it, to one address of one hostname.
What came of it is an `Outcome`; several trials make a finding.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from monitor.probes.results import TIMED_OUT, Operation, StepResult


class Role(StrEnum):
    """Question that a trial asks of an address and port."""

    target = "target"
    """The mirror's own name, certificate verified."""
    control = "control"
    """A name that nobody blocks; nothing but the handshake, certificate not verified."""
    no_sni = "no_sni"
    """A hello without a name."""
    not_tls = "not_tls"
    """A few bytes that are not TLS."""
    elsewhere = "elsewhere"
    """The mirror's own name at another address of it."""


class Outcome(StrEnum):
    """End of a trial, as far as it can be told from this end of the connection."""

    hello = "hello"
    """The handshake succeeded."""
    certificate = "certificate"
    """The server answered, with a certificate that we refuse."""
    alert = "alert"
    """The server answered with a TLS alert."""
    plain = "plain"
    """Something that is not TLS came back."""
    late = "late"
    """A part of the handshake came back, then it was reset, closed or silent."""
    reset = "reset"
    """Reset, after our hello, before a byte came back."""
    eof = "eof"
    """Closed likewise, or ended with an alert that the server cannot have sent so soon."""
    silence = "silence"
    """Nothing came back in time."""
    unreached = "unreached"
    """No connection was opened."""
    other = "other"


CUT = frozenset({Outcome.reset, Outcome.eof, Outcome.silence})
"""Cut off after our hello without a byte: what a firewall does that reads names, and a broken
server too."""
_ENDS = {
    "connection_reset": Outcome.reset,
    "connection_aborted": Outcome.reset,
    "eof_error": Outcome.eof,
    TIMED_OUT: Outcome.silence,
    "timed_out": Outcome.silence,
}


@dataclass(frozen=True, slots=True)
class Trial:
    """One trial. Times are monotonic seconds."""

    role: Role
    hostname: str
    """The mirror's name that is being examined, whatever `sni` was sent."""
    address: str
    port: int
    sni: str
    """The name in our hello; "" if there was none."""
    step: StepResult
    """The connect step if that failed, else the handshake (for `not_tls`: failure None if the
    bytes were tolerated, that is: answered, closed in peace, or met with silence)."""
    at: float
    """When it ended."""
    rtt: float | None = None
    """Seconds: the round trip to this address, as `RoundTrips` tells it."""
    in_residual: bool = False
    """True if a suspected trigger on this address and port was within the residual hold before."""
    anchors_ok: bool = True
    """True if our own network was known to work; without that a trial says nothing."""
    baseline: bool = True
    """For controls: whether this control name has succeeded on this address within a day, or no
    other has been tried yet; a control that always fails here controls nothing."""

    @property
    def outcome(self) -> Outcome:
        """Outcome of the trial."""
        return outcome_of(self.step, self.rtt)

    @property
    def answered(self) -> bool:
        """True if bytes of a server came back: enough for a control to count as good."""
        return self.outcome in ANSWERED

    @property
    def sent_at(self) -> float:
        """When our hello was sent, as far as that is known: a block counts from there."""
        tls = self.step.tls
        return self.at - (tls.since_hello or 0.0 if tls is not None else 0.0)

    @property
    def lost(self) -> bool:
        """True if our hello never arrived, or whatever was sent back for it."""
        tls = self.step.tls
        silent = self.outcome is Outcome.silence
        return silent and tls is not None and tls.unacknowledged

    @property
    def reset_after(self) -> float | None:
        """Seconds from our hello to a reset or close before the first byte."""
        if self.outcome not in (Outcome.reset, Outcome.eof) or self.step.tls is None:
            return None
        return self.step.tls.since_hello


ANSWERED = frozenset({Outcome.hello, Outcome.certificate, Outcome.alert})


def was_cut_off(step: StepResult) -> bool:
    """True if a path's handshake was cut off, as something does that reads names."""
    return step.operation is Operation.tls_handshake and outcome_of(step) in CUT


def outcome_of(step: StepResult, round_trip: float | None = None) -> Outcome:
    """Outcome of a connect or handshake step; `round_trip`: that of the address, if it is known."""
    if step.operation is Operation.connect:
        return Outcome.unreached if step.failure else Outcome.hello
    if step.failure is None:
        return Outcome.hello
    seen = step.tls
    if seen is not None and seen.first_bytes.lstrip().startswith((b"HTTP/", b"<")):
        return Outcome.plain
    if seen is not None and seen.alert is not None:
        return Outcome.eof if seen.is_forged_alert(round_trip) else Outcome.alert
    if seen is not None and seen.verify_code:
        return Outcome.certificate
    ending = _ENDS.get(step.failure, Outcome.other)
    return Outcome.late if ending in CUT and seen is not None and seen.received else ending
