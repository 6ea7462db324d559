"""Reactions to verdicts: scope, duration, backoff, and neighbours that are avoided too."""

from __future__ import annotations

from collections.abc import Mapping
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


__all__ = ["REACTIONS", "Reaction", "Scope", "hold_after", "reaction_to"]


def _elsewhere(hold: float, hold_max: float, act: str) -> Reaction:
    return Reaction(Scope.path, hold, hold_max, change_address=True, act=act)


_SNI = Reaction(
    Scope.hostname,
    NORMAL.residual_hold,
    NORMAL.residual_max,
    quarantine=True,
    change_address=True,
    change_hostname=True,
    act="Takes another hostname and another address together; the address and port is left "
    "alone until the after-effect is over.",
)
_TLS_ALONE = Reaction(
    Scope.endpoint,
    NORMAL.residual_hold,
    NORMAL.residual_max,
    quarantine=True,
    change_address=True,
    act="Takes another address, leaves this one alone for a while, then compares with a control "
    "name.",
)
_CERTIFICATE = Reaction(
    Scope.path,
    300.0,
    3600.0,
    change_address=True,
    alert=True,
    act="Sends nothing there; takes another address.",
)
_POISONED = Reaction(
    Scope.none,
    600.0,
    600.0,
    change_resolver=True,
    act="Drops these addresses and asks another resolver; the mirror stays in use.",
)
_CONNECT = _elsewhere(30.0, 300.0, "Takes another address and tries this one again later.")
_UNREACHABLE = _elsewhere(
    120.0, 1800.0, "Takes another address, of the other IP version too; tries this one again later."
)
_HTTP = _elsewhere(
    30.0, 300.0, "Sends a request of which nothing was answered to another mirror, once."
)
_SERVER = Reaction(
    Scope.mirror, 5.0, 120.0, act="Prefers other mirrors for a moment; ejects it by its error rate."
)
_WATCH = Reaction(act="Nothing; it is counted and shown.", score=False)

