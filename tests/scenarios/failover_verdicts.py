"""Verdicts on what a client and a faulty mirror have seen, by failoverbench's rules v0.1. Pure.

The rules are those of github.com/failoverbench (METHODOLOGY.md, scenarios/catalogue.yaml, profile
"full"); nothing of its code is used. Its "primary" is the first mirror here, its "fallback" the
other.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum


class Verdict(StrEnum):
    """The four words of the bench."""

    passed = "pass"
    """The whole answer (S13: a clean error), and nothing to criticise."""
    partial = "partial"
    """The same, but conduct that is merely advised is missing."""
    safe = "safe"
    """A bounded, clean error instead."""
    fail = "fail"


@dataclass(frozen=True)
class Measured:
    """One scenario as the client and the mirrors have seen it."""

    succeeded: bool
    """True if a careful client takes what it got for an answer."""
    whole: bool
    """True if that is all sixty words."""
    seconds: float
    asked_at: tuple[float, ...]
    """Moments of the attempts on the first mirror."""
    asked_other: int
    model: str = ""
    """The model that the answer names."""
    other_model: str = ""
    """The model of the other mirror's answers."""
    has_usage: bool = False
    alive: bool = True
    """True if a request afterwards, to mirrors without a fault, is served within ten seconds."""
    prefill_refused: bool = False
    """True if the other mirror was asked to go on where the first had stopped, and refused."""
    served_in_outage: bool = True
    recovered_after: float = 0.0
    """Seconds from the end of an outage until the first mirror answers again."""


Check = Callable[[Measured], bool]


@dataclass(frozen=True)
class Rule:
    """Rules of a scenario; one required check that fails is a "fail"."""

    most_seconds: float
    """Longer is a hang."""
    required: tuple[Check, ...] = ()
    advised: tuple[Check, ...] = ()
    wants_error: bool = False
    """True if a clean error is the best end."""


def _attempts(least: int, most: int) -> Check:
    return lambda seen: least <= len(seen.asked_at) <= most


def _within(window: float, most: int) -> Check:
    return lambda seen: sum(at - seen.asked_at[0] < window for at in seen.asked_at) <= most


def _first_gap(least: float) -> Check:
    return lambda seen: len(seen.asked_at) > 1 and seen.asked_at[1] - seen.asked_at[0] >= least


def _ended_by(seconds: float) -> Check:
    return lambda seen: seen.seconds <= seconds


def _is_alive(seen: Measured) -> bool:
    return seen.alive


def _has_usage(seen: Measured) -> bool:
    return seen.has_usage


def _is_whole(seen: Measured) -> bool:
    return seen.succeeded and seen.whole


def _names_who_answered(seen: Measured) -> bool:
    return not seen.asked_other or seen.model == seen.other_model


def _shows_the_real_failure(seen: Measured) -> bool:
    return seen.succeeded or not seen.prefill_refused


_BOUNDED = _attempts(0, 6)
RULES = {
    "S01": Rule(20.0, (_within(1.5, 2),), (_attempts(2, 99), _first_gap(1.8))),
    "S02": Rule(40.0, (_within(3.0, 4), _BOUNDED)),
    "S03": Rule(20.0, advised=(_attempts(2, 99),)),
    "S04": Rule(40.0, (_BOUNDED,)),
    "S05": Rule(20.0),
    "S06": Rule(130.0, (_ended_by(100.0),), (_attempts(0, 1),)),
    "S07": Rule(60.0, advised=(_ended_by(15.0),)),
    "S08": Rule(40.0),
    "S09": Rule(70.0, (_ended_by(45.0), _is_alive)),
    "S10": Rule(30.0, (_is_alive,), (_is_whole,)),
    "S11": Rule(30.0, (_ended_by(8.0),), (_has_usage,)),
    "S12": Rule(20.0, (_attempts(1, 1),)),
    "S13": Rule(20.0, (_attempts(1, 1),), wants_error=True),
    "S14": Rule(40.0, (_shows_the_real_failure,)),
    "S15": Rule(
        30.0, (lambda seen: seen.served_in_outage, lambda seen: seen.recovered_after <= 30.0)
    ),
    "S16": Rule(40.0, (_names_who_answered, _BOUNDED), (_has_usage,)),
}


def verdict(scenario: str, seen: Measured) -> Verdict:
    """The bench's verdict."""
    rule = RULES[scenario]
    truncated = seen.succeeded and not seen.whole and not rule.wants_error
    hung = seen.seconds > rule.most_seconds
    if hung or truncated or not all(check(seen) for check in rule.required):
        return Verdict.fail
    if rule.wants_error and seen.succeeded:
        return Verdict.partial
    if not seen.succeeded and not rule.wants_error:
        return Verdict.safe
    return Verdict.passed if all(check(seen) for check in rule.advised) else Verdict.partial
