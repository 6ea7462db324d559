"""What mirrorgate does about a verdict: at which level, for how long, and what else is avoided.

The table follows from what a verdict is about. A blocked name is left together with its address,
because firewalls cut off every name on an address and port for minutes after a trigger. A blocked
address leaves the name alone, a broken mirror both. Durations are seconds; they are choices of
this project, except the residual hold (`pace.py`).
"""

from __future__ import annotations

from collections.abc import Mapping

from monitor.diagnosis.backoff import hold_after
from monitor.diagnosis.measures import Reaction, Scope
from monitor.diagnosis.pace import NORMAL

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
