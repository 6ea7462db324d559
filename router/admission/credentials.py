"""Keys: where a caller carries one, whose it is, and what a mirror is sent instead.

A caller's own key travels unchanged, in the field it came in, to mirrors that take such keys; for
an issued or absent key the mirror's own key takes its place. The two are never mixed: an issued key
counts before one of the caller's own, which is then not forwarded, and no issued key ever is.
"""

from __future__ import annotations

import re
import secrets
import string
import zlib
from base64 import b64decode, b64encode
from collections.abc import Iterator, Mapping
from enum import StrEnum
from functools import lru_cache
from typing import Final, NamedTuple
from urllib.parse import unquote_to_bytes

_DIGITS: Final = string.digits + string.ascii_uppercase + string.ascii_lowercase
_HEADERS: Final = (b"authorization", b"api-key", b"x-api-key", b"mj-api-secret")
_PROTOCOL: Final = b"sec-websocket-protocol"
_CARRIERS: Final = (*_HEADERS, _PROTOCOL)
_PROTOCOL_KEY = b"openai-insecure-api-key."
_IN_QUERIES = frozenset((b"key", b"api-key", b"api_key", b"apikey"))
"""Names in a query, in small letters, that some servers take a key from; it is no carrier here."""
SECRET_LENGTH: Final = 42
CHECKSUM_LENGTH: Final = 6
_MOST_ESCAPED: Final = 3
_MOST_MISSED: Final = 6
"""Letters that a key may have lost or won on its way to be called a mistyped one."""
_SIGNS: Final = bytes(code for code in range(256) if not chr(code).isalnum())
"""What is neither letter nor digit."""
_BASE64 = re.compile(rb"[A-Za-z0-9+/_-]{64,}")
"""What 48 bytes or more may be in base64."""
_STANDARD = bytes.maketrans(b"-_", b"+/")


class Caller(StrEnum):
    """Kinds of callers, by the key that they show."""

    own = "own"
    issued = "issued"
    anonymous = "anonymous"


_OWN, _ISSUED, _ANONYMOUS = Caller  # looking up a member costs 0.1 µs


class Credentials(NamedTuple):
    """The keys that a request carries."""

    caller: Caller
    keys: tuple[bytes, ...]
    carrier: bytes
    """The lower-case name of the field in which a mirror's key takes the place of the first one."""
    prefix: str
    """Of the keys that are issued here."""

    def __repr__(self) -> str:
        return f"<Credentials {self.caller} in {self.carrier.decode()}>"


def by_link(prefix: str) -> Credentials:
    """The credentials of a request by a link that was signed here: no key is needed, and none that
    it carries passes."""
    return Credentials(_OWN, (), b"authorization", prefix)


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
    """True if a key has our prefix, length and a valid checksum."""
    if not key.startswith(prefix.encode()) or not key.isascii():
        return False
    body = key.decode()[len(prefix) :]
    secret = body[:SECRET_LENGTH]
    return (
        len(body) == SECRET_LENGTH + CHECKSUM_LENGTH
        and body.isalnum()
        and checksum(secret) == body[SECRET_LENGTH:]
    )


def looks_mistyped(key: bytes, prefix: str) -> bool:
    """True if a key is nearly one of ours, but not one: our prefix, however it is spelt, and about
    as many letters, or all of them without the prefix. None is where the prefix is that of OpenAI's
    own keys, which look the same."""
    if prefix.startswith("sk-"):
        return False
    text, begin = key.translate(None, _SIGNS), prefix.encode().translate(None, _SIGNS).lower()
    body = text[len(begin) :] if begin and text.lower().startswith(begin) else b""
    near = abs(len(body) - SECRET_LENGTH - CHECKSUM_LENGTH) <= _MOST_MISSED
    return near or looks_issued(prefix.encode() + text, prefix)


def issued_in(text: bytes, prefix: str) -> bytes | None:
    """The first key with our prefix and a valid checksum that stands in a text: as it is, or as
    clients write it, percent-encoded up to three times or in base64 of either alphabet, as
    `curl -u :KEY` sends it (RFC 7617)."""
    begin, first, second, third = _begins(prefix)  # no loop: it costs 0.6 µs a text
    if begin in text or first in text or second in text or third in text or b"%" in text:
        return _spelled_in(text, prefix)
    return None


