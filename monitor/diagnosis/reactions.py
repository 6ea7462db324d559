"""Reactions to verdicts: scope, duration and backoff; which verdict has which: `verdicts.py`."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from random import Random

from monitor.diagnosis.timing import NORMAL, DiagnosisTiming


class Scope(StrEnum):
    """The part of a mirror that a reaction concerns."""

    none = "none"
    path = "path"
    """One hostname on one address."""
    endpoint = "endpoint"
    """One address and port, whatever the hostname."""
    hostname = "hostname"
    """One hostname on all addresses."""
    mirror = "mirror"
    cdn = "cdn"
    """The mirror's paths over the same content delivery network."""


@dataclass(frozen=True, slots=True)
class Reaction:
    """Reaction to a verdict."""

    scope: Scope = Scope.none
    hold: float = 0.0
    """Seconds that what `scope` names gets no new requests; 0: it stays in use."""
    hold_max: float = 0.0
    """What `hold` grows to, doubled each time, when the verdict repeats."""
    quarantine: bool = False
    """No handshake at all to this address and port for the residual hold, whatever the name."""
    change_address: bool = False
    """Another address of the mirror may help."""
    change_hostname: bool = False
    """Another hostname of the mirror may help."""
    change_resolver: bool = False
    """Addresses from another resolver may help."""
    alert: bool = False
    """Somebody has to do something."""
    weight: float = 1.0
    """Factor of the mirror's share of traffic while it lasts."""
    streaming: float = 1.0
    """The same for streamed responses only."""
    score: bool = True
    """True if it speaks against the path at all."""


MOST_RETRY_AFTER = 900.0
"""Seconds; a server that asks for longer is asked again then."""


def hold_after(
    reaction: Reaction,
    repeats: int,
    rng: Random,
    pace: DiagnosisTiming,
    retry_after: float | None = None,
) -> float:
    """Seconds to hold for the verdict's `repeats`-th time in a row (from 1).

    Doubled each time up to its maximum, then varied a little to either side, so that what failed
    together is not tried again together. What a server asks for in Retry-After is obeyed instead.
    """
    if retry_after is not None and reaction.hold_max:
        return min(max(retry_after, 0.0), max(reaction.hold_max, MOST_RETRY_AFTER))
    grown = grow(reaction.hold, 2.0, repeats, reaction.hold_max)
    return grown * rng.uniform(1.0 - pace.backoff_jitter, 1.0 + pace.backoff_jitter)


def grow(first: float, growth: float, repeats: int, most: float) -> float:
    """`first` times `growth` for every repetition after the first, at most `most`."""
    doublings = min(max(repeats, 1) - 1, 64)
    return min(first * growth**doublings, most)


def elsewhere(hold: float, hold_max: float) -> Reaction:
    """Reaction to an address that does not work: another one is taken."""
    return Reaction(Scope.path, hold, hold_max, change_address=True)


# Reactions that verdicts share

NAME_BLOCKED = Reaction(
    Scope.hostname,
    NORMAL.residual_hold,
    NORMAL.residual_hold,
    quarantine=True,
    change_address=True,
    change_hostname=True,
)
CUT_OFF = Reaction(
    Scope.endpoint, NORMAL.residual_hold, NORMAL.residual_hold, quarantine=True, change_address=True
)
ADDRESS_BLOCKED = Reaction(Scope.endpoint, 300.0, 3600.0, change_address=True)
BAD_CERTIFICATE = Reaction(Scope.path, 300.0, 3600.0, change_address=True, alert=True)
FORGED = Reaction(Scope.none, 600.0, 600.0, change_resolver=True)
NOT_CONNECTED = elsewhere(30.0, 300.0)
UNANSWERED = elsewhere(30.0, 300.0)
OUR_OWN = Reaction(alert=True, score=False)
KEY_UNUSED = Reaction(Scope.mirror, 900.0, 3600.0, alert=True)
WATCHED = Reaction(score=False)
