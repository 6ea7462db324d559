"""One mirror as the monitor knows it: what probes found, what the operator wishes, what is shown.

Changes only by `take`, `blind`, `set_wish` and `refresh`; does no I/O and takes the time as an
argument.
"""

from __future__ import annotations

from monitor.config import MirrorConfig
from monitor.diagnosis.answer import OK, Meaning
from monitor.diagnosis.cdn import detect_cdn
from monitor.diagnosis.verdict import UNKNOWN
from monitor.health.board import Latency, MirrorHealth, PathHealth, Standing, State, Wish
from monitor.health.mirror import HealthMachine
from monitor.history.records import Sample, Transition
from monitor.probes.prober import Probe
from monitor.probes.resolve import as_address
from monitor.probes.result import Operation, PathResult

_UNSEEN = Meaning(UNKNOWN, False)


def identity(mirror: MirrorConfig) -> tuple[object, ...]:
    """What makes it another mirror to a probe; whatever else changes, its health stays."""
    return (mirror.url, mirror.addresses, mirror.allow_private, mirror.ca_file)


class MirrorWatch:
    """The state of one mirror, and how it comes about."""

    def __init__(self, mirror: MirrorConfig, rise: int, fall: int, now: float) -> None:
        self.mirror = mirror
        self.machine = HealthMachine(rise, fall, now)
        self.addresses: tuple[str, ...] = ()
        self.prefer: tuple[str, ...] = ()
        """The addresses to try first: what worked, or else what was not tried last time."""
        self.last_probe: float | None = None
        self._seen = 0.0
        """When it was probed last, by a clock that never jumps."""
        self.could_be_ours = False
        """Whether the last probe failed for what may be our own network's fault."""
        self.doubtful_since = 0.0
        """When that began, on the monotonic clock."""
        self._state = State.unknown
        self._since = now
        self._meaning = _UNSEEN
        self._latency = Latency()
        self._cdn = ""
        self._not_after: float | None = None
        self._wish = Wish.use
        self._wish_until: float | None = None

    def __repr__(self) -> str:
        return f"<MirrorWatch {self.mirror.id} {self._state} {self._meaning.verdict}>"

    def health(self) -> MirrorHealth:
        """What is shown."""
        return MirrorHealth(
            id=self.mirror.id,
            state=self._state,
            since=self._since,
            verdict=self._meaning.verdict,
            wish=self._wish,
            wish_until=self._wish_until,
            paths=tuple(
                PathHealth(self.mirror.host, address, Standing.ok, usable=True)
                for address in self.addresses
            ),
            latency=self._latency,
            last_probe=self.last_probe,
            cdn_detected=self._cdn,
            tls_not_after=self._not_after,
            detail="" if self._state is State.up else self._meaning.sentence,
        )

    def take(self, probe: Probe, now: float, monotonic: float) -> None:
        """Take the facts of a probe; they do not say yet what the mirror's state is."""
        self.last_probe, self._seen = now, monotonic
        if (path := probe.best) is not None:
            self.addresses = self.prefer = probe.addresses()
            self._latency = latency_of(self.mirror, probe, path)
            last = path.last.http
            self._cdn = detect_cdn(last.headers) if last else self._cdn
            shaken = path.step(Operation.tls_handshake)
            self._not_after = shaken.tls.not_after if shaken and shaken.tls else None
        else:
            self.prefer = probe.untried() or self.prefer

    def sample(self, probe: Probe, now: float, vantage: str) -> Sample:
        """What history keeps of a probe, after it was taken into the state."""
        meaning, best = probe.meaning, probe.best
        latency = latency_of(self.mirror, probe, best) if best else Latency()
        return Sample(
            self.mirror.id, now, meaning.alive, self._state, meaning.verdict, latency, vantage
        )

    def observe(self, meaning: Meaning, now: float) -> bool:
        """Take a result into the state; True if up, down and unknown have changed places.

        The verdict goes with the state: a single bad result does not change what is said of a
        mirror that is up, nor a good one what is said of one that is down.
        """
        flipped = self.machine.observe(meaning.alive, now)
        agrees = self.machine.state is (State.up if meaning.alive else State.down)
        if agrees or self.machine.state is State.unknown:
            self._meaning = meaning
        return flipped

    def blind(self, now: float, meaning: Meaning | None = None) -> bool:
        """Nothing can be said of it at present; True if it was known before."""
        self._meaning = meaning or _UNSEEN
        return self.machine.blind(now)

    def set_wish(self, wish: Wish, until: float | None) -> None:
        """What the operator wants."""
        self._wish, self._wish_until = wish, until

    def wish_is_over(self, now: float) -> bool:
        """Whether the operator's wish was for a time that has passed."""
        return self._wish_until is not None and now >= self._wish_until

    def heard_since(self, moment: float) -> bool:
        """Whether a probe has ended since this moment of the monotonic clock."""
        return self._seen >= moment

    def is_stale(self, limit: float) -> bool:
        """Whether something is known, but from before `limit` on the monotonic clock."""
        return self.machine.state is not State.unknown and self._seen < limit

    def refresh(self, now: float, vantage: str, flipped: bool = False) -> Transition | None:
        """Bring what is shown in line; the change of state that this was, if any.

        A flip counts from its first result, any other change from now.
        """
        state = self._shown()
        if state is self._state:
            return None
        self._state = state
        self._since = max(self.machine.since, self._since) if flipped else now
        return Transition(
            self.mirror.id,
            self._since,
            state,
            self._meaning.verdict,
            self._meaning.sentence,
            vantage,
        )

    def continue_since(self, since: float) -> None:
        """The state that is shown held before a restart: it began at `since`."""
        self._since = min(since, self._since)

    def _shown(self) -> State:
        if self._wish is Wish.maintenance:
            return State.maintenance
        if self.machine.state is State.up and self._meaning.verdict != OK:
            return State.degraded
        return self.machine.state


def latency_of(mirror: MirrorConfig, probe: Probe, path: PathResult) -> Latency:
    """The phases of a probe that went well, in milliseconds."""
    named = not mirror.addresses and as_address(mirror.host) is None
    connected = path.step(Operation.connect)
    shaken = path.step(Operation.tls_handshake)
    return Latency(
        resolve=_ms(probe.resolution.seconds) if named else None,
        connect=_ms(connected.seconds) if connected else None,
        tls=_ms(shaken.seconds) if shaken else None,
        first_byte=_ms(path.last.first_byte),
    )


def _ms(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds * 1000, 3)
