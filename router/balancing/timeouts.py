"""Timeouts of a request: response head, content, silence, and in all.

One number for all cannot do: what ends a silent mirror soon also ends a model that thinks for ten
minutes before its first word, and nobody can keep a list of those. So where the operator has set no
limit, a mirror is waited for as long as it shows any sign of life: to the request itself (a head, a
comment) or to others. What is limited is its silence, by minutes, and by more where such requests
usually take longer (`time_left`).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from typing import Final

from monitor.common.settings import parse_duration
from router.balancing.config import ClassConfig, TimeoutConfig
from router.balancing.load import GENERATING, SOFT_FACTOR, Baseline

REASONING: Final = (
    "o[1-9]",
    "o[1-9]-*",
    "gpt-5*",
    "*reason*",
    "*think*",
    "*deepseek-r*",
    "qwq*",
    "*-r1*",
)
"""Models that may think for long before their first word; of "openai/o3" the last part counts."""
_REASONING_CLASS = ClassConfig(first_byte=900.0, first_content=900.0, idle=300.0)
STREAM_HEAD = 90.0
"""Seconds of silence before the head of a stream: any model's first token of today comes within
about a minute, and clients give up after two."""
FIRST_CONTENT = 240.0
"""Seconds of silence behind the head of a stream, which shows that somebody works on it."""
WHOLE_ANSWER = 300.0
"""Seconds of silence while a whole answer is made: 16,000 tokens at 50 a second."""
OTHER_HEAD = 120.0
"""Seconds of silence before any other response."""
LONGEST = 900.0
"""Seconds after which a mirror that shows signs of life is given up all the same."""
OVERDUE = 2
"""So many requests past the soft limit make a mirror suspect."""
_MOST_KNOWN = 256
_ASKED = re.compile(rb"[0-9]{1,9}(?:\.[0-9]{1,6})?(ms|s|m|h)?")
_NEVER: Final = float("inf")


@dataclass(frozen=True, slots=True)
class Patience:
    """The limits of one request, in seconds."""

    head: float
    """From the complete request to the response head."""
    content: float
    """From the complete request to the first event with content; streams only."""
    idle: float
    total: float
    asked: float = _NEVER
    """What the caller asked for; it never raises a limit."""
    learns_head: bool = False
    """True if `head` limits the mirror's silence, not the wait (`time_left`)."""
    learns_content: bool = False
    """The same of `content`."""

    def lowered_to(self, asked: float | None) -> Patience:
        """The same for a caller who will not wait as long."""
        if asked is None:
            return self
        limits = (self.head, self.content, self.idle, self.total)
        head, content, idle, total = (min(limit, asked) for limit in limits)
        return replace(self, head=head, content=content, idle=idle, total=total, asked=asked)

    def blames(self, waited: float) -> bool:
        """True if it was our limit that ended the wait: a caller's haste is no mirror's fault."""
        return waited < self.asked


def time_left(
    patience: Patience, *, has_head: bool, waited: float, silent: float, usual: float
) -> float:
    """Return the seconds that a mirror still gets for a request; none left: 0 or less.

    `waited`: since it has the request; `silent`: since it has last shown any sign of life. `usual`
    is the 95th percentile of the time that such requests take. A limit that was set is a limit on
    the wait; one that is learned is a limit on the silence.
    """
    limit = patience.content if has_head else patience.head
    if not (patience.learns_content if has_head else patience.learns_head):
        return limit - waited
    limit = max(limit, SOFT_FACTOR * usual)
    return min(limit - silent, LONGEST - waited)


def is_reasoning(model: str) -> bool:
    """True if the model is of those that think before they answer."""
    name = model.rpartition("/")[2].lower()
    return any(fnmatchcase(name, pattern) for pattern in REASONING)


def asked_timeout(value: bytes) -> float | None:
    """Seconds of a caller's `x-mirrorgate-timeout`: "30", "1.5s", "500ms"; None for what is not."""
    match = _ASKED.fullmatch(value.strip())
    if match is None:
        return None
    text = value.strip().decode("ascii")
    seconds = parse_duration(text) if match[1] else float(text)
    return seconds if seconds > 0.0 else None


def leave_early(
    waited: float, baseline: Baseline, *, suspect: bool, dead: bool, overdue: int
) -> bool:
    """True if to try another mirror before the limit on silence, since this one, which answers
    nobody, is most likely dead.

    That it is slow is no reason: a long question takes long anywhere, and a model that is not known
    yet may be a slow one. Where the usual time is known, the mirror must be `suspect` (by its
    probes or by the end of its last request) or have as many requests that are overdue
    (`Load.overdue`); else there must be other evidence that it is `dead`.
    """
    if waited <= baseline.soft_limit:
        return False
    return dead or (baseline.known and (suspect or overdue >= OVERDUE))


class Classes:
    """The limits by endpoint, model and whether a stream was asked for."""

    __slots__ = ("_classes", "_known", "_timeouts")

    def __init__(self, timeouts: TimeoutConfig, classes: Sequence[ClassConfig]) -> None:
        self._timeouts = timeouts
        self._classes = tuple(classes)
        self._known: dict[tuple[str, str, bool], Patience] = {}

    def __repr__(self) -> str:
        return f"<Classes {len(self._classes)}>"

    def patience(self, endpoint: str, model: str, stream: bool) -> Patience:
        """The limits; the first class that fits says what it says, `router.timeouts` the rest."""
        key = (endpoint, model, stream)
        known = self._known.get(key)
        if known is None:
            if len(self._known) >= _MOST_KNOWN:  # models are clients' own words
                self._known.clear()
            known = self._known[key] = self._find(endpoint, model, stream)
        return known

    @property
    def longest(self) -> float:
        """The longest that any request waits for its first content, in seconds."""
        own = [
            max(each.first_byte, each.first_content) for each in (*self._classes, _REASONING_CLASS)
        ]
        usual = self._timeouts
        return max(LONGEST, usual.first_byte, usual.stream_head, usual.first_content, *own)

    def _find(self, endpoint: str, model: str, stream: bool) -> Patience:
        usual, own = self._timeouts, self._class_of(endpoint, model)
        head = own.first_byte or (usual.stream_head if stream else usual.first_byte)
        content = own.first_content or own.first_byte
        if stream:
            content = content or usual.first_content
        learned = STREAM_HEAD if stream else OTHER_HEAD
        if not stream and endpoint in GENERATING:
            learned = WHOLE_ANSWER
        return Patience(
            head=head or learned,
            content=max(content or FIRST_CONTENT, head),
            idle=own.idle or usual.idle,
            total=own.total or usual.total,
            learns_head=not head,
            learns_content=not content,
        )

    def _class_of(self, endpoint: str, model: str) -> ClassConfig:
        for own in self._classes:
            if fnmatchcase(endpoint, own.endpoint) and fnmatchcase(model, own.model):
                return own
        reasons = endpoint in GENERATING and is_reasoning(model)
        return _REASONING_CLASS if reasons else ClassConfig()
