"""Client addresses: the peer, or the client that a trusted proxy names.

A proxy appends the address that it saw to what it was sent, so only the right-most entries of its
field are its own word; everything to the left of the first address that is not a trusted proxy's
may be anybody's invention (RFC 7239 section 8.1). Whatever cannot be read ends the walk at the last
proxy that could. A client is one IPv4 address or one IPv6 /64, the least that a subscriber gets.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from hashlib import blake2b
from typing import Final, NamedTuple

from monitor.diagnosis.cdn import networks as content_networks
from router.admission.network_map import NetworkMap, in_cidr_form

PRIVATE = (
    "127.0.0.0/8",
    "10.0.0.0/8",
    "172.16.0.0/12",
    "192.168.0.0/16",
    "::1/128",
    "fc00::/7",
)
"""What "private" stands for: loopback, RFC 1918 and RFC 4193."""
LOOPBACK = ("127.0.0.0/8", "::1/128")
KEY_SIZE = 16
MAX_HOPS = 16
"""Entries of a field that are looked at: longer chains of proxies are forged."""
_LONGEST = 64
"""Characters of an entry; an IPv6 address with brackets and port has at most 47."""
_REMEMBERED = 4096
FORWARDED = b"forwarded"
SAID_BY_PROXIES: Final = (b"x-forwarded-for", b"x-real-ip", FORWARDED)
"""Fields that show that a proxy is in front, whether it is believed or not."""


@dataclass(frozen=True, slots=True)
class Client:
    """The client of a request; no named tuple, whose fields take long to look at."""

    address: str
    """As it is logged; "local" for what has no IP address."""
    version: int
    """4 or 6; 0 for what has no IP address."""
    number: int
    """The whole address as a number, for looking up networks that it is in."""
    key: bytes
    """What it is counted by: the address, or the /64 of an IPv6 one."""

    @property
    def network(self) -> str:
        """The network that a ban on this client covers; empty for a client without an IP
        address."""
        if self.version == 4:
            return f"{self.address}/32"
        return str(ipaddress.ip_network((self.number >> 64 << 64, 64))) if self.version else ""


LOCAL = Client("local", 0, 0, b"\0local".ljust(KEY_SIZE, b"\0"))


class Peer(NamedTuple):
    """The other end of a connection."""

    client: Client
    trusted: bool
    """True if its word on who is asking is believed."""
    suspect: str
    """What it looks like, if it is not trusted: "private", or the name of a content network."""


class Clients:
    """Tells who is asking, by the settings of one configuration."""

    def __init__(self, trusted: Iterable[str] = (), field: str = "x-forwarded-for") -> None:
        """`trusted`: networks, "private", or the name of a content network as "cloudflare"."""
        self.field = field.lower().encode()
        self._trusted = network_map(cidr for name in trusted for cidr in named_networks(name))
        self._suspects: NetworkMap[str] = NetworkMap()
        for network, name in content_networks().ranges:
            self._suspects[str(network)] = name
        for private in PRIVATE:
            self._suspects[private] = "private"
        self._known: dict[str, Client | None] = {}
        self._peers: dict[str, Peer] = {}

    def __repr__(self) -> str:
        return f"<Clients {len(self._trusted)} networks trusted in {self.field.decode()}>"

    def peer(self, address: str) -> Peer:
        """The other end of a connection, by its address as the socket tells it."""
        known = self._peers.get(address)
        if known is None:
            if len(self._peers) >= _REMEMBERED:
                self._peers.clear()
            known = self._peers[address] = self._look_up(address)
        return known

    def _look_up(self, address: str) -> Peer:
        client = self._client(address) or LOCAL
        if not client.version:
            return Peer(client, False, "")
        if self._trusts(client):
            return Peer(client, True, "")
        suspect = next(self._suspects.around(client.version, client.number), "")
        return Peer(client, False, suspect)

    def behind(self, address: str, source: str) -> str:
        """The other end's address: `source`, which a PROXY header names, if it is believed.

        With no trusted proxies configured everybody is believed who sends one: the operator has
        said that all connections come from proxies.
        """
        believed = not self._trusted or self.peer(address).trusted
        return source if source and believed else address

    def asking(self, peer: Peer, look: Mapping[bytes, bytes]) -> Client:
        """Return the client of a request with these looked-at fields."""
        if not peer.trusted:
            return peer.client
        value = look.get(self.field)
        if value is None:
            return peer.client
        nearest = peer.client
        for entry in _entries(value, self.field == FORWARDED):
            client = self._client(entry)
            if client is None:
                return nearest
            nearest = client
            if not self._trusts(client):
                return nearest
        return nearest

    def scheme(self, peer: Peer, look: Mapping[bytes, bytes], secure: bool) -> str:
        """The scheme, "http" or "https", by which the client called. `secure`: the connection here
        has TLS."""
        said = look.get(b"x-forwarded-proto", b"") if peer.trusted else b""
        if peer.trusted and not said and FORWARDED in look:
            said = _parameter(
                look[FORWARDED].rpartition(b",")[2].decode("latin-1"), "proto"
            ).encode()
        nearest = said.rpartition(b",")[2].strip(b" \t").lower()
        if nearest in (b"http", b"https"):
            return nearest.decode()
        return "https" if secure else "http"

    def missing(self, peer: Peer, look: Mapping[bytes, bytes]) -> str:
        """The setting without which all clients behind this peer are taken for one, or "".

        "trusted_proxies": it is a proxy, by its address or by what it says, that is not believed;
        "client_ip_header": it is believed, and names clients in another field.
        """
        said = any(field in look for field in SAID_BY_PROXIES) or self.field in look
        if peer.trusted:
            return "client_ip_header" if said and self.field not in look else ""
        proxy = said if peer.suspect == "private" else peer.suspect
        return "trusted_proxies" if proxy else ""

    def _trusts(self, client: Client) -> bool:
        return any(self._trusted.around(client.version, client.number))

    def _client(self, text: str) -> Client | None:
        known = self._known.get(text)
        if known is None and text not in self._known:
            if len(self._known) >= _REMEMBERED:  # addresses come from strangers
                self._known.clear()
            known = self._known[text] = parse(text)
        return known


def named_networks(name: str) -> Iterable[str]:
    """The networks that an item of `trusted_proxies` stands for, in CIDR form."""
    if name == "private":
        return PRIVATE
    if name == "cloudflare":
        return tuple(str(network) for network, cdn in content_networks().ranges if cdn == name)
    return (in_cidr_form(name),)


def network_map(cidrs: Iterable[str]) -> NetworkMap[bool]:
    """A set of networks."""
    made: NetworkMap[bool] = NetworkMap()
    for cidr in cidrs:
        made[in_cidr_form(cidr)] = True
    return made


def parse(text: str) -> Client | None:
    """The client of an address, with or without port and brackets; None if it is none."""
    if len(text) > _LONGEST:
        return None
    if text[:1] == "[":
        text = text[1:].partition("]")[0]
    elif text.count(":") == 1:
        text = text.partition(":")[0]
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return None
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
        address = address.ipv4_mapped
    number = int(address)
    if address.version == 4:
        return Client(str(address), 4, number, b"\4" + address.packed.ljust(KEY_SIZE - 1, b"\0"))
    key = b"\6" + address.packed[:8].ljust(KEY_SIZE - 1, b"\0")
    return Client(str(address).partition("%")[0], 6, number, key)


def address_of_key(key: bytes) -> str:
    """The address or network that a client's key is made of; empty for the key of anything else."""
    if key[0] == 4:
        return str(ipaddress.IPv4Address(key[1:5]))
    return f"{ipaddress.IPv6Address(key[1:9].ljust(16, bytes(1)))}/64" if key[0] == 6 else ""


def named_key(kind: str, name: str) -> bytes:
    """The table key of something with a name of its own, such as a mirror or an issued key."""
    return b"\1" + blake2b(name.encode(), digest_size=KEY_SIZE - 1, person=kind.encode()).digest()


def _entries(value: bytes, forwarded: bool) -> Iterator[str]:
    """The entries of a field from right to left, a few of them."""
    rest, more = value, b","
    for _ in range(MAX_HOPS):
        if not more:
            return
        rest, more, entry = rest.rpartition(b",")
        text = entry[: 4 * _LONGEST].decode("latin-1").strip(" \t")
        yield _parameter(text, "for") if forwarded else text


def _parameter(element: str, wanted: str) -> str:
    """A parameter of one element of a Forwarded field (RFC 7239 section 4); "" without it."""
    for pair in element.split(";"):
        name, _, value = pair.partition("=")
        if name.strip(" \t").lower() == wanted:
            return value.strip(' \t"')
    return ""
