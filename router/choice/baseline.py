"""How long requests of one kind usually take to their first content, over all mirrors.

Mirrors are compared by ratios to this, so that one which happened to get the slow models is not
taken for a slow one. The logarithm is averaged, since such times are spread log-normally: a few
very slow ones do not move it.
"""

from __future__ import annotations

from math import exp, log
from typing import NamedTuple

TAU = 300.0
"""Seconds in which the estimate forgets all but 1/e."""
_START_VARIANCE = 0.25
_P95 = 1.645
"""Standard deviations from the median of a normal distribution to its 95th percentile."""
_SHORTEST = 0.001
_OFTEN, _ENOUGH = 0.01, 50
"""Seconds within which another observation tells nothing new, once there are so many: 1.5 µs a
request, and a hundred a second say as much of a mean of minutes as a thousand."""

GENERATING = frozenset(
    ("chat", "completions", "responses", "messages", "images", "audio", "videos")
)
"""Endpoints whose answer takes as long as it is, unless it is streamed."""


class Kind(NamedTuple):
    """What a request's time to first content depends on; few enough to keep one estimate each."""

    endpoint: str
    """From the closed set of `router/wire/target.py`; "" for everything that only reads."""
    reasoning: bool = False
    stream: bool = False

    @property
    def generates(self) -> bool:
        """Whether the response head waits for the whole answer to be made."""
        return not self.stream and self.endpoint in GENERATING

    @property
    def expected(self) -> float:
        """Seconds to assume before anything is known."""
        if self.endpoint in GENERATING:
            return (10.0 if self.reasoning else 1.0) * (1.0 if self.stream else 5.0)
        return 0.5 if self.endpoint == "embeddings" else 0.3


class Baseline:
    """The usual time to first content of one kind."""

    __slots__ = ("_at", "_mean", "_seen", "_variance", "generates", "kind", "seconds")

    def __init__(self, kind: Kind, now: float) -> None:
        self.kind = kind
        self.generates = kind.generates
        self.seconds = kind.expected
        """The median, roughly."""
        self._mean = log(self.seconds)
        self._variance = _START_VARIANCE
        self._seen = 1
        self._at = now

    def __repr__(self) -> str:
        return f"<Baseline {self.kind.endpoint} {self.seconds:.3f} s>"

    @property
    def p95(self) -> float:
        """Seconds that one request in twenty exceeds."""
        return exp(self._mean + _P95 * self._variance**0.5)

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
    """The baselines of one worker, one for each kind that was met."""

    __slots__ = ("_of",)

    def __init__(self) -> None:
        self._of: dict[Kind, Baseline] = {}

    def __repr__(self) -> str:
        return f"<Baselines {list(self._of.values())}>"

    def of(self, kind: Kind, now: float) -> Baseline:
        """The baseline of this kind."""
        known = self._of.get(kind)
        if known is None:
            known = self._of[kind] = Baseline(kind, now)
        return known
