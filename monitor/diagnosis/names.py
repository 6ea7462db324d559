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
    "connection_refused",
    "connection_reset",
    "ip_unreachable",
    "connect_failed",
    "tls_reset",
    "tls_reset_late",
    "tls_eof",
    "tls_timeout",
    "tls_alert",
    "tls_failed",
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
    "cdn_challenge",
    "cdn_access_denied",
    "cdn_rate_limited",
    "cdn_origin_error",
    "cdn_origin_timeout",
    "upstream_overloaded",
    "upstream_region_ban",
    "upstream_quota",
    "upstream_rate_limited",
    "upstream_forbidden",
    "upstream_unexpected",
)
