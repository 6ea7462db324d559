"""Who may call without a key: nobody whom a web page sends.

A mirror's key is lent to whoever can reach the listener, and a browser reaches it for every page
that is open in it. A page of another origin gives itself away by `Origin`, which scripts cannot
change (Fetch standard, section 3.2); WebSockets carry it too. A page whose own name was pointed at
127.0.0.1 (DNS rebinding) is of the same origin as the listener, so its GET has no `Origin`: but
`Host` still has that name, which is none of this machine's.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from urllib.parse import urlsplit

from router.config import WorkerConfig
from router.wire.answer import Problem
from router.wire.cors import allowed_origin

_ORIGIN = Problem(
    403,
    "origin_not_allowed",
    "Web pages of this origin may not call without a key: whoever runs this router can add the "
    "origin to router.cors_origins.",
)
_HOST = Problem(
    403,
    "host_not_allowed",
    "This router listens on its own machine only, so without a key it is called as localhost or "
    "127.0.0.1; whoever runs it can name other hosts in dashboard.public_url or "
    "dashboard.entrances, or a proxy in front of it in router.trusted_proxies.",
)


class AnonymousCallers:
    """What a request without a key must be like, by the settings of one configuration."""

    def __init__(self, config: WorkerConfig) -> None:
        router = config.router
        self._origins = router.cors_origins
        local = names_loopback(router.listen.encode())
        self._any_host = not local or router.proxy_protocol  # which no browser speaks
        urls = (config.public_url, *config.entrances)
        self._hosts = frozenset(_bare(urlsplit(url).hostname or "") for url in urls if url)

    def __repr__(self) -> str:
        return f"<AnonymousCallers of {', '.join(self._origins) or 'no origin'}>"

    def refusal(self, look: Mapping[bytes, bytes], proxied: bool) -> Problem | None:
        """Why a request with these looked-at fields may not come in without a key, if so.

        `proxied`: it came from a trusted proxy, so its `Host` is that one's own matter.
        """
        origin = look.get(b"origin")
        if origin is not None and allowed_origin(origin, self._origins) is None:
            return _ORIGIN
        if proxied or self._any_host:
            return None
        host = look.get(b"host", b"")
        return None if names_loopback(host) or _host_of(host) in self._hosts else _HOST


def names_loopback(authority: bytes) -> bool:
    """Whether a host, with or without a port, is this machine's alone.

    `localhost` and what is below it never leave a machine (RFC 6761 section 6.3).
    """
    host = _host_of(authority)
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return False
    mapped = getattr(address, "ipv4_mapped", None)
    return bool((mapped or address).is_loopback)


def _host_of(authority: bytes) -> str:
    text = authority.decode("latin-1").strip(" \t")
    if text.startswith("["):
        return text[1:].partition("]")[0].lower()
    return _bare(text.partition(":")[0])


def _bare(host: str) -> str:
    return host.lower().removesuffix(".")
