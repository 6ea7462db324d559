"""Load of a mirror: baselines of each kind of request, and the cost of one more request."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from math import exp, log
from statistics import median
from typing import Final, NamedTuple

from router.balancing.config import BalanceConfig

TAU: Final = 300.0
"""Seconds in which the estimate forgets all but 1/e."""
_START_VARIANCE = 0.25
_P95 = 1.645
"""Standard deviations from the median of a normal distribution to its 95th percentile."""
_SHORTEST: Final = 0.001
SOFT_LEAST: Final = 10.0
"""Seconds; no mirror is left for being slow before."""
SOFT_FACTOR = 4.0
KNOWN = 10
"""Observations after which a baseline says more than what was assumed at first."""
MOST_BASELINES = 512
"""Models are callers' words: beyond this many kinds those that were never observed are forgotten,
then the oldest."""
_OFTEN, _ENOUGH = 0.01, 50
"""Seconds within which another observation tells nothing new, once there are so many: 1.5 µs a
request, and a hundred a second say as much of a mean of minutes as a thousand."""

GENERATING = frozenset(
    ("chat", "completions", "responses", "messages", "images", "audio", "videos")
)
"""Endpoints whose answer takes as long as it is, unless it is streamed."""
_WORKING = GENERATING | {"embeddings", "moderations"}
"""Endpoints that a model answers."""


class Kind(NamedTuple):
    """Properties that a request's time to first content depends on."""

    endpoint: str
    """From the closed set of `router/wire/target.py`; "" for everything that only reads."""
    reasoning: bool = False
    stream: bool = False
    model: str = ""
    """As callers name it; "" where it is not known."""

    @property
    def generates(self) -> bool:
        """True if the response head waits for the whole answer to be made."""
        return not self.stream and self.endpoint in GENERATING

    @property
    def expected(self) -> float:
        """Seconds to assume before anything is known."""
        if self.endpoint in GENERATING:
            return (10.0 if self.reasoning else 1.0) * (1.0 if self.stream else 5.0)
        return 0.5 if self.endpoint == "embeddings" else 0.3


class Baseline:
    """The usual time to first content of one kind."""

    __slots__ = ("_at", "_mean", "_seen", "_variance", "generates", "kind", "seconds", "works")

    def __init__(self, kind: Kind, now: float) -> None:
        self.kind = kind
        self.generates = kind.generates
        self.works = kind.endpoint in _WORKING
        """True if a success shows that the mirror does what it is for."""
        self.seconds = kind.expected
        """The median, roughly."""
        self._mean = log(self.seconds)
        self._variance = _START_VARIANCE
        self._seen = 1
        self._at = now

    def __repr__(self) -> str:
        return f"<Baseline {self.kind.endpoint} {self.seconds:.3f} s>"

    @property
    def known(self) -> bool:
        """True if it was observed so often that a longer time is unusual."""
        return self._seen > KNOWN

    @property
    def p95(self) -> float:
        """Seconds that one request in twenty exceeds."""
        return exp(self._mean + _P95 * self._variance**0.5)

    @property
    def soft_limit(self) -> float:
        """Seconds after which a request takes suspiciously long: four times the percentile."""
        return max(SOFT_FACTOR * self.p95, SOFT_LEAST)

    @property
    def observed(self) -> bool:
        """True if it was ever observed."""
        return self._seen > 1

    @property
    def observed_at(self) -> float:
        """When it was observed last, or made."""
        return self._at

    def observe(self, seconds: float, now: float) -> None:
        """A first content came after this time. The first ones are averaged as they come, so that
        what was assumed is soon outvoted."""
        if now - self._at < _OFTEN and self._seen > _ENOUGH:
            return
        self._seen += 1
        gain = max(1.0 - exp((self._at - now) / TAU), 1.0 / self._seen)
        off = log(max(seconds, _SHORTEST)) - self._mean
        self._mean += gain * off
        self._variance = (1.0 - gain) * (self._variance + gain * off * off)
        self._at = now
        self.seconds = exp(self._mean)


class Baselines:
    """The baselines of one worker, one for each kind that was met, up to a bound."""

    __slots__ = ("_of",)

    def __init__(self) -> None:
        self._of: dict[Kind, Baseline] = {}

    def __repr__(self) -> str:
        return f"<Baselines {list(self._of.values())}>"

    def of(self, kind: Kind, now: float) -> Baseline:
        """The baseline of this kind."""
        known = self._of.get(kind)
        if known is None:
            if len(self._of) >= MOST_BASELINES:
                self._make_room()
            known = self._of[kind] = Baseline(kind, now)
        return known

    def _make_room(self) -> None:
        observed = {kind: b for kind, b in self._of.items() if b.observed}
        if len(observed) >= MOST_BASELINES:
            del observed[min(observed, key=lambda kind: observed[kind].observed_at)]
        self._of = observed


