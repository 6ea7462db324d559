"""All verdicts: their names, and a glossary of observation and meaning."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

VERDICTS: tuple[str, ...] = (
    "ok",
    "unknown",
    "local_network_down",
    "dns_down",
    "dns_bogon",
    "dns_blocked",
    "dns_poisoned",
    "dns_injection",
    "dns_inconsistent",
    "connection_refused",
    "connection_reset",
    "ip_unreachable",
    "connect_failed",
    "residual_block",
    "sni_block_rst",
    "sni_block_fin",
    "sni_block_drop",
    "ip_port_block",
    "tls_block",
    "tls_reset",
    "tls_reset_late",
    "tls_eof",
    "tls_timeout",
    "tls_alert",
    "tls_failed",
    "tls_mitm",
    "ssl_invalid_hostname",
    "ssl_unknown_authority",
    "ssl_invalid_certificate",
    "cert_expired",
    "block_page",
    "http_reset",
    "http_eof",
    "http_timeout",
    "http_malformed",
    "http_failed",
    "http_diff",
    "byte_cap_freeze",
    "throttled",
    "cdn_challenge",
    "cdn_access_denied",
    "cdn_rate_limited",
    "cdn_origin_error",
    "cdn_origin_timeout",
    "upstream_overloaded",
    "upstream_region_ban",
    "upstream_key_invalid",
    "upstream_ip_not_allowed",
    "upstream_quota",
    "upstream_rate_limited",
    "upstream_forbidden",
    "upstream_unexpected",
)
SNI_BLOCKS: frozenset[str] = frozenset({"sni_block_rst", "sni_block_fin", "sni_block_drop"})
"""Those that say that a hostname is blocked."""
NAME_CUT: frozenset[str] = frozenset({"tls_reset", "tls_eof", "tls_timeout"}) | SNI_BLOCKS
"""Those on a name that was cut off: to show it may set off a blockade."""
BLOCKS: frozenset[str] = frozenset(
    {
        *SNI_BLOCKS,
        "dns_blocked",
        "dns_poisoned",
        "dns_injection",
        "residual_block",
        "ip_port_block",
        "tls_block",
        "byte_cap_freeze",
        "throttled",
    }
)
"""Those that say: something on the way interferes (likely)."""


class Entry(NamedTuple):
    """One verdict explained."""

    seen: str
    may_mean: str
    alive: bool = False
    """The mirror is alive all the same: it becomes degraded, not down."""


GLOSSARY: Mapping[str, Entry] = {
    "ok": Entry("401, 404 or 405, or 200 with a list of models", "it works"),
    "unknown": Entry("nothing yet", "wait for the first probe"),
    "local_network_down": Entry("no mirror can be reached or resolved", "our network or resolver"),
    "dns_down": Entry(
        "no resolver knows an address",
        "the name is gone, or the resolvers fail; one resolver alone may also lie",
    ),
    "dns_bogon": Entry(
        "private addresses only",
        "a mirror in your own network (set `allow_private`), or a forged answer",
    ),
    "dns_blocked": Entry(
        "our resolver fails, a trusted one answers", "resolution is blocked on the path (likely)"
    ),
    "dns_poisoned": Entry(
        "our resolver gives an address that cannot be true",
        "answers are forged on the path (likely)",
    ),
    "dns_injection": Entry(
        "two different answers to one question", "answers are injected on the path (almost certain)"
    ),
    "dns_inconsistent": Entry("resolvers disagree", "usually a CDN; nothing is done"),
    "connection_refused": Entry("the port is closed", "the server is down, or a firewall refuses"),
    "connection_reset": Entry(
        "a reset while connecting", "a firewall, often for some minutes after a blocked handshake"
    ),
    "ip_unreachable": Entry(
        "no answer to SYN, or no route",
        "the server is down or its address is blocked; from one place these look alike",
    ),
    "connect_failed": Entry(
        "another fault while connecting", "a firewall on this machine, or no free port"
    ),
    "residual_block": Entry(
        "a failure on an address and port on which a name was cut off shortly before",
        "the after-effect of a block; not counted against the path",
    ),
    "sni_block_rst": Entry(
        "the control is answered, the real name is reset",
        "the hostname is blocked on the path (likely)",
    ),
    "sni_block_fin": Entry(
        "the control is answered, for the real name the connection is closed",
        "the hostname is blocked on the path (likely)",
    ),
    "sni_block_drop": Entry(
        "the control is answered, the real name is met with silence",
        "the hostname is blocked on the path (likely)",
    ),
    "ip_port_block": Entry(
        "rule D: everything on this port is reset",
        "the address and port are blocked on the path (likely)",
    ),
    "tls_block": Entry(
        "rule D: only TLS is reset, whatever the name", "TLS is blocked on the path (likely)"
    ),
    "tls_reset": Entry(
        "a reset after our hello, and no comparison with a control yet",
        "a blocked name, a blocked address or a broken server",
    ),
    "tls_reset_late": Entry(
        "a reset after part of the handshake", "the server, or a firewall that reads certificates"
    ),
    "tls_eof": Entry(
        "a close after our hello, and no comparison with a control yet",
        "a blocked name, a blocked address or a broken server",
    ),
    "tls_timeout": Entry(
        "silence after our hello, and no comparison with a control yet, or for the control too",
        "an overloaded server, a blocked name or a blocked address",
    ),
    "tls_alert": Entry(
        "a TLS alert instead of a certificate", "the name is not set up on that server or CDN"
    ),
    "tls_failed": Entry(
        "another fault in the handshake",
        "a server that speaks another TLS, or something in between",
    ),
    "tls_mitm": Entry(
        "the issuer is not trusted, and a certificate verified here before",
        "the certificate was replaced on the path (likely)",
    ),
    "ssl_invalid_hostname": Entry(
        "the certificate is for another name",
        "wrong address, or a server that does not have the name",
    ),
    "ssl_unknown_authority": Entry(
        "the certificate's issuer is not trusted",
        "a private authority (set `ca_file`), or somebody in between",
    ),
    "ssl_invalid_certificate": Entry(
        "the certificate is not valid for another reason",
        "a certificate that is not valid yet, revoked or malformed: look at it with openssl",
    ),
    "cert_expired": Entry("a trusted certificate whose time is over", "renew it"),
    "block_page": Entry("plain HTTP in answer to TLS", "a wrong port in `url`, or a block page"),
    "http_reset": Entry("a reset after our request", "the server, or what lies between"),
    "http_eof": Entry("a close after our request", "the server, or what lies between"),
    "http_timeout": Entry("silence after our request", "the server, or what lies between"),
    "http_malformed": Entry("an answer that is not HTTP/1", "a wrong port"),
    "http_failed": Entry("another fault in the request", "the server, or what lies between"),
    "http_diff": Entry(
        "a redirect, or a page instead of the API",
        "parked domain, sign-in page, wrong path in `url`",
    ),
    "byte_cap_freeze": Entry(
        "three of four long transfers stop dead after 10 to 30 KB",
        "long answers are frozen on the path (likely)",
    ),
    "throttled": Entry(
        "five transfers at a tenth of the usual speed or less, others as quick as ever",
        "the mirror is slowed down on the path (likely)",
    ),
    "cdn_challenge": Entry(
        "the CDN wants a browser's proof", "no API client can pass: relax it on the CDN"
    ),
    "cdn_access_denied": Entry(
        "the CDN refuses us (Cloudflare 10xx)", "a firewall rule on the CDN"
    ),
    "cdn_rate_limited": Entry(
        "the CDN limits us (Cloudflare 1015)",
        "probe less often, or allow our address on the CDN",
        alive=True,
    ),
    "cdn_origin_error": Entry(
        "the CDN cannot reach its origin (520–526, 530)", "the mirror behind the CDN is down"
    ),
    "cdn_origin_timeout": Entry(
        "the origin is too slow for the CDN (524)", "an overloaded origin, or a very slow request"
    ),
    "upstream_overloaded": Entry(
        "any other 5xx", "the mirror or the API behind it has a fault or too much to do"
    ),
    "upstream_region_ban": Entry(
        "`unsupported_country_region_territory`",
        "the API refuses the mirror's own place",
        alive=True,
    ),
    "upstream_key_invalid": Entry(
        "401 with the mirror's own key", "the key was revoked or mistyped", alive=True
    ),
    "upstream_ip_not_allowed": Entry(
        '"IP not authorized"', "our address is not on the account's list", alive=True
    ),
    "upstream_quota": Entry(
        "`insufficient_quota` and the like", "pay, or wait for the next period", alive=True
    ),
    "upstream_rate_limited": Entry("429", "the key or our address is used too often", alive=True),
    "upstream_forbidden": Entry(
        "403 in JSON",
        "a rule of the mirror against our address or against requests without key",
        alive=True,
    ),
    "upstream_unexpected": Entry(
        "JSON that is neither a list nor an error we know",
        "another API, or a relay with words of its own",
        alive=True,
    ),
}


def told(verdict: str) -> str:
    """A verdict in one sentence: what was seen, and what it may mean."""
    entry = GLOSSARY[verdict]
    return f"{entry.seen}: {entry.may_mean}"
