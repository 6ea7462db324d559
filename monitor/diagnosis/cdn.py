"""Which content delivery network answered, as its response headers say.

A mirror can forge or forward such headers: this is what the mirror reports, not a proof.
Sources: the vendors' documentation of their own headers.
"""

from __future__ import annotations

from collections.abc import Mapping

_BY_NAME = (
    ("cf-ray", "cloudflare"),
    ("x-amz-cf-id", "cloudfront"),
    ("x-amz-cf-pop", "cloudfront"),
    ("x-fastly-request-id", "fastly"),
    ("fastly-debug-digest", "fastly"),
    ("x-akamai-request-id", "akamai"),
    ("x-akamai-transformed", "akamai"),
    ("akamai-grn", "akamai"),
    ("eagleid", "alibaba"),
    ("x-nws-log-uuid", "tencent"),
    ("x-iinfo", "imperva"),
    ("x-sucuri-id", "sucuri"),
    ("x-vercel-id", "vercel"),
    ("cdn-pullzone", "bunny"),
    ("x-azure-ref", "azure"),
)
_BY_VALUE = (
    ("server", "cloudflare", "cloudflare"),
    ("server", "akamaighost", "akamai"),
    ("server", "bunnycdn", "bunny"),
    ("via", "cloudfront", "cloudfront"),
    ("via", "varnish", "fastly"),
    ("via", "google", "google"),
    ("x-cdn", "incapsula", "imperva"),
    ("x-served-by", "cache-", "fastly"),
)


def detect_cdn(headers: Mapping[str, str]) -> str:
    """The network's name, "" when none shows. Header names are in small letters."""
    by_name = next((cdn for name, cdn in _BY_NAME if name in headers), "")
    return by_name or next(
        (cdn for name, part, cdn in _BY_VALUE if part in headers.get(name, "").lower()), ""
    )
