"""Keys: where a caller carries one, whose it is, and what a mirror is sent instead.

A caller's own key travels unchanged, in the field it came in, to mirrors that take such keys; for
an issued or absent key the mirror's own key takes its place. The two are never mixed.
"""

from __future__ import annotations

import secrets
import string
import zlib
from collections.abc import Mapping
from enum import StrEnum
from typing import NamedTuple

_DIGITS = string.digits + string.ascii_uppercase + string.ascii_lowercase
_HEADERS = (b"authorization", b"api-key", b"x-api-key", b"mj-api-secret")
_PROTOCOL = b"sec-websocket-protocol"
_CARRIERS = (*_HEADERS, _PROTOCOL)
_PROTOCOL_KEY = b"openai-insecure-api-key."
SECRET_LENGTH = 42
CHECKSUM_LENGTH = 6


class Caller(StrEnum):
    """Whose key a caller shows."""

    own = "own"
    issued = "issued"
    anonymous = "anonymous"


_OWN, _ISSUED, _ANONYMOUS = Caller  # looking up a member costs 0.1 µs


class Credentials(NamedTuple):
    """The keys that a request carries."""

    caller: Caller
    keys: tuple[bytes, ...]
    carrier: bytes
    """The lower-case name of the field that the first key came in."""

    def __repr__(self) -> str:
        return f"<Credentials {self.caller} in {self.carrier.decode()}>"


def checksum(secret: str) -> str:
    """Six characters that a key made of `secret` ends with: CRC-32 in base 62.

    It tells a mistyped or foreign key from an issued one without a look-up; it proves nothing.
    """
    value, text = zlib.crc32(secret.encode()), ""
    for _ in range(CHECKSUM_LENGTH):
        value, digit = divmod(value, 62)
        text = _DIGITS[digit] + text
    return text


def new_key(prefix: str) -> str:
    """A key that nobody can guess: 42 random letters and digits are 250 bits."""
    secret = "".join(secrets.choice(_DIGITS) for _ in range(SECRET_LENGTH))
    return prefix + secret + checksum(secret)


def looks_issued(key: bytes, prefix: str) -> bool:
    """Whether a key has our prefix, length and a valid checksum."""
    if not key.startswith(prefix.encode()) or not key.isascii():
        return False
    body = key.decode()[len(prefix) :]
    secret = body[:SECRET_LENGTH]
    return (
        len(body) == SECRET_LENGTH + CHECKSUM_LENGTH
        and body.isalnum()
        and checksum(secret) == body[SECRET_LENGTH:]
    )


def credentials(look: Mapping[bytes, bytes], prefix: str) -> Credentials:
    """The credentials in the looked-at fields of a request head."""
    found: list[tuple[bytes, bytes]] = []
    for name in _HEADERS:
        value = look.get(name)
        if value is not None and (key := _header_key(name, value)):
            found.append((name, key))
    if _PROTOCOL in look:
        found += [(_PROTOCOL, key) for key in _keys_in_protocols(look[_PROTOCOL])]
    if not found:
        return Credentials(_ANONYMOUS, (), b"authorization")
    for name, key in found:
        if looks_issued(key, prefix):
            return Credentials(_ISSUED, (key,), name)
    return Credentials(_OWN, tuple(key for _, key in found), found[0][0])


def key_fields(
    credentials: Credentials, look: Mapping[bytes, bytes], mirror_key: bytes
) -> list[bytes]:
    """The flat list of fields that carry a key, and of subprotocols, to write to a mirror."""
    if credentials.caller is not _OWN:
        look = _exchanged(credentials, look, mirror_key)
    flat: list[bytes] = []
    for name in _CARRIERS:
        value = look.get(name)
        if value is not None:
            flat += (name, b": ", value, b"\r\n")
    return flat


def offered_as(
    credentials: Credentials, look: Mapping[bytes, bytes], mirror_key: bytes, chosen: bytes
) -> bytes | None:
    """The client's name of the subprotocol that a mirror chose of those that it was offered."""
    for protocol in _protocols(look):
        if _as_sent(credentials, protocol, mirror_key) == chosen:
            return protocol
    return None


def _protocols(look: Mapping[bytes, bytes]) -> list[bytes]:
    return [p for each in look.get(_PROTOCOL, b"").split(b",") if (p := each.strip(b" \t"))]


def _as_sent(credentials: Credentials, protocol: bytes, mirror_key: bytes) -> bytes | None:
    """A subprotocol as a mirror is offered it; None: it is not."""
    if credentials.caller is _OWN or not protocol.startswith(_PROTOCOL_KEY):
        return protocol
    return _PROTOCOL_KEY + mirror_key if credentials.carrier == _PROTOCOL else None


def _exchanged(
    credentials: Credentials, look: Mapping[bytes, bytes], mirror_key: bytes
) -> dict[bytes, bytes]:
    offered = (_as_sent(credentials, protocol, mirror_key) for protocol in _protocols(look))
    kept = dict.fromkeys(protocol for protocol in offered if protocol is not None)
    carrier = credentials.carrier
    carried = {_PROTOCOL: b", ".join(kept)} if kept else {}
    if carrier == b"authorization":
        carried[carrier] = b"Bearer " + mirror_key
    elif carrier != _PROTOCOL:
        carried[carrier] = mirror_key
    return carried


def _header_key(name: bytes, value: bytes) -> bytes | None:
    value = value.strip()
    if name == b"authorization" and value[:6].lower() == b"bearer":
        value = value[6:].strip()
    return value or None


def _keys_in_protocols(value: bytes) -> list[bytes]:
    protocols = (protocol.strip(b" \t") for protocol in value.split(b","))
    return [key for p in protocols if (key := p.removeprefix(_PROTOCOL_KEY)) and key != p]
