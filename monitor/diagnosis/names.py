"""The names of all verdicts, for translations, labels and the documentation.

They are promised to stay; later versions add to them.
"""

from __future__ import annotations

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
