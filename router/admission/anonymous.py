"""Anonymous callers: requests without a key, but none that a web page sends.

A mirror's key is lent to whoever can reach the listener, and a browser reaches it for every page
that is open in it. A page of another origin gives itself away by `Origin`, which scripts cannot
change (Fetch standard, section 3.2); WebSockets carry it too. A page whose own name was pointed at
127.0.0.1 (DNS rebinding) is of the same origin as the listener, so its GET has no `Origin`: but
`Host` still has that name, which is none of this machine's.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from urllib.parse import urlsplit

from monitor.common.hosts import host_of, is_loopback
from router.wire.cors import allowed_origin
from router.wire.error_response import Problem

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
    """Conditions for a request without a key, by the settings of one configuration."""

    def __init__(
        self, listen: str, origins: tuple[str, ...], urls: Iterable[str], *, any_host: bool
    ) -> None:
        """`listen`: address of the API listener; `origins`: of web pages that may call; `urls`: by
        which it is called. `any_host`: it is not called by browsers, so any name will do."""
        self._origins = origins
        self._any_host = any_host or not is_loopback(host_of(listen) or "")
        self._hosts = frozenset(_named_in(url) for url in urls if url)

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
        host = host_of(look.get(b"host", b"").decode("latin-1")) or ""
        return None if host and (is_loopback(host) or host in self._hosts) else _HOST


def _named_in(url: str) -> str:
    """The host of a checked URL."""
    return host_of(urlsplit(url).netloc.rpartition("@")[2]) or ""
