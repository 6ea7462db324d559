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
    act: str = ""
    """What mirrorgate does, in a sentence for people."""


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


def elsewhere(hold: float, hold_max: float, act: str) -> Reaction:
    """Reaction to an address that does not work: another one is taken."""
    return Reaction(Scope.path, hold, hold_max, change_address=True, act=act)


def key_unused(until: str) -> Reaction:
    """Reaction to a mirror on which our own key is of no use."""
    return Reaction(
        Scope.mirror,
        900.0,
        3600.0,
        alert=True,
        act=f"Does not use the mirror's own key until {until}; callers' keys still go there.",
    )


# Reactions that verdicts share

NAME_BLOCKED = Reaction(
    Scope.hostname,
    NORMAL.residual_hold,
    NORMAL.residual_hold,
    quarantine=True,
    change_address=True,
    change_hostname=True,
    act="Takes another hostname and another address together; the address and port is left "
    "alone until the after-effect is over, if there is one.",
)
CUT_OFF = Reaction(
    Scope.endpoint,
    NORMAL.residual_hold,
    NORMAL.residual_hold,
    quarantine=True,
    change_address=True,
    act="Takes another address, leaves this one alone for a while, then compares with a control "
    "name.",
)
ADDRESS_BLOCKED = Reaction(
    Scope.endpoint,
    300.0,
    3600.0,
    change_address=True,
    act="Takes another address; another hostname on this one does not help.",
)
BAD_CERTIFICATE = Reaction(
    Scope.path,
    300.0,
    3600.0,
    change_address=True,
    alert=True,
    act="Sends nothing there; takes another address.",
)
FORGED = Reaction(
    Scope.none,
    600.0,
    600.0,
    change_resolver=True,
    act="Drops these addresses and asks another resolver; the mirror stays in use.",
)
NOT_CONNECTED = elsewhere(30.0, 300.0, "Takes another address and tries this one again later.")
UNANSWERED = elsewhere(
    30.0, 300.0, "Sends a request of which nothing was answered to another mirror, once."
)
OUR_OWN = Reaction(
    alert=True,
    act="Freezes all states and leaves every mirror in rotation, though no connection verifies "
    "until the fault is mended here.",
    score=False,
)
WATCHED = Reaction(act="Nothing; it is counted and shown.", score=False)
