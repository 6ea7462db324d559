"""The registry of verdicts: the observations that lead to each, and the reaction to it.

Its texts are one entry of `words_en.py` and one of `words_zh.py`, which `telling.py` puts together.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from monitor.diagnosis.reactions import (
    ADDRESS_BLOCKED,
    BAD_CERTIFICATE,
    CUT_OFF,
    FORGED,
    KEY_UNUSED,
    NAME_BLOCKED,
    NOT_CONNECTED,
    OUR_OWN,
    UNANSWERED,
    WATCHED,
    Reaction,
    Scope,
    elsewhere,
)
from monitor.diagnosis.timing import NORMAL


@dataclass(frozen=True, slots=True)
class Verdict:
    """One verdict; what people are told of it is in `words_en.py` and `words_zh.py`."""

    seen: str
    """Observations that lead to it, for the documentation."""
    reaction: Reaction
    alive: bool = False
    """The mirror is alive all the same: it becomes degraded, not down."""
    interferes: bool = False
    """Something on the path interferes (likely)."""


VERDICTS: Mapping[str, Verdict] = {
    "ok": Verdict("401, 404 or 405, or 200 with a list of models", Reaction(score=False)),
    "unknown": Verdict("nothing yet", Reaction(score=False)),
    "local_network_down": Verdict("no mirror can be reached or resolved", Reaction(score=False)),
    "local_clock_wrong": Verdict(
        "certificates have expired or are not valid yet, and by the clocks of others, which agree, "
        "they are good",
        OUR_OWN,
    ),
    "captive_portal": Verdict(
        "every server that is asked, mirrors and others, shows one and the same wrong certificate "
        "or page",
        OUR_OWN,
    ),
    "dns_down": Verdict(
        "no resolver knows an address", Reaction(Scope.hostname, 60.0, 900.0, change_hostname=True)
    ),
    "dns_bogon": Verdict(
        "private addresses only",
        Reaction(Scope.hostname, 60.0, 900.0, change_hostname=True, alert=True),
    ),
    "dns_blocked": Verdict(
        "our resolver fails, a trusted one answers", Reaction(change_resolver=True), interferes=True
    ),
    "dns_poisoned": Verdict(
        "our resolver gives an address that cannot be true", FORGED, interferes=True
    ),
    "dns_injection": Verdict(
        "two different answers to one question, whatever they say", FORGED, interferes=True
    ),
    "dns_inconsistent": Verdict("resolvers disagree", Reaction(score=False)),
    "connection_refused": Verdict("the port is closed", NOT_CONNECTED),
    "connection_reset": Verdict("a reset while connecting", NOT_CONNECTED),
    "ip_unreachable": Verdict("no answer to SYN, or no route", elsewhere(120.0, 1800.0)),
    "connect_failed": Verdict("another fault while connecting", NOT_CONNECTED),
    "residual_block": Verdict(
        "a failure on an address and port on which a name was cut off shortly before",
        Reaction(
            Scope.endpoint,
            NORMAL.residual_hold,
            NORMAL.residual_max,
            quarantine=True,
            change_address=True,
            score=False,
        ),
        interferes=True,
    ),
    "sni_block_rst": Verdict(
        "the control is answered, the mirror's name is reset", NAME_BLOCKED, interferes=True
    ),
    "sni_block_fin": Verdict(
        "the control is answered, for the mirror's name the connection is closed",
        NAME_BLOCKED,
        interferes=True,
    ),
    "sni_block_drop": Verdict(
        "the control is answered, the mirror's name is met with silence",
        NAME_BLOCKED,
        interferes=True,
    ),
    "ip_port_block": Verdict(
        "rule D: everything on this port is reset, sooner than the server can",
        ADDRESS_BLOCKED,
        interferes=True,
    ),
    "tls_block": Verdict(
        "rule D: only TLS is reset, whatever the name, sooner than the server can",
        ADDRESS_BLOCKED,
        interferes=True,
    ),
    "tls_reset": Verdict(
        "a reset after our hello, and no comparison with a control yet, or of every name alike",
        CUT_OFF,
    ),
    "tls_reset_late": Verdict("a reset after part of the handshake", elsewhere(30.0, 300.0)),
    "tls_eof": Verdict("a close after our hello, and no comparison with a control yet", CUT_OFF),
    "tls_timeout": Verdict(
        "silence after our hello, and no comparison with a control yet, or for the control too",
        elsewhere(30.0, 300.0),
    ),
    "tls_alert": Verdict(
        "a TLS alert instead of a certificate",
        Reaction(Scope.path, 300.0, 3600.0, change_address=True, alert=True),
    ),
    "tls_failed": Verdict("another fault in the handshake", elsewhere(30.0, 300.0)),
    "tls_mitm": Verdict(
        "the issuer is not trusted, and a certificate verified here before",
        Reaction(Scope.path, 1800.0, 3600.0, change_address=True, change_hostname=True, alert=True),
    ),
    "ssl_invalid_hostname": Verdict("the certificate is for another name", BAD_CERTIFICATE),
    "ssl_unknown_authority": Verdict("the certificate's issuer is not trusted", BAD_CERTIFICATE),
    "ssl_invalid_certificate": Verdict(
        "the certificate is not valid for another reason", BAD_CERTIFICATE
    ),
    "cert_expired": Verdict(
        "a trusted certificate whose time is over",
        Reaction(Scope.hostname, 300.0, 3600.0, change_hostname=True, alert=True),
    ),
    "block_page": Verdict(
        "plain HTTP in answer to TLS",
        Reaction(Scope.path, 600.0, 3600.0, change_address=True, change_hostname=True),
    ),
    "content_block": Verdict(
        "the handshake passes, our request is never acknowledged, and data after a handshake with "
        "the control name are",
        NAME_BLOCKED,
        interferes=True,
    ),
    "http_reset": Verdict("a reset after our request", UNANSWERED),
    "http_eof": Verdict("a close after our request", UNANSWERED),
    "http_timeout": Verdict("silence after our request", UNANSWERED),
    "http_malformed": Verdict("an answer that is not HTTP/1", UNANSWERED),
    "http_failed": Verdict("another fault in the request", UNANSWERED),
    "http_diff": Verdict(
        "a redirect, or a page instead of the API; with 404 or 405, for completions too",
        Reaction(Scope.mirror, 600.0, 3600.0, alert=True),
    ),
    "not_openai_api": Verdict(
        "404 or 405 for the list of models and for completions too, in JSON that is not OpenAI's",
        Reaction(Scope.mirror, 600.0, 3600.0, alert=True),
    ),
    "byte_cap_freeze": Verdict(
        "three of four long transfers stop dead after 10 to 30 KB",
        Reaction(Scope.cdn, 1800.0, 3600.0, change_address=True, streaming=0.2),
        interferes=True,
    ),
    "throttled": Verdict(
        "five transfers at a tenth of the usual speed or less, others as quick as ever",
        Reaction(Scope.mirror, 600.0, 600.0, weight=0.2),
        interferes=True,
    ),
    "cdn_challenge": Verdict(
        "the CDN wants a browser's proof", Reaction(Scope.mirror, 300.0, 1800.0, alert=True)
    ),
    "cdn_access_denied": Verdict(
        "the CDN refuses us (Cloudflare 10xx)", Reaction(Scope.mirror, 900.0, 3600.0, alert=True)
    ),
    "cdn_rate_limited": Verdict(
        "the CDN limits us (Cloudflare 1015)", Reaction(Scope.mirror, 5.0, 60.0), alive=True
    ),
    "cdn_origin_error": Verdict(
        "the CDN cannot reach its origin (520–526, 530)", Reaction(Scope.cdn, 30.0, 300.0)
    ),
    "cdn_origin_timeout": Verdict("the origin is too slow for the CDN (524)", WATCHED),
    "upstream_overloaded": Verdict("any other 5xx", Reaction(Scope.mirror, 5.0, 120.0)),
    "requests_fail": Verdict(
        "probes are answered as they should be, but requests of clients fail between them again "
        "and again, three or more over three seconds, and none is served",
        Reaction(),
        alive=True,
    ),
    "upstream_region_ban": Verdict(
        "`unsupported_country_region_territory`",
        Reaction(Scope.mirror, 1800.0, 3600.0, alert=True, weight=0.01),
        alive=True,
    ),
    "upstream_key_invalid": Verdict("401 with the mirror's own key", KEY_UNUSED, alive=True),
    "upstream_ip_not_allowed": Verdict('"IP not authorized"', KEY_UNUSED, alive=True),
    "upstream_quota": Verdict("`insufficient_quota` and the like", KEY_UNUSED, alive=True),
    "upstream_rate_limited": Verdict("429", Reaction(Scope.mirror, 5.0, 60.0), alive=True),
    "upstream_forbidden": Verdict("403 in JSON", WATCHED, alive=True),
    "upstream_unexpected": Verdict(
        "JSON that is neither a list nor an error we know", WATCHED, alive=True
    ),
}
AFTER_EFFECT = "residual_block"
"""The one on what is shut because a name was cut off there."""
SNI_BLOCKS: frozenset[str] = frozenset({"sni_block_rst", "sni_block_fin", "sni_block_drop"})
"""Those that say that a hostname is blocked."""
NAME_CUT: frozenset[str] = frozenset({"tls_reset", "tls_eof", "tls_timeout"}) | SNI_BLOCKS
"""Those on a name that was cut off: to show it may set off a blockade."""
BLOCKS: frozenset[str] = frozenset(name for name, each in VERDICTS.items() if each.interferes)
"""Those that say: something on the way interferes (likely)."""
ANSWERED: frozenset[str] = frozenset(
    {
        "http_diff",
        "not_openai_api",
        "cdn_challenge",
        "cdn_access_denied",
        "cdn_origin_error",
        "upstream_overloaded",
    }
)
"""Those on a mirror that answers HTTP, under a certificate that verifies, though not as it should:
the one request that probes make may fail where others do not."""
REACHED: frozenset[str] = ANSWERED | {
    "http_reset",
    "http_eof",
    "http_timeout",
    "http_malformed",
    "http_failed",
}
"""Those, and the ones on a mirror that takes a request but does not answer it."""
AFTER_HANDSHAKE: frozenset[str] = REACHED | {"content_block"}
"""What a handshake that passes says nothing about."""
POISONED: frozenset[str] = frozenset({"dns_poisoned", "dns_injection"})
"""Those on answers of a resolver that are forged."""
CERTIFICATE_REFUSED: frozenset[str] = frozenset(
    {"ssl_invalid_hostname", "ssl_unknown_authority", "tls_mitm", "dns_poisoned"}
)
"""Those on an address that showed a certificate which does not verify for the name."""
CDN_REFUSES: frozenset[str] = frozenset({"cdn_challenge", "cdn_access_denied"})
"""Those that keep a mirror down until somebody does something about it."""
KEY_REFUSED: frozenset[str] = frozenset(
    {"upstream_key_invalid", "upstream_ip_not_allowed", "upstream_quota", "upstream_region_ban"}
)
"""Those on an answer after which the mirror's own key is of no use there."""
OURS: frozenset[str] = frozenset({"local_network_down", "local_clock_wrong", "captive_portal"})
"""Those on our own surroundings: no mirror is blamed."""
NO_FAULT: frozenset[str] = frozenset({"ok", "unknown"}) | OURS
"""Those that say nothing against a path."""


def reaction_to(verdict: str) -> Reaction:
    """The reaction; a verdict without one leaves everything as it is."""
    entry = VERDICTS.get(verdict)
    return WATCHED if entry is None else entry.reaction