REACTIONS: Mapping[str, Reaction] = {
    "ok": Reaction(act="Nothing to do.", score=False),
    "unknown": Reaction(act="Goes on probing; until then it stays in rotation.", score=False),
    "local_network_down": Reaction(
        act="Freezes all states and leaves every mirror in rotation.", score=False
    ),
    "dns_blocked": Reaction(
        change_resolver=True,
        act="Takes the addresses of a trusted resolver or pinned ones; the mirror stays in use.",
    ),
    "dns_poisoned": _POISONED,
    "dns_injection": _POISONED,
    "dns_down": Reaction(
        Scope.hostname, 60.0, 900.0, change_hostname=True, act="Takes another hostname."
    ),
    "dns_bogon": Reaction(
        Scope.hostname,
        60.0,
        900.0,
        change_hostname=True,
        alert=True,
        act="Does not connect to private addresses unless the mirror has allow_private.",
    ),
    "dns_inconsistent": Reaction(act="Nothing: content networks do that.", score=False),
    "connection_refused": _CONNECT,
    "connection_reset": _CONNECT,
    "connect_failed": _CONNECT,
    "ip_unreachable": _UNREACHABLE,
    "residual_block": Reaction(
        Scope.endpoint,
        NORMAL.residual_hold,
        NORMAL.residual_max,
        quarantine=True,
        change_address=True,
        score=False,
        act="Leaves the address and port alone, for all hostnames, until the after-effect is over.",
    ),
    "sni_block_rst": _SNI,
    "sni_block_fin": _SNI,
    "sni_block_drop": _SNI,
    "ip_port_block": Reaction(
        Scope.endpoint,
        300.0,
        3600.0,
        change_address=True,
        act="Takes another address; another hostname on this one does not help.",
    ),
    "tls_block": Reaction(
        Scope.endpoint,
        300.0,
        3600.0,
        change_address=True,
        act="Takes another address; another hostname on this one does not help.",
    ),
    "tls_timeout": _elsewhere(30.0, 300.0, "Takes another address and tries this one again later."),
    "tls_reset": _TLS_ALONE,
    "tls_eof": _TLS_ALONE,
    "tls_reset_late": _elsewhere(30.0, 300.0, "Takes another address; tries this one again later."),
    "tls_failed": _elsewhere(30.0, 300.0, "Takes another address; tries this one again later."),
    "tls_alert": Reaction(
        Scope.path,
        300.0,
        3600.0,
        change_address=True,
        alert=True,
        act="Does not use this hostname on this address: it is not set up there.",
    ),
    "ssl_invalid_hostname": _CERTIFICATE,
    "ssl_unknown_authority": _CERTIFICATE,
    "ssl_invalid_certificate": _CERTIFICATE,
    "tls_mitm": Reaction(
        Scope.path,
        1800.0,
        3600.0,
        change_address=True,
        change_hostname=True,
        alert=True,
        act="Sends nothing there, above all no key; takes another hostname and address.",
    ),
    "cert_expired": Reaction(
        Scope.hostname,
        300.0,
        3600.0,
        change_hostname=True,
        alert=True,
        act="Sends nothing there until the certificate is renewed.",
    ),
    "block_page": Reaction(
        Scope.path,
        600.0,
        3600.0,
        change_address=True,
        change_hostname=True,
        act="Takes another hostname or address.",
    ),
    "http_reset": _HTTP,
    "http_eof": _HTTP,
    "http_timeout": _HTTP,
    "http_malformed": _HTTP,
    "http_failed": _HTTP,
    "http_diff": Reaction(
        Scope.mirror, 600.0, 3600.0, alert=True, act="Takes another mirror: this is not the API."
    ),
    "byte_cap_freeze": Reaction(
        Scope.cdn,
        1800.0,
        3600.0,
        change_address=True,
        streaming=0.2,
        act="Takes another address or network, and other mirrors first for streamed answers.",
    ),
    "throttled": Reaction(
        Scope.mirror,
        600.0,
        600.0,
        weight=0.2,
        act="Gives it a fifth of its share.",
    ),
    "cdn_challenge": Reaction(
        Scope.mirror,
        300.0,
        1800.0,
        alert=True,
        act="Takes another mirror: no API client can answer a challenge.",
    ),
    "cdn_access_denied": Reaction(
        Scope.mirror, 900.0, 3600.0, alert=True, act="Takes another mirror."
    ),
    "cdn_rate_limited": Reaction(Scope.mirror, 5.0, 60.0, act="Waits as long as it was asked to."),
    "cdn_origin_error": Reaction(
        Scope.cdn,
        30.0,
        300.0,
        act="Takes another mirror: other names and addresses lead to the same origin.",
    ),
    "cdn_origin_timeout": _WATCH,
    "upstream_region_ban": Reaction(
        Scope.mirror,
        1800.0,
        3600.0,
        alert=True,
        weight=0.01,
        act="Takes another mirror, if there is one: the API does not serve the place of this one.",
    ),
    "upstream_key_invalid": Reaction(
        Scope.mirror,
        900.0,
        3600.0,
        alert=True,
        act="Does not use the mirror's own key until it is accepted; callers' keys still go there.",
    ),
    "upstream_ip_not_allowed": Reaction(
        Scope.mirror,
        900.0,
        3600.0,
        alert=True,
        act="Does not use the mirror's own key until our address is on its list; callers' keys "
        "still go there.",
    ),
    "upstream_quota": Reaction(
        Scope.mirror,
        900.0,
        3600.0,
        alert=True,
        act="Does not use the mirror's own key until it has quota; callers' keys still go there.",
    ),
    "upstream_rate_limited": Reaction(
        Scope.mirror, 5.0, 60.0, act="Waits as long as it was asked to, else some seconds."
    ),
    "upstream_forbidden": _WATCH,
    "upstream_unexpected": _WATCH,
    "upstream_overloaded": _SERVER,
}


def reaction_to(verdict: str) -> Reaction:
    """The reaction; a verdict without one leaves everything as it is."""
    return REACTIONS.get(verdict, _WATCH)
