"""Privacy of banned clients: the public part of an address, and the user agent without secrets."""

from __future__ import annotations

import ipaddress
import re

from dashboard.common.printable import printable

USER_AGENT_LENGTH = 80

_ADDRESS = re.compile(r"(?<![\d.])(\d{1,3}\.\d{1,3}\.\d{1,3})\.\d{1,3}(?![\d.])")
_LONG_WORD = re.compile(r"[A-Za-z0-9_+=-]{24,}")


def masked_network(network: str) -> str:
    """A network with the part that tells one client from another hidden.

    IPv4 keeps 24 bits, IPv6 keeps 48; what is as wide as that already is shown as it is.
    """
    parsed = ipaddress.ip_network(network, strict=False)
    if isinstance(parsed, ipaddress.IPv4Network):
        if parsed.prefixlen <= 24:
            return str(parsed)
        return f"{str(parsed.network_address).rpartition('.')[0]}.x"
    if parsed.prefixlen <= 48:
        return str(parsed)
    return f"{parsed.supernet(new_prefix=48).network_address}x"


def full_network(network: str) -> str:
    """A network as people write it: one address without its /32."""
    parsed = ipaddress.ip_network(network, strict=False)
    return str(parsed.network_address) if parsed.num_addresses == 1 else str(parsed)


def shown_user_agent(text: str) -> str:
    """A user agent that can be shown: addresses masked, what may be a key cut out, not too long."""
    clean = _LONG_WORD.sub("…", _ADDRESS.sub(r"\1.x", printable(text)))
    return clean if len(clean) <= USER_AGENT_LENGTH else f"{clean[: USER_AGENT_LENGTH - 1]}…"
