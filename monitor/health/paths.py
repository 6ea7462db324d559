"""The paths of a mirror: how each of them stands, and in which order they are used.

    untested --good--> ok --bad--> suspected --verdict--> held --its time over--> one probe
                       ^               |                   ^                      |     |
                       +-----good------+                   +---bad: for longer----+     |
                       +----------------------------good--------------------------------+

Live traffic takes paths that are ok. When there is none it takes the least bad, for a mirror whose
probes fail may still serve; what is quarantined it never takes. An alternate name that no probe has
tried it takes only when all else was cut off after our hello. Pure: the clock is handed in.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace

from monitor.diagnosis.cdn import neighbourhood
from monitor.diagnosis.certificates import Memory
from monitor.diagnosis.confidence import Confidence
from monitor.diagnosis.evidence import Evidence
from monitor.diagnosis.timing import DiagnosisTiming
from monitor.diagnosis.verdicts import NAME_CUT, SNI_BLOCKS
from monitor.health.snapshot import PathHealth, Standing
from monitor.probes.results import TlsEvidence, Way
from monitor.probes.trial_results import Trial

SMOOTHING = 0.3
"""Weight of the newest measurement in the moving average."""
QUICK = 8.0
"""Milliseconds below which no path is quicker than another."""
_STICKY = 0.75
"""How far, in doublings, a latency has to be from its class of speed to leave it: else paths that
are about equally fast would change places all the time, and a name be shown at both addresses."""
_UNMEASURED = 99

QUIET = 3600.0
"""Seconds without a hold after which the next one is a first one again."""

CERTAIN = 0.3
"""Seconds after a cut from which on a handshake is one that began later: workers tell of both with
a delay that is not known."""
SOON = 15.0
"""Seconds after a cut within which an answer shows that no censor remembers the name: less than any
known one does (60 s and more: Bock et al., WOOT 2021)."""
ERRATIC_FOR = 30.0
"""Seconds that a path which answered soon after a cut is taken to do so again."""

SAY_AGAIN = 600.0
"""Seconds between two times that the log says of one path that it works again."""

SLOW_HANDSHAKE = "tls_timeout"
"""The verdict on one that was overtaken, or not answered in time."""
_NO_NEWS = NAME_CUT | {"residual_block", "connection_reset", "unknown"}
"""What a name that is known to be blocked meets again and again."""
_BADNESS = {Standing.ok: 0, Standing.suspected: 1, Standing.untested: 2, Standing.held: 3}


@dataclass(slots=True, eq=False)
class Path:
    """One path, as the monitor knows it; times are of the monotonic clock.

    Changes only by its methods.
    """

    hostname: str
    address: str
    place: int = 0
    """Of its hostname in the configuration: 0 is the mirror's own, alternates follow."""
    standing: Standing = Standing.untested
    verdict: str = "unknown"
    level: str = "none"
    evidence: tuple[Evidence, ...] = ()
    cut: bool = False
    """True if it was the last handshake over it that was cut off, not one of another path."""
    latency: float | None = None
    """Milliseconds for TCP and TLS, smoothed."""
    speed: int = _UNMEASURED
    """The class of that: each is twice as slow as the one before."""
    network: str = ""
    """The content delivery network that it was last seen to lead over."""
    not_after: float | None = None
    held_until: float = -math.inf
    repeats: int = 0
    """Holds in a row."""
    failures: int = 0
    """Bad results of probes in a row."""
    successes: int = 0
    """Connections that came about, since the start."""
    cut_at: float = -math.inf
    """When it was cut off for the first time after its last answer."""
    erratic_at: float = -math.inf
    """When it last answered soon after it had been cut off."""
    last_good: float = -math.inf
    """When a connection was last known to come about over it."""
    answered: float = -math.inf
    """When the last handshake that came about over it had begun."""
    last_try: float = -math.inf
    """When a probe last took it, or a connection last came about."""
    last_bad: float = -math.inf
    """When anything last spoke against it: a failure here, or of a path that it has a part in."""
    failed_at: float = -math.inf
    """When a probe, or the handshake of a request, last failed on it."""
    seen: float = -math.inf
    """When a resolver, or the configuration, last gave the address."""
    said: float = -math.inf
    """When the log last said that it works again."""
    confidence: Confidence = field(default_factory=Confidence)
    memory: Memory = field(default_factory=Memory)
    """The certificate that verified over it before."""

    def __post_init__(self) -> None:
        self.speed = _speed(self.latency, self.speed)

    @property
    def way(self) -> Way:
        """The key of the path."""
        return Way(self.hostname, self.address)

    def given(self, now: float, trusted: bool) -> None:
        """A resolver, or the configuration, gave its address; `trusted`: it cannot be forged."""
        self.seen = now
        if self.memory.trusted_address is not trusted:
            self.memory = replace(self.memory, trusted_address=trusted)

    def moved(self, place: int) -> None:
        """Its hostname has another place in the configuration."""
        self.place = place

    def led_over(self, network: str) -> None:
        """A probe showed which content delivery network it leads over; "": nothing showed."""
        self.network = network or self.network

    def succeeded(self, now: float, latency: float | None = None) -> bool:
        """A connection came about; True if it was not ok before. `latency` in milliseconds."""
        if now - self.held_until > QUIET:
            self.repeats = 0
        self.last_good = self.last_try = now
        self.successes += 1
        if latency is not None:
            known = self.latency
            self.latency = latency if known is None else known + SMOOTHING * (latency - known)
            self.speed = _speed(self.latency, self.speed)
        if self.standing is Standing.ok:
            return False
        self.standing, self.failures, self.cut = Standing.ok, 0, False
        self.verdict, self.level, self.evidence = "ok", "none", ()
        return True

    def was_answered(self, began: float) -> None:
        """A handshake that began then came about, whatever else is held against the path."""
        self.answered = max(began, self.answered)
        if CERTAIN < began - self.cut_at < SOON:
            self.erratic_at = began

    def is_erratic(self, now: float) -> bool:
        """True if a moment ago it answered within seconds of a cut: what cuts its name off does not
        remember it, as censors do."""
        return now - self.erratic_at < ERRATIC_FOR

    def probed(self, now: float, latency: float, tls: TlsEvidence | None) -> bool:
        """A probe came through: as `succeeded`, and it speaks against a block; its certificate is
        remembered."""
        news = self.succeeded(now, latency)
        known = self.confidence
        self.confidence = known.succeeded() if known.net > 0 else Confidence()
        if tls is not None:
            self.not_after = tls.not_after
            self.memory = replace(self.memory, issuer=tls.issuer, sha256=tls.sha256)
        return news

    def tried(self, now: float) -> None:
        """A try came to nothing that could be held against it."""
        self.last_try = now

    def due(self) -> None:
        """It is to be tried soon, however recently it was."""
        self.last_try = -math.inf

    def may_say(self, now: float) -> bool:
        """True if the log may say that it works again, which is then noted: a path that fails at
        every second try must not fill the log."""
        if now - self.said < SAY_AGAIN:
            return False
        self.said = now
        return True

    @property
    def is_blocked(self) -> bool:
        """True if its name is known to be cut off, or suspected to be by more than one failure."""
        return self.verdict in SNI_BLOCKS and self.level in ("suspected", "confirmed")

    @property
    def fails(self) -> bool:
        """True if a probe, a cut, a block test or a hold speaks against it: more than a request
        that waited for long, as for a packet that was lost."""
        held = self.standing is Standing.held
        return held or self.cut or self.failures > 0 or self.level != "none"

    def failed(self, now: float, verdict: str) -> None:
        """A connection did not come about; the path is not used until more is known.

        What is known of a block stays until something else than a cut speaks.
        """
        self.last_try = self.last_bad = self.failed_at = now
        self.failures += 1
        self.cut = False
        if self.standing is not Standing.held:
            self.standing = Standing.suspected
        self._suspect_of(verdict)

    def cut_off(self, now: float) -> None:
        """The failure was a handshake that was cut off, under its name."""
        self.cut = True
        if self.cut_at <= self.answered:
            self.cut_at = now

    def doubted(self, now: float, verdict: str) -> None:
        """It has failed or might, as others show: it is left until a probe has looked."""
        self.last_bad = now
        if self.standing in (Standing.ok, Standing.untested):
            self.standing = Standing.suspected
            self._suspect_of(verdict)

    def trusted_again(self) -> None:
        """A slow handshake says nothing of it, if that is all that speaks against it."""
        slow = self.standing is Standing.suspected and self.verdict == SLOW_HANDSHAKE
        if slow and not self.fails:
            known = self.last_good > -math.inf
            self.standing = Standing.ok if known else Standing.untested
            self.verdict, self.evidence = "ok" if known else "unknown", ()

    def handshake_failed(self, now: float, verdict: str) -> None:
        """The TLS handshake of a request failed over it, which no probe has seen."""
        self.doubted(now, verdict)
        self.failed_at = now

    def tested(
        self,
        trials: Sequence[Trial],
        pace: DiagnosisTiming,
        *,
        anchor_failures: float,
        second_address: bool,
        akamai: bool,
    ) -> None:
        """Trials of a block test count for or against a block (`Confidence.after`)."""
        self.confidence = self.confidence.after(
            trials,
            pace,
            anchor_failures=anchor_failures,
            second_address=second_address,
            akamai=akamai,
        )

    def judged(self, verdict: str, level: str, evidence: tuple[Evidence, ...]) -> None:
        """Take a finding; one that says less than what is known of a block is no news."""
        if self.is_blocked and (verdict in _NO_NEWS - SNI_BLOCKS):
            return
        if level == "suspected" and self.level == "confirmed" and verdict == self.verdict:
            return
        self.verdict, self.level, self.evidence = verdict, level, evidence

    def _suspect_of(self, verdict: str) -> None:
        """A failure says this; what is known of the same verdict, or says more, stays known."""
        if verdict != self.verdict and not (self.is_blocked and verdict in _NO_NEWS):
            self.verdict, self.level, self.evidence = verdict, "none", ()

    def hold(self, until: float) -> None:
        """Leave it alone until then; afterwards one probe decides."""
        self.standing = Standing.held
        self.held_until = max(until, self.held_until)
        self.repeats += 1

    def put_aside(self, until: float) -> None:
        """Leave it alone until then, before it is known how it has failed."""
        self.standing, self.cut = Standing.held, True
        self.held_until = max(until, self.held_until)

    def waits_no_longer_than(self, until: float) -> None:
        """Leave it alone until then at most."""
        self.held_until = min(until, self.held_until)

    def is_held(self, now: float) -> bool:
        """True if it is to be left alone, by probes too."""
        return self.standing is Standing.held and now < self.held_until


