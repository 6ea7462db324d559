"""Timeouts of a request: response head, content, silence, and in all.

One number for all cannot do: what ends a silent mirror soon also ends a model that thinks for ten
minutes before its first word. So endpoints and models have classes, and reasoning models one of
their own that holds where the operator has said nothing.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase

from monitor.common.settings import parse_duration
from router.balancing.config import ClassConfig, TimeoutConfig
from router.balancing.load import GENERATING, Baseline

REASONING = ("o[1-9]", "o[1-9]-*", "gpt-5*", "*reason*", "*think*", "*deepseek-r*", "qwq*", "*-r1*")
"""Models that may think for long before their first word; of "openai/o3" the last part counts."""
_REASONING_CLASS = ClassConfig(first_byte=900.0, first_content=900.0, idle=300.0)
SOFT_LEAST = 10.0
"""Seconds; no mirror is left for being slow before."""
SOFT_FACTOR = 4.0
OVERDUE = 2
"""So many requests past the soft limit make a mirror suspect."""
_MOST_KNOWN = 256
_ASKED = re.compile(rb"[0-9]{1,9}(?:\.[0-9]{1,6})?(ms|s|m|h)?")
_NEVER = float("inf")


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

    def lowered_to(self, asked: float | None) -> Patience:
        """The same for a caller who will not wait as long."""
        if asked is None:
            return self
        limits = (self.head, self.content, self.idle, self.total)
        head, content, idle, total = (min(limit, asked) for limit in limits)
        return Patience(head, content, idle, total, asked)

    def blames(self, waited: float) -> bool:
        """True if it was our limit that ended the wait: a caller's haste is no mirror's fault."""
        return waited < self.asked


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


def soft_limit(baseline: Baseline, hard: float) -> float:
    """Seconds after which a request takes suspiciously long: four times the 95th percentile."""
    return min(max(SOFT_FACTOR * baseline.p95, SOFT_LEAST), hard)


def leave_early(waited: float, soft: float, *, suspect: bool, overdue: int) -> bool:
    """True if to try another mirror before the hard limit. Slowness alone is no reason, since a
    long question takes long anywhere: the mirror must be suspect besides, by its probes or by
    `overdue` other requests that wait as long (`Load.overdue`)."""
    return waited > soft and (suspect or overdue >= OVERDUE)


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
        return max(usual.first_byte, usual.stream_head, usual.first_content, *own)

    def _find(self, endpoint: str, model: str, stream: bool) -> Patience:
        usual, own = self._timeouts, self._class_of(endpoint, model)
        head = usual.stream_head if stream else usual.first_byte
        content = usual.first_content if stream else usual.first_byte
        return Patience(
            head=own.first_byte or head,
            content=max(own.first_content or own.first_byte or content, own.first_byte or head),
            idle=own.idle or usual.idle,
            total=own.total or usual.total,
        )

    def _class_of(self, endpoint: str, model: str) -> ClassConfig:
        for own in self._classes:
            if fnmatchcase(endpoint, own.endpoint) and fnmatchcase(model, own.model):
                return own
        reasons = endpoint in GENERATING and is_reasoning(model)
        return _REASONING_CLASS if reasons else ClassConfig()
