"""One mirror as the monitor knows it: what probes found, what the operator wishes, what is shown.

It and its parts change only by their own methods, which `Monitor` (probes), `StateEvaluation`
(states, overrides), `Reactions` (paths, rests), `BackgroundChecks` (key, models, speed) and
`TrafficNews` (requests of clients) call. No I/O; the time is an argument.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

from monitor.common.config import MirrorConfig
from monitor.diagnosis.answer import OK, Meaning
from monitor.diagnosis.cdn import cdn_of_path
from monitor.diagnosis.classify import UNKNOWN
from monitor.diagnosis.evidence import Code, Evidence
from monitor.diagnosis.finding import Finding
from monitor.diagnosis.reactions import Reaction
from monitor.diagnosis.timing import NORMAL, DiagnosisTiming
from monitor.diagnosis.verdicts import (
    AFTER_EFFECT,
    KEY_REFUSED,
    NAME_CUT,
    REACHED,
    reaction_to,
)
from monitor.engine.paths import MirrorPaths
from monitor.engine.prober import Probe
from monitor.health.paths import Path, in_order, shown
from monitor.health.snapshot import Latency, MirrorHealth, Override, Standing, State
from monitor.health.state_machine import HealthMachine
from monitor.health.vantages import Elsewhere, with_others
from monitor.probes.connect import as_address
from monitor.probes.results import Operation, PathResult
from monitor.store.records import Sample, Transition

FAILURES, REMEMBERED = 3, 900.0
"""Reports of failed requests in a row that outweigh probes which are answered, and for how long
(seconds) they are remembered."""
INTERVALS = 2
"""Intervals between answered probes in which requests failed: less may be a short outage."""
LASTING = 3.0
"""Seconds over which they failed: workers tell of a failure at once and of a success up to a second
later, so that of a mirror which does both only failures may be known for a while."""
SERVED_LATELY = 5.0
"""Seconds since it served a request for which a mirror is alive whose handshakes are cut off."""
_UNREACHED = frozenset({"connection_refused", "ip_unreachable", "connect_failed"})
_UNSEEN = Meaning.of(UNKNOWN)


def identity(mirror: MirrorConfig) -> tuple[object, ...]:
    """Return the properties that make it another mirror to a probe; other changes keep its
    health."""
    return (mirror.url, mirror.addresses, mirror.allow_private, mirror.ca_file)


class Rest:
    """A time in which a mirror is not probed: what is known of it stays."""

    __slots__ = ("taken", "until")

    def __init__(self) -> None:
        self.until = float("-inf")
        """On the monotonic clock."""
        self.taken = 0
        """Times in a row."""

    def begin(self, until: float) -> None:
        """Do not probe it until then."""
        self.until = until
        self.taken += 1

    def wake(self) -> None:
        """Probe it as soon as that is due, however long it was to rest."""
        self.until = float("-inf")

    def forget(self) -> None:
        """It does not refuse us any more: the next rest is a first one again."""
        self.taken = 0

    def holds(self, monotonic: float) -> bool:
        """True if it is not to be probed for now."""
        return monotonic < self.until


class RequestRecord:
    """Ends of clients' requests on one mirror, as workers report them. Times are monotonic."""

    __slots__ = ("_began", "_failed_at", "_failures", "_intervals", "_lately", "_served_at")

    def __init__(self) -> None:
        self._served_at = self._failed_at = self._began = float("-inf")
        """`_began`: the first of the failures since it last served one."""
        self._failures = 0
        """Reports of failures since it last served one."""
        self._lately = False
        """True if there was one since the last probe."""
        self._intervals = 0
        """Intervals between answered probes with a failure in them, since it last served one."""

    def failed(self, now: float) -> None:
        """A request failed on it."""
        self._failed_at = now
        if not self._failures:
            self._began = now
        self._failures += 1
        self._lately = True

    def served(self, now: float) -> None:
        """A request was served by it. Of failures before and after that only the last one counts
        on."""
        if now <= self._served_at:
            return
        self._served_at = now
        if self._failures and now >= self._began:
            self._forget_failures()
            if now < self._failed_at:
                self.failed(self._failed_at)

    def probed(self, alive: bool) -> None:
        """A probe was answered, or not: then its verdict says why requests fail."""
        if not alive:
            self._forget_failures()
        elif self._lately:
            self._intervals += 1
            self._lately = False

    def _forget_failures(self) -> None:
        self._failures = self._intervals = 0
        self._lately = False

    def serves(self, since: float) -> bool:
        """True if it has served a request since then, and failed none after that."""
        return self._served_at >= since and self._served_at > self._failed_at

    def fails(self, now: float) -> bool:
        """True if nothing but failures is known of it of late."""
        enough = self._failures >= FAILURES and self._intervals >= INTERVALS
        lasting = self._failed_at - self._began >= LASTING
        return enough and lasting and now - self._failed_at < REMEMBERED