def _spelled_in(text: bytes, prefix: str) -> bytes | None:
    for _ in range(_MOST_ESCAPED):
        found = _plainly_in(text, prefix)
        if found is not None or b"%" not in text:
            return found
        text = unquote_to_bytes(text)
    return _plainly_in(text, prefix)


def _plainly_in(text: bytes, prefix: str) -> bytes | None:
    begin, *encoded = _begins(prefix)
    found = _standing_in(text, begin, prefix) if begin in text else None
    if found is None and any(form in text for form in encoded):
        decoded = (_standing_in(plain, begin, prefix) for plain in _decoded(text))
        found = next(filter(None, decoded), None)
    return found


@lru_cache(maxsize=8)
def _begins(prefix: str) -> tuple[bytes, bytes, bytes, bytes]:
    """The beginning of an issued key, and in base64 after no, one and two bytes of something else:
    the characters that stand for it alone."""
    begin = prefix.encode()
    first, second, third = (
        b64encode(bytes(before) + begin)[-(-before * 8 // 6) : (before + len(begin)) * 8 // 6]
        for before in range(3)
    )
    return begin, first, second, third


def _standing_in(text: bytes, begin: bytes, prefix: str) -> bytes | None:
    at, size = text.find(begin), len(begin) + SECRET_LENGTH + CHECKSUM_LENGTH
    while at >= 0:
        if looks_issued(text[at : at + size], prefix):
            return text[at : at + size]
        at = text.find(begin, at + 1)
    return None


def credentials(look: Mapping[bytes, bytes], prefix: str) -> Credentials:
    """The credentials in the looked-at fields of a request head."""
    found: list[tuple[bytes, bytes]] = []
    for name in _HEADERS:
        value = look.get(name)
        if value is not None and (key := _header_key(name, value)):
            found.append((name, key))
    shown, protocols = found, []
    if _PROTOCOL in look:
        protocols = _protocols(look)
        shown = [*found, *((_carrier_of(protocol), protocol) for protocol in protocols)]
    for name, text in shown:
        issued = issued_in(text, prefix)
        if issued is not None:
            return Credentials(_ISSUED, (issued,), name, prefix)
    if protocols:
        found += [(_PROTOCOL, key) for key in _keys_in(protocols)]
    if not found:
        return Credentials(_ANONYMOUS, (), b"authorization", prefix)
    return Credentials(_OWN, tuple(key for _, key in found), found[0][0], prefix)


def without_keys(target: bytes, credentials: Credentials) -> bytes:
    """The target without issued keys in its query and, if a mirror's key is lent, without others:
    the mirror could take these instead."""
    path, _, query = target.partition(b"?")
    pairs = query.split(b"&")
    kept = [pair for pair in pairs if not _is_key(pair, credentials)]
    if len(kept) == len(pairs):
        return target
    return path + b"?" + b"&".join(kept) if kept else path


def path_holds_key(target: bytes, prefix: str) -> bool:
    """True if an issued key stands in the path of a target."""
    return issued_in(target.partition(b"?")[0], prefix) is not None


def _is_key(pair: bytes, credentials: Credentials) -> bool:
    named = unquote_to_bytes(pair.partition(b"=")[0]).lower() in _IN_QUERIES
    if named and credentials.caller is not _OWN:
        return True
    return issued_in(pair, credentials.prefix) is not None


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
    if credentials.caller is _OWN:
        return protocol
    if protocol.startswith(_PROTOCOL_KEY):
        return _PROTOCOL_KEY + mirror_key if credentials.carrier == _PROTOCOL else None
    return protocol if issued_in(protocol, credentials.prefix) is None else None


def _carrier_of(protocol: bytes) -> bytes:
    """The field for a mirror's key in place of one in this subprotocol."""
    return _PROTOCOL if protocol.startswith(_PROTOCOL_KEY) else b"authorization"


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


def _decoded(text: bytes) -> Iterator[bytes]:
    """Decode the base64 in a text, wherever among these characters it begins."""
    for found in _BASE64.findall(text):
        for begin in range(4):
            part = found[begin:].translate(_STANDARD)
            yield b64decode(part[: len(part) - (len(part) % 4 == 1)] + b"==")


def _keys_in(protocols: list[bytes]) -> list[bytes]:
    return [key for p in protocols if (key := p.removeprefix(_PROTOCOL_KEY)) and key != p]
