"""Links to images on a mirror's own host that lead through this router (`relay_images`).

A mirror may answer with the URL of an image on its own host, which the visitor cannot reach where
that host is blocked. Its URLs in answers about images are replaced by links here:

    /relayed/MIRROR/EXPIRES-SIGNATURE/path?query

The signature (BLAKE2b with a key, RFC 7693) covers all the rest and the mirror's URL, so that a
link opens what that mirror has named, and nothing else. Images are passed on and kept nowhere.
"""

from __future__ import annotations

import json
import re
from hashlib import blake2b
from hmac import compare_digest
from typing import Final, NamedTuple
from urllib.parse import quote, urljoin, urlsplit

from monitor.common.config import MirrorConfig
from router.wire.fields import without
from router.wire.response import ResponseHead
from router.wire.target import BadTarget, check

PATH = b"/relayed/"
LIFETIME = 86_400
"""Seconds for which a link opens; OpenAI's own links to images live an hour."""
SHIELD = (
    b"content-security-policy: sandbox; default-src 'none'\r\nx-content-type-options: nosniff\r\n"
    b"cross-origin-resource-policy: cross-origin\r\n"
)
"""Fields that keep what a mirror serves from acting in the name of this host in a browser, and let
pages of other hosts show it."""
NOT_OF_IMAGES = {
    b"content-security-policy", b"x-content-type-options", b"cross-origin-resource-policy",
    b"www-authenticate", b"proxy-authenticate", b"service-worker-allowed", b"location",
}  # fmt: skip
"""Fields of a mirror's answer to a link that do not pass as they are."""
OF_ANOTHER_BODY = {
    b"etag", b"last-modified", b"accept-ranges", b"content-md5", b"digest", b"content-digest",
    b"repr-digest",
}  # fmt: skip
"""Fields that are not true any more of a body in which links were replaced."""
_LINK = re.compile(rb"/relayed/([a-z0-9-]{1,63})/([0-9a-f]{8,10})-([0-9a-f]{32})(/.*)")
_URL = re.compile(rb'(?<!\\)"https?:(?:[^"\\]|\\.){2,4096}"', re.IGNORECASE)
"""A JSON string that begins as a URL. An escaped quote begins none; each would be looked at for as
long as a URL may be."""
_MIDJOURNEY: Final = b"/mj/"
_PORTS = {"http": 80, "https": 443}
_PLAIN: Final = "/%:@!$&'()*+,;=~"
"""Characters that stay as they are in a path (RFC 3986 section 3.3), escapes among them."""


class Linked(NamedTuple):
    """The end of a link."""

    mirror: str
    target: bytes
    """Path and query on the mirror's host."""


class ImageLinks:
    """Makes and opens the links to one mirror's images."""

    def __init__(self, mirror: MirrorConfig, secret: bytes, wall: float) -> None:
        """`secret`: what links are signed with, the same in all workers and after a restart;
        `wall`: now, in seconds since the epoch."""
        self._mirror = mirror
        self._secret = secret
        self._wall = wall

    def opened(self, expires: bytes, signature: bytes, rest: bytes) -> Linked | None:
        """The end of a link with these parts; None if it is none of this mirror's, or is over."""
        good = compare_digest(signature, self._signature(expires, rest))
        return Linked(self._mirror.id, rest) if good and int(expires, 16) > self._wall else None

    def link(self, given: str, root: str) -> str | None:
        """The link below `root` to a URL on the mirror's own host; None if it is on another one, or
        cannot be asked for."""
        try:
            url = urlsplit(given)
            ports = {url.port or _PORTS[url.scheme], url.port or _PORTS["https"]}
            query = f"?{quote(url.query, _PLAIN + '?')}" if url.query else ""
            rest = (quote(url.path, _PLAIN) + query).encode()
            check(rest)
        except (ValueError, KeyError, BadTarget):
            return None
        own = (url.hostname or "").rstrip(".") in {self._mirror.host, *self._mirror.hostnames}
        if not own or self._mirror.port not in ports or "@" in url.netloc or url.fragment:
            return None
        expires, name = b"%x" % (int(self._wall) + LIFETIME), self._mirror.id.encode()
        signature = self._signature(expires, rest)
        return root + (b"%b%b/%b-%b%b" % (PATH, name, expires, signature, rest)).decode()

    def relinked(self, body: bytes, root: str) -> bytes:
        """A JSON body in which URLs on the mirror's own host lead to `root`."""

        def replaced(found: re.Match[bytes]) -> bytes:
            try:
                link = self.link(json.loads(found[0]), root)
            except ValueError:
                return found[0]
            return found[0] if link is None else json.dumps(link).encode()

        return _URL.sub(replaced, body)

    def shielded(self, head: ResponseHead, root: str, target: bytes) -> list[bytes]:
        """The fields of an answer to a link to `target`, without those that do not pass. A redirect
        leads through here, too, if it stays on the mirror."""
        fields, place = without(head.fields, NOT_OF_IMAGES), head.table().get(b"location")
        if place is not None:
            base = f"{self._mirror.scheme}://{self._mirror.authority}{target.decode('latin-1')}"
            given = urljoin(base, place.decode("latin-1"))
            led = self.link(given, root) or given
            fields += (b"location", b": ", led.encode("latin-1", "replace"), b"\r\n")
        return fields

    def _signature(self, expires: bytes, rest: bytes) -> bytes:
        text = b"%b %b %b %b" % (self._mirror.id.encode(), self._mirror.url.encode(), expires, rest)
        digest = blake2b(text, digest_size=16, key=self._secret, person=b"image link")
        return digest.hexdigest().encode()


def links_in(endpoint: str, target: bytes) -> bool:
    """True if the answer to such a request names images."""
    return endpoint == "images" or target.startswith(_MIDJOURNEY)


def parts_of(target: bytes) -> tuple[str, bytes, bytes, bytes] | None:
    """Mirror, expiry, signature and the rest of a link; None of what does not look like one."""
    parts = _LINK.fullmatch(target)
    return (parts[1].decode(), parts[2], parts[3], parts[4]) if parts is not None else None
