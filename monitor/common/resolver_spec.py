"""A resolver as the operator writes it: "system", "udp://ADDR", "tcp://ADDR", "https://…"."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from urllib.parse import urlsplit

from monitor.common import validators

_EXPECTED = '"system", "udp://ADDR", "tcp://ADDR" or "https://…/dns-query"'
_PORT = 53


@dataclass(frozen=True, slots=True)
class ResolverSpec:
    """A resolver, and the way to ask it."""

    text: str
    kind: str
    """ "system", "udp", "tcp" or "https"."""
    address: str = ""
    """The IP address that udp and tcp go to."""
    port: int = _PORT

    @property
    def trusted(self) -> bool:
        """True if nobody on the way can change its answers."""
        return self.kind == "https"


def parse_resolver(text: str) -> ResolverSpec:
    """Read a setting. Raises ValueError with a sentence that names what was expected."""
    if text == "system":
        return ResolverSpec(text, "system")
    try:
        parts = urlsplit(text)
        port = parts.port
    except ValueError:
        raise ValueError(_wrong(text)) from None
    if parts.scheme == "https" and validators.http_url(text) is None and parts.path:
        return ResolverSpec(text, "https")
    bare = not (parts.path or parts.query or parts.fragment or parts.username is not None)
    if parts.scheme not in ("udp", "tcp") or not bare or port == 0:
        raise ValueError(_wrong(text))
    try:
        address = str(ipaddress.ip_address(parts.hostname or ""))
    except ValueError:
        raise ValueError(_wrong(text)) from None
    return ResolverSpec(text, parts.scheme, address, port or _PORT)


def resolver(text: str) -> str | None:
    """Return the fault of this setting, or None."""
    try:
        parse_resolver(text)
    except ValueError as error:
        return str(error)
    return None


def _wrong(text: str) -> str:
    return f'expected {_EXPECTED}, got "{text}"'