IDLE: Final = 60.0
"""Seconds in which an unused estimate goes back to the pool's mean but for 1/e."""
LEAST, MOST = 0.1, 8.0
"""One sample counts at most this much, so that one slow answer is not a verdict."""
STREAMING: Final = 0.2
"""What an open stream weighs beside a request that still waits."""
FIRST_RAMP = 0.1
_AT_ONCE: Final = 0.1
"""Seconds within which successes count as one moment's: far less than they take to fade."""
_SAMPLE_ANYWAY: Final = 60.0
"""Seconds after which a mirror without better samples is judged by whole answers too."""


class Terms(NamedTuple):
    """The parts of a cost, to be shown to people."""

    latency: float
    oldest: float
    network: float
    waiting: int
    streaming: int
    success: float
    weight: float
    ramp: float
    cost: float


class Load:
    """One mirror's load and quality, seen from one worker. Times are monotonic seconds."""

    __slots__ = (
        "_bad",
        "_counted_at",
        "_decay",
        "_good",
        "_latency",
        "_observed_at",
        "_ramp",
        "_ramp_from",
        "_ramping",
        "_spare",
        "_stamp",
        "_stamps",
        "_waiting",
        "network",
        "streaming",
        "waiting",
        "weight",
    )

    def __init__(
        self,
        weight: float,
        balance: BalanceConfig,
        now: float,
        stamps: memoryview[float] | list[float] | None = None,
        stamp: int = 0,
    ) -> None:
        """`stamps`: moments that all workers share, `stamp` is the mirror's place there."""
        self.weight = weight
        self.network = 0.0
        """What the monitor's probes add (`network.network_terms`)."""
        self.waiting = 0
        self.streaming = 0
        self._stamps = [0.0] if stamps is None else stamps
        self._stamp = stamp
        self.tune(balance)
        self._ramping = False
        self._ramp_from = now
        self._latency = 1.0
        self._observed_at = now
        self._good = self._bad = 0.0
        self._counted_at = now
        self._waiting: dict[Baseline, OrderedDict[Ticket, None]] = {}
        """Who waits, by kind, longest first; an OrderedDict finds its first at once, a dict looks
        through what was deleted."""
        self._spare: OrderedDict[Ticket, None] | None = None
        """An empty one, for the next kind: to make and free one takes 1,500 instructions."""

    def __repr__(self) -> str:
        return f"<Load {self.waiting} waiting, {self.streaming} streaming>"

    def tune(self, balance: BalanceConfig) -> None:
        """Take new settings."""
        self._decay = balance.decay
        self._ramp = balance.ramp

    @property
    def in_flight(self) -> int:
        """Requests on the mirror."""
        return self.waiting + self.streaming

    # Read

    def cost(self, now: float) -> float:
        """The cost of one more request; lower is better."""
        latency = 1.0 + (self._latency - 1.0) * exp((self._observed_at - now) / IDLE)
        if self.waiting:
            for baseline, tickets in self._waiting.items():
                age = (now - next(iter(tickets)).since) / baseline.seconds
                if age > latency:
                    latency = age
        good_part = self.weight
        if self._bad:  # else all that ended was good, however long ago
            fade = exp((self._counted_at - now) / self._decay)
            good = self._good * fade + 1.0
            success = good / (good + self._bad * fade)
            good_part *= success * success * success
        queue = self.waiting + STREAMING * self.streaming
        return (latency + self.network) * (queue + 1.0) / good_part

    def share(self, now: float) -> float:
        """The weight, less while it recovers: how often it is a candidate. It is no part of the
        cost, or an idle mirror that recovers would be dearer than every other one and get nothing
        until it has all but recovered."""
        return self.weight * self.ramp(now) if self._ramping else self.weight

    def ramp(self, now: float) -> float:
        """The part of its weight that it has while it recovers, else 1."""
        if not self._ramping:
            return 1.0
        ramp = (now - self._ramp_from) / self._ramp
        if ramp >= 1.0:
            self._ramping = False
            return 1.0
        return max(FIRST_RAMP, ramp)

    def terms(self, now: float) -> Terms:
        """The cost and its parts."""
        latency = 1.0 + (self._latency - 1.0) * exp((self._observed_at - now) / IDLE)
        fade = exp((self._counted_at - now) / self._decay)
        good = self._good * fade + 1.0
        return Terms(
            latency=latency,
            oldest=self.oldest(now),
            network=self.network,
            waiting=self.waiting,
            streaming=self.streaming,
            success=good / (good + self._bad * fade),
            weight=self.weight,
            ramp=self.ramp(now),
            cost=self.cost(now),
        )

    def oldest(self, now: float) -> float:
        """The longest wait of an open request, as a ratio to what such requests usually take."""
        return max(
            ((now - next(iter(tickets)).since) / b.seconds for b, tickets in self._waiting.items()),
            default=0.0,
        )

    @property
    def answered_at(self) -> float:
        """When the mirror last sent content, in response to any request of any worker that is more
        than a read; 0: never."""
        return self._stamps[self._stamp]

    def overdue(self, now: float) -> int:
        """Number of requests whose usual time is known and that have waited longer than their soft
        limit, counted up to two."""
        count = 0
        for baseline, tickets in self._waiting.items():
            if not baseline.known:
                continue
            limit = baseline.soft_limit
            for ticket in tickets:
                if now - ticket.since <= limit or count == 2:
                    break
                count += 1
        return count

    # Write

    def begin(self, baseline: Baseline, now: float) -> Ticket:
        """A request is on its way to the mirror; its ticket must be ended, whatever happens."""
        return Ticket(self, baseline, now)

    def note_content(self, now: float) -> None:
        """The mirror goes on sending content."""
        self._stamps[self._stamp] = now

    def succeeded(self, now: float) -> None:
        """An attempt ended well."""
        if now - self._counted_at > _AT_ONCE:
            self._fade(now)
        self._good += 1.0

    def failed(self, weight: float, now: float) -> None:
        """An attempt failed, and the mirror is to blame that much (`failure.weight_of`)."""
        self._fade(now)
        self._bad += weight

    def recover(self, now: float) -> None:
        """The mirror's ejection has ended: begin with a small share and no failures."""
        self._ramping, self._ramp_from = True, now
        self._good = self._bad = 0.0
        self._latency, self._observed_at = 1.0, now

    def _fade(self, now: float) -> None:
        fade = exp((self._counted_at - now) / self._decay)
        self._good *= fade
        self._bad *= fade
        self._counted_at = now

    def _observe(self, baseline: Baseline, seconds: float, now: float) -> None:
        if baseline.works:
            self._stamps[self._stamp] = now
        usual = baseline.seconds
        baseline.observe(seconds, now)
        since = now - self._observed_at
        if since < _SAMPLE_ANYWAY and baseline.generates:
            return
        ratio = min(max(seconds / usual, LEAST), MOST)
        if ratio < self._latency:
            keep = exp(-since / self._decay)
            ratio = self._latency * keep + ratio * (1.0 - keep)
        self._latency, self._observed_at = ratio, now

    def _leave_queue(self, ticket: Ticket, baseline: Baseline) -> None:
        tickets = self._waiting[baseline]
        del tickets[ticket]
        if not tickets:
            self._spare = self._waiting.pop(baseline)
        self.waiting -= 1