class MirrorState:
    """The state of one mirror, and how it comes about."""

    def __init__(
        self,
        mirror: MirrorConfig,
        rise: int,
        fall: int,
        now: float,
        *,
        pace: DiagnosisTiming = NORMAL,
        monotonic: float = 0.0,
    ) -> None:
        self.mirror = mirror
        self.paths = MirrorPaths(mirror, pace, monotonic)
        self._machine = HealthMachine(rise, fall, now)
        self._last_probe: float | None = None
        self.traffic = RequestRecord()
        self._seen = 0.0
        """When it was probed last, by a clock that never jumps."""
        self.turned = monotonic
        """When up, down and unknown last changed places, by the same clock."""
        self._state = State.unknown
        self._since = now
        self._meaning = _UNSEEN
        self._evidence: tuple[Evidence, ...] = ()
        self._latency = Latency()
        self._network = ""
        self._could_be_ours = False
        self._asked_others_at = 0.0
        self._weight = 1.0
        self._freezes_streams = False
        self._burden = Finding(UNKNOWN)
        """What is known of its speed."""
        self._key_verdict = ""
        """Why its own key is of no use; "" while it may be used."""
        self._refuses_all = False
        """True if probes without a key learn that no key is of use there."""
        self._models: tuple[str, ...] = ()
        """What it lists for its own key; empty: not known."""
        self.seen: dict[str, Elsewhere] = {}
        """As other vantages saw it last."""
        self.rest = Rest()
        self._wish = Override.use
        self._wish_until: float | None = None

    def __repr__(self) -> str:
        return f"<MirrorState {self.mirror.id} {self._state} {self._meaning.verdict}>"

    def health(
        self,
        barred: Callable[[Path], bool] = lambda path: False,
        wall: Callable[[float], float] = lambda moment: moment,
    ) -> MirrorHealth:
        """Return the health that is shown; `barred` tells of a path whether requests may not take
        it, `wall` turns our clock into the world's."""
        tells = self._last_probe is not None or any(path.cut for path in self.paths)
        paths = shown(tuple(self.paths), barred, wall) if tells else ()
        verdict, evidence = self._meaning.verdict, self._evidence
        if others := [path for seen in self.seen.values() for path in seen.paths]:
            before, paths = paths, with_others(paths, others)
            for old, new in zip(before, paths, strict=True):
                if new is not old and old.verdict == verdict and not self._meaning.alive:
                    verdict, evidence = new.verdict, new.evidence
                    break
        ends = [path.not_after for path in paths if path.not_after is not None]
        return MirrorHealth(
            id=self.mirror.id,
            state=self._state,
            since=self._since,
            verdict=verdict,
            wish=self._wish,
            wish_until=self._wish_until,
            paths=paths,
            weight=min(self._weight, reaction_to(self._meaning.verdict).weight),
            freezes_streams=self._freezes_streams,
            key_refused=bool(self._key_verdict) or self._refuses_all,
            models=self._models,
            latency=self._latency,
            last_probe=self._last_probe,
            rests_until=wall(self.rest.until) if self.rest.until > float("-inf") else None,
            cdn_detected=self._network,
            tls_not_after=min(ends, default=None),
            dns=self._dns(),
            detail=None if self._state is State.up else self._meaning.seen,
            evidence=evidence,
            vantages=tuple(seen.health for _, seen in sorted(self.seen.items())),
        )

    def _dns(self) -> str:
        own = self.paths.names.get(self.mirror.host)
        verdict = own.finding.verdict if own is not None else OK
        return verdict if reaction_to(verdict).score else OK

    @property
    def network(self) -> str:
        """The content delivery network that was seen, or ""."""
        return self._network

    @property
    def could_be_ours(self) -> bool:
        """True if the last probe failed for what may be our own network's fault."""
        return self._could_be_ours

    @property
    def asked_others_at(self) -> float:
        """The time at which the others were asked because of that, on the monotonic clock."""
        return self._asked_others_at

    @property
    def in_transition(self) -> bool:
        """True if the last result spoke against the state, so that the next should come soon."""
        return self._machine.in_transition

    def take(self, probe: Probe, now: float, monotonic: float) -> None:
        """Take the facts of a probe; they do not say yet what the mirror's state is."""
        self._last_probe, self._seen = now, monotonic
        if (path := probe.best) is not None:
            self._latency = latency_of(self.mirror, probe, path)
            self._network = self.network_of(path) or self._network

    def network_of(self, path: PathResult) -> str:
        """The content delivery network that a probe shows, or ""."""
        name = self.paths.names.get(path.hostname)
        return cdn_of_path(path, name.chain if name else ())

    @property
    def may_return(self) -> bool:
        """True if it is down in a way that can be looked at as often as one likes: it refuses
        connections or answers errors, and no name is shown to whatever cuts names off."""
        verdict = self._meaning.verdict
        return self.is_down and (verdict in _UNREACHED or verdict in REACHED)

    @property
    def is_reached(self) -> bool:
        """True if it is down only because of how it answers, or not, a request of ours."""
        return self._meaning.verdict in REACHED

    def borne_out(self, probe: Probe, since: float) -> Probe:
        """A probe, corrected by traffic: who served a request since then, and none that failed
        after it, is alive although our own request is not answered as it should be."""
        meaning = probe.meaning
        if meaning.verdict in NAME_CUT:  # connections that are open go on, and some resets pass
            since = max(since, self._seen - SERVED_LATELY)
        elif meaning.verdict not in REACHED:
            return probe
        if meaning.alive or not self.traffic.serves(since):
            return probe
        seen = meaning.seen and Code.but_requests_served(sentence=meaning.seen)
        return replace(probe, meaning=Meaning(meaning.verdict, True, seen))

    def sample(self, probe: Probe, now: float, vantage: str) -> Sample:
        """Return the sample of a probe for history, after it was taken into the state."""
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
        flipped = self._machine.observe(meaning.alive, now)
        if flipped:
            self.turned = self._seen
        self.traffic.probed(meaning.alive and not flipped)
        agrees = self._machine.state is (State.up if meaning.alive else State.down)
        if agrees or self._machine.state is State.unknown:
            self._meaning = self._shaded(meaning)
            self._refuses_all = meaning.verdict in KEY_REFUSED
        return flipped

    def _shaded(self, meaning: Meaning) -> Meaning:
        """Verdict on a mirror that answers, but not in every way in which it should."""
        self._evidence = ()
        if meaning.verdict != OK:
            return meaning if meaning.alive else self._proven(meaning)
        own = in_order(path for path in self.paths if path.place == 0)
        others = any(path.place and path.standing is Standing.ok for path in self.paths)
        failed = own and own[0].fails and reaction_to(own[0].verdict).hold
        if others and failed:
            self._evidence = own[0].evidence
            return Meaning(own[0].verdict, True, Code.reached_otherwise())
        if self._key_verdict:
            return Meaning(self._key_verdict, True, Code.own_key_useless())
        if self._burden.verdict not in (OK, UNKNOWN):
            self._evidence = self._burden.evidence
            return Meaning(self._burden.verdict, True, Code.long_answers_suffer())
        if self.traffic.fails(self._seen):
            return Meaning.of("requests_fail", Code.requests_fail())
        return meaning

    def _proven(self, meaning: Meaning) -> Meaning:
        """Verdict on a mirror that does not answer: where a block is known, another cut handshake
        is not news."""
        for path in in_order(self.paths):
            known = path.is_blocked and meaning.verdict in NAME_CUT
            if path.verdict == meaning.verdict or known:
                self._evidence = path.evidence
                same = path.verdict == meaning.verdict
                return meaning if same else Meaning(path.verdict, False)
        return meaning

    def untouched(self, probe: Probe) -> Probe:
        """Verdict of a cycle that could try no path at all: the first of the reasons that hold
        them, or, where nothing is wrong with its own paths, that a name was cut off there."""
        ordered = in_order(self.paths)
        if not ordered:
            return probe
        reasons = (path.verdict for path in ordered if path.verdict not in (OK, UNKNOWN))
        own = next(reasons, None)
        meaning = Meaning(own, False) if own else Meaning(AFTER_EFFECT, False, Code.left_alone())
        return replace(probe, meaning=meaning)

    def weigh(self, finding: Finding, reaction: Reaction) -> bool:
        """Take what is known of its speed; True if that changes anything."""
        before = (self._weight, self._freezes_streams, self._burden)
        self._weight, self._freezes_streams = reaction.weight, reaction.streaming < 1.0
        self._burden = finding
        return before != (self._weight, self._freezes_streams, self._burden)

    def key_checked(self, verdict: str) -> None:
        """Its own key was tried; `verdict`: why it is of no use, or "".

        The next result is judged by it.
        """
        self._key_verdict = verdict

    def seen_from(self, vantage: str, seen: Elsewhere) -> None:
        """Take how another vantage sees it."""
        self.seen[vantage] = seen

    def seen_by_instances(self, seen: Mapping[str, Elsewhere]) -> bool:
        """Take how all other instances see it; True if that changes anything. A proxy of the same
        name as an instance goes on to speak for that place."""
        before = {name: each for name, each in self.seen.items() if each.health.lasts}
        through_proxies = self.seen.keys() - before.keys()
        now = {name: each for name, each in seen.items() if name not in through_proxies}
        if now == before:
            return False
        self.seen = {name: self.seen[name] for name in through_proxies} | now
        return True

    def unseen_from(self, vantage: str) -> None:
        """Forget a vantage that is gone."""
        self.seen.pop(vantage, None)

    def learn_models(self, models: tuple[str, ...]) -> bool:
        """Take the models that it lists for its own key; True if that changes anything."""
        before, self._models = self._models, models
        return models != before

    def configure(self, mirror: MirrorConfig, rise: int, fall: int, monotonic: float) -> None:
        """Take new settings."""
        self.mirror = mirror
        self._machine.configure(rise, fall)
        self.paths.configure(mirror, monotonic)

    def suspect_us(self, ours: bool) -> bool:
        """Note whether the last probe failed for what may be our own network's fault; True if
        it did, and the one before did not."""
        before, self._could_be_ours = self._could_be_ours, ours
        return ours and not before

    def others_asked(self, monotonic: float) -> None:
        """The other mirrors are asked whether they fail in the same way."""
        self._asked_others_at = monotonic

    def still_there(self, monotonic: float) -> None:
        """Nothing new was found out on purpose: what is known is not too old yet."""
        self._seen = monotonic

    @property
    def is_down(self) -> bool:
        """True if it is believed to be down."""
        return self._machine.state is State.down

    @property
    def is_up(self) -> bool:
        """True if it is believed to be up."""
        return self._machine.state is State.up

    @property
    def wants_another(self) -> bool:
        """True if a path is in doubt, so that the next cycle should come soon."""
        return any(path.standing is Standing.suspected for path in self.paths)

    def blind(
        self, now: float, meaning: Meaning | None = None, evidence: tuple[Evidence, ...] = ()
    ) -> bool:
        """Nothing can be said of it at present; True if it was known before."""
        self._meaning, self._evidence = meaning or _UNSEEN, evidence
        self._refuses_all = False
        return self._machine.blind(now)

    def set_wish(self, wish: Override, until: float | None) -> None:
        """Set the operator's override."""
        self._wish, self._wish_until = wish, until

    @property
    def wish(self) -> Override:
        """The operator's override."""
        return self._wish

    def wish_is_over(self, now: float) -> bool:
        """True if the operator's wish was for a time that has passed."""
        return self._wish_until is not None and now >= self._wish_until

    def heard_since(self, moment: float) -> bool:
        """True if a probe has ended since this moment of the monotonic clock."""
        return self._seen >= moment

    def is_stale(self, limit: float) -> bool:
        """True if something is known, but from before `limit` on the monotonic clock."""
        return self._machine.state is not State.unknown and self._seen < limit

    def refresh(self, now: float, vantage: str, flipped: bool = False) -> Transition | None:
        """Bring what is shown in line; the change of state that this was, if any.

        A flip counts from its first result, any other change from now.
        """
        state = self._shown()
        if state is self._state:
            return None
        self._state = state
        self._since = max(self._machine.since, self._since) if flipped else now
        return Transition(
            self.mirror.id,
            self._since,
            state,
            self._meaning.verdict,
            self._meaning.seen,
            vantage,
        )

    def continue_since(self, since: float) -> None:
        """The state that is shown held before a restart: it began at `since`."""
        self._since = min(since, self._since)

    def _shown(self) -> State:
        if self._wish is Override.maintenance:
            return State.maintenance
        if self._machine.state is State.up and self._meaning.verdict != OK:
            return State.degraded
        return self._machine.state


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
