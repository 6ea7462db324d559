"""What mirrorgate does about a verdict: at which level, for how long, and what else is avoided."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from random import Random

from monitor.diagnosis.pace import Pace


class Scope(StrEnum):
    """What a reaction concerns."""

    none = "none"
    path = "path"
    endpoint = "endpoint"
    hostname = "hostname"
    mirror = "mirror"
    cdn = "cdn"


@dataclass(frozen=True, slots=True)
class Reaction:
    """What follows from a verdict."""

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
    """Its operator has to do something."""
    weight: float = 1.0
    """Factor of the mirror's share of traffic while it lasts."""
    streaming: float = 1.0
    """The same for streamed responses only."""


REACTIONS: Mapping[str, Reaction] = {}


def reaction_to(verdict: str) -> Reaction:
    """The reaction; a verdict without one leaves everything as it is."""
    return REACTIONS.get(verdict, Reaction())


def hold_after(
    reaction: Reaction, repeats: int, rng: Random, pace: Pace, retry_after: float | None = None
) -> float:
    """Seconds to hold for the verdict's `repeats`-th time in a row (from 1)."""
    raise NotImplementedError