def may_be_free(path: Path, other: Path) -> bool:
    """True if a name that was cut off at an address may be answered there now: another one worked
    since, which is cut off in its turn."""
    shown = max(path.cut_at, path.failed_at)
    return path.standing is Standing.held and is_cut(path) and shown < other.last_good


def badness(path: Path) -> tuple[int, int]:
    """Rank of a path, the lower the better: its standing, then its failures."""
    return (_BADNESS[path.standing], 0 if path.standing is Standing.ok else path.failures)


def in_order(paths: Iterable[Path]) -> list[Path]:
    """The paths in the order to use.

    First how they stand, then the mirror's own name before alternates, then speed; of those that
    are about equally fast, neighbours in the order lie in different networks, so that what blocks
    one does not block the next. Small changes of speed change nothing.
    """
    waiting = sorted(paths, key=_place)
    ordered: list[Path] = []
    used = Counter[str]()
    while waiting:
        best = _rank(waiting[0])
        equal = [path for path in waiting if _rank(path) == best]
        chosen = min(equal, key=lambda p: used[neighbourhood(p.address)])
        waiting.remove(chosen)
        ordered.append(chosen)
        used[neighbourhood(chosen.address)] += 1
    return ordered


def _place(path: Path) -> tuple[object, ...]:
    return (*_rank(path), path.address, path.hostname)


