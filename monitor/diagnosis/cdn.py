"""Content delivery networks that serve mirrors, and mirrors that share fate.

What is hardest to forge goes first: the range that an address is in, then response headers, then
the aliases of the name, then the issuer of the certificate. A mirror can forge or forward headers:
what they say is what the mirror reports, not a proof. Sources: the vendors' documentation of
their own headers; ranges and aliases in `networks.toml`.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from importlib import resources
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network

from monitor.probes.results import Operation, PathResult

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
_BY_ISSUER = (("cloudflare", "cloudflare"),)
"""Authorities that issue for one network only."""


@dataclass(frozen=True, slots=True)
class Place:
    """End of a path: its address, and the network that serves it ("" if unknown)."""

    address: str
    cdn: str = ""


@dataclass(frozen=True, slots=True)
class Networks:
    """The table of ranges and aliases."""

    ranges: tuple[tuple[IPv4Network | IPv6Network, str], ...] = ()
    aliases: Mapping[str, str] = field(default_factory=dict)

    def by_address(self, address: str) -> str:
        """The network that publishes a range with this address."""
        try:
            parsed = ip_address(address)
        except ValueError:
            return ""
        same = (pair for pair in self.ranges if pair[0].version == parsed.version)
        return next((cdn for network, cdn in same if parsed in network), "")

    def by_chain(self, chain: Sequence[str]) -> str:
        """The network that one of a name's aliases belongs to."""
        for alias in chain:
            labels = alias.lower().rstrip(".").split(".")
            for start in range(len(labels) - 1):
                if cdn := self.aliases.get(".".join(labels[start:])):
                    return cdn
        return ""


@cache
def networks() -> Networks:
    """The table in `networks.toml`, read once."""
    text = resources.files("monitor.diagnosis").joinpath("networks.toml").read_text("utf-8")
    table = tomllib.loads(text)
    return Networks(
        tuple((ip_network(r), cdn) for cdn, of in table.items() for r in of.get("ranges", ())),
        {name: cdn for cdn, of in table.items() for name in of.get("names", ())},
    )


def detect_cdn(headers: Mapping[str, str]) -> str:
    """Detect the CDN from response headers, "" when nothing shows. Header names are in small
    letters."""
    by_name = next((cdn for name, cdn in _BY_NAME if name in headers), "")
    return by_name or next(
        (cdn for name, part, cdn in _BY_VALUE if part in headers.get(name, "").lower()), ""
    )


def cdn_of(
    address: str = "",
    headers: Mapping[str, str] | None = None,
    chain: Sequence[str] = (),
    issuer: str = "",
    table: Networks | None = None,
) -> str:
    """The network that serves a path, from all that is known of it; "" when nothing shows."""
    known = networks() if table is None else table
    return (
        known.by_address(address)
        or detect_cdn(headers or {})
        or known.by_chain(chain)
        or next((cdn for part, cdn in _BY_ISSUER if part in issuer.lower()), "")
    )


def cdn_of_path(path: PathResult, chain: Sequence[str]) -> str:
    """The network that a probe of a path shows; `chain`: the aliases of its name."""
    answer, shaken = path.last.http, path.step(Operation.tls_handshake)
    return cdn_of(
        path.address,
        answer.headers if answer else None,
        chain,
        shaken.tls.issuer if shaken and shaken.tls else "",
    )


def share_fate(a: Place, b: Place) -> bool:
    """True if what happens to one is likely to happen to the other: same network or neighbours."""
    same_network = bool(a.cdn) and a.cdn == b.cdn
    return same_network or neighbourhood(a.address) == neighbourhood(b.address)


def neighbourhood(address: str) -> str:
    """The /24 or, of IPv6, the /48 that an address is in: what blocks one often blocks all."""
    try:
        length = 24 if ip_address(address).version == 4 else 48
    except ValueError:
        return address
    return str(ip_network(f"{address}/{length}", strict=False))
