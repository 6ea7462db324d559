"""Host fields of HTTP, parsed as a whole (RFC 9110 section 7.2, RFC 3986 section 3.2).

A name that merely begins like one of this machine's may be anybody's, so nothing is compared
before the whole field has been read as a host and an optional port.
"""

from __future__ import annotations

import ipaddress
import re

_AUTHORITY = re.compile(
    r"(?:\[(?P<v6>[0-9A-Fa-f:.]{2,45})\]|(?P<name>[A-Za-z0-9_.-]{1,254}))(?::(?P<port>[0-9]{1,5}))?"
)
_LABEL = re.compile(r"[a-z0-9_-]{1,63}")


def host_of(authority: str) -> str | None:
    """The host of `HOST[:PORT]` in small letters, without brackets and without a last dot.

    None if the text is anything else: with user information, a bad port, or something behind the
    bracket of an IPv6 address.
    """
    found = _AUTHORITY.fullmatch(authority.strip(" \t"))
    if found is None or int(found["port"] or 0) > 65535:
        return None
    if found["v6"] is not None:
        try:
            return str(ipaddress.IPv6Address(found["v6"]))
        except ValueError:
            return None
    name = found["name"].lower().removesuffix(".")
    return name if all(map(_LABEL.fullmatch, name.split("."))) and len(name) <= 253 else None


def is_loopback(host: str) -> bool:
    """True if a host, as `host_of` or a socket tells it, is this machine's alone.

    `localhost` and what is below it never leave a machine (RFC 6761 section 6.3). Browsers write
    an IPv4 address with four decimal numbers before they send it, so no other form is taken.
    """
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return False
    mapped = getattr(address, "ipv4_mapped", None)
    return bool((mapped or address).is_loopback)