class Ticket:
    """One request's place in a mirror's load: waiting, then streaming, then given back once."""

    __slots__ = ("_baseline", "_load", "_streaming", "_waiting", "since")

    def __init__(self, load: Load, baseline: Baseline, now: float) -> None:
        self.since = now
        """Since when it waits for content."""
        self._load = load
        self._baseline = baseline
        self._waiting = True
        self._streaming = False
        tickets = load._waiting.get(baseline)
        if tickets is None:
            spare, load._spare = load._spare, None
            tickets = load._waiting[baseline] = OrderedDict() if spare is None else spare
        tickets[self] = None
        load.waiting += 1

    def sent(self, now: float) -> None:
        """The request is complete: from here on it is the mirror who takes time."""
        if self._waiting:
            self.since = now
            self._load._waiting[self._baseline].move_to_end(self)

    def content(self, now: float) -> None:
        """The first content came."""
        if self._waiting:
            self._waiting, self._streaming = False, True
            self._load._leave_queue(self, self._baseline)
            self._load.streaming += 1
            self._load._observe(self._baseline, now - self.since, now)

    def end(self) -> None:
        """Give the place back; later calls do nothing."""
        if self._waiting:
            self._waiting = False
            self._load._leave_queue(self, self._baseline)
        elif self._streaming:
            self._streaming = False
            self._load.streaming -= 1


PART = 0.25
"""What a handshake that takes twice the pool's median adds: a quarter of the usual latency."""
MOST_DISTANCE = 2.0


def network_terms(tls_ms: Mapping[str, float | None]) -> dict[str, float]:
    """The term of every mirror, from the milliseconds of its last TLS handshake, None where that
    is not known: how much it is slower than the median of all, never a bonus, 2 at most."""
    known = [ms for ms in tls_ms.values() if ms is not None]
    usual = median(known) if known else 0.0
    if usual <= 0.0:
        return dict.fromkeys(tls_ms, 0.0)
    return {
        mirror: 0.0 if ms is None else min(max(PART * (ms / usual - 1.0), 0.0), MOST_DISTANCE)
        for mirror, ms in tls_ms.items()
    }
