"""What can follow from a verdict: which part of a mirror is avoided, and how."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Scope(StrEnum):
    """What a reaction concerns."""

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
    """Somebody has to do something."""
    weight: float = 1.0
    """Factor of the mirror's share of traffic while it lasts."""
    streaming: float = 1.0
    """The same for streamed responses only."""
    score: bool = True
    """Whether it speaks against the path at all."""
    act: str = ""
    """What mirrorgate does, in a sentence for people."""
