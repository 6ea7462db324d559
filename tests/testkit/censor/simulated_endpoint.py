"""A pretend address and port, with a firewall before it, that answers trials without a network.

It lives on a clock of its own, so that an experiment with all its waits takes no time.
"""

from __future__ import annotations

from dataclasses import dataclass
from random import Random

from monitor.diagnosis.block_test import Done, Next, next_step
from monitor.diagnosis.timing import DiagnosisTiming
from monitor.probes.results import TIMED_OUT, Operation, StepResult, TlsEvidence
from monitor.probes.trial_results import Role, Trial

NAME = "mirror.example"
CONTROL = "example.org"
ADDRESS = "192.0.2.1"
_FAILURE = {"reset": "connection_reset", "eof": "eof_error", "silence": TIMED_OUT}


def connected_not(failure: str) -> StepResult:
    """A connection that did not come about."""
    return StepResult(Operation.connect, failure, 0.05, ADDRESS)


def hello(ending: str = "", **seen) -> StepResult:
    """A handshake that succeeded, or ended in `ending`: reset, eof or silence."""
    seen.setdefault("since_hello", 0.06)
    failure = _FAILURE.get(ending, ending or None)
    return StepResult(Operation.tls_handshake, failure, 0.05, ADDRESS, tls=TlsEvidence(**seen))


def trial(role: Role, step: StepResult, at: float = 0.0, sni: str | None = None, **more) -> Trial:
    """A trial of the pretend endpoint."""
    names = {Role.target: NAME, Role.control: CONTROL}
    name = names.get(role, "") if sni is None else sni
    return Trial(role, NAME, ADDRESS, 443, name, step, at, **{"rtt": 0.05, **more})


@dataclass(slots=True)
class PretendEndpoint:
    """Behaviour towards each address; the defaults are a healthy server on a free network."""

    name_cut: str = ""
    """How hellos with the mirror's name are cut off: reset, eof or silence."""
    cut_after: float = 0.06
    """Seconds from such a hello to its end; the round trip takes 0.05."""
    residual: float = 0.0
    """How many seconds everything is cut off after one of them."""
    all_cut: str = ""
    """How every hello is cut off."""
    bytes_cut: str = ""
    """How anything is cut off that is not TLS."""
    strangers_cut: str = ""
    """How the server itself treats hellos with names that it does not know."""
    allowed: int = 0
    """How many handshakes the server allows, whatever their name; the next one has it cut off
    everything for `residual` seconds, and count anew. 0: any."""
    refused: str = ""
    """How connections fail."""
    target_step: StepResult | None = None
    """What comes of the target's handshake in place of success."""
    contaminated_until: float = -1.0
    """Until when somebody else's trigger has everything cut off."""
    seen: int = 0
    """Handshakes since everything was cut off."""

    def meet(self, role: Role, sni: str, now: float) -> StepResult:
        """Return the result of one trial."""
        if self.refused:
            return connected_not(self.refused)
        if now < self.contaminated_until:
            return hello("reset")
        if role is Role.not_tls:
            return hello(self.bytes_cut)
        self.seen += 1
        if self.allowed and self.seen > self.allowed:
            self.contaminated_until, self.seen = now + self.residual, 0
            return hello("reset")
        if self.all_cut:
            return hello(self.all_cut)
        if sni == NAME and self.name_cut:
            self.contaminated_until = now + self.residual
            return hello(self.name_cut, since_hello=self.cut_after)
        if sni not in ("", NAME) and self.strangers_cut:
            return hello(self.strangers_cut)
        return self.target_step or hello() if role is Role.target else hello()


def experiment(
    endpoint: PretendEndpoint,
    pace: DiagnosisTiming,
    rng: Random,
    *,
    first: bool = False,
    patient: bool = True,
    controls: tuple[str, ...] = (CONTROL,),
) -> tuple[list[Trial], Done]:
    """Run one to its end; `first`: it begins with the routine trial that aroused suspicion."""
    now = 1000.0
    trials: list[Trial] = []
    triggered: float | None = None
    if first:
        trials.append(trial(Role.target, endpoint.meet(Role.target, NAME, now), now))
        triggered = now
    for _ in range(40):
        step = next_step(
            trials, now, rng, pace, triggered=triggered, patient=patient, controls=controls
        )
        if isinstance(step, Done):
            return trials, step
        now = _made(endpoint, trials, step, now)
    raise AssertionError("the experiment does not end")


def _made(endpoint: PretendEndpoint, trials: list[Trial], step: Next, now: float) -> float:
    now = max(now, step.not_before)
    sni = {Role.target: NAME, Role.control: step.control}.get(step.role, "")
    met = endpoint.meet(step.role, sni, now)
    trials.append(trial(step.role, met, now + met.seconds, sni))
    return now + met.seconds