def _rank(path: Path) -> tuple[int, int, int, int]:
    return (*badness(path), path.place, path.speed)


def _speed(latency: float | None, before: int) -> int:
    """The class of a latency, which was `before`; unknown is the slowest."""
    if latency is None:
        return _UNMEASURED
    exact = math.log2(max(latency, QUICK))
    return before if abs(exact - before) <= _STICKY else round(exact)


def shown(
    paths: Sequence[Path], barred: Callable[[Path], bool], wall: Callable[[float], float]
) -> tuple[PathHealth, ...]:
    """Return the paths of a snapshot, in the order to use.

    `barred` tells of a path whether requests may not take it, `wall` turns our clock into seconds
    since the epoch.
    """
    ordered = in_order(paths)
    usable = usable_ones(ordered, barred)
    return tuple(
        PathHealth(
            hostname=path.hostname,
            address=path.address,
            standing=path.standing,
            usable=path in usable,
            verdict=path.verdict,
            level=path.level,
            latency=None if path.latency is None else round(path.latency, 1),
            until=round(wall(path.held_until), 1) if path.standing is Standing.held else None,
            not_after=path.not_after,
            successes=path.successes,
            evidence=path.evidence,
        )
        for path in ordered
    )


def usable_ones(ordered: Sequence[Path], barred: Callable[[Path], bool]) -> list[Path]:
    """Those that live traffic may take: the ones that are ok, else the least bad one.

    After a handshake was cut off that is another name at another address, even if no probe has
    tried it yet: the name that was cut off would shut one more address.
    """
    free = [path for path in ordered if not barred(path)]
    if good := [path for path in free if path.standing is Standing.ok]:
        return good
    shut = {path.address for path in ordered if path.cut}
    tried = [p for p in free if shut or p.standing is not Standing.untested or p.place == 0]
    return sorted(tried, key=lambda p: (p.standing is Standing.held, is_cut(p), p.address in shut))[
        :1
    ]


def is_cut(path: Path) -> bool:
    """True if showing the name of this path may set off a blockade."""
    return path.standing is not Standing.ok and path.verdict in NAME_CUT
