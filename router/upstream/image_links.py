"""Links to images on a mirror's own host that lead through this router (`relay_images`).

A mirror may answer with the URL of an image on its own host, which the visitor cannot reach where
that host is blocked. Its URLs in answers about images are replaced by links here:

    /relayed/MIRROR/EXPIRES-SIGNATURE/path?query

The signature (BLAKE2b with a key, RFC 7693) covers all the rest, so that a link opens what a mirror
has named, and nothing else of it. Images are passed on and kept nowhere.
"""

from __future__ import annotations

import json
import re
from hashlib import blake2b
from hmac import compare_digest
from typing import NamedTuple
from urllib.parse import urlsplit

from monitor.common.config import MirrorConfig
from router.wire.target import BadTarget, check

PATH = b"/relayed/"
LIFETIME = 86_400
"""Seconds for which a link opens; OpenAI's own links to images live an hour."""
SHIELD = (
    b"content-security-policy: sandbox; default-src 'none'\r\nx-content-type-options: nosniff\r\n"
)
"""Fields that keep what a mirror serves from acting in the name of this host in a browser."""
_LINK = re.compile(rb"/relayed/([a-z0-9-]{1,63})/([0-9a-f]{8,10})-([0-9a-f]{32})(/.*)")
_URL = re.compile(rb'"https?:(?:[^"\\]|\\.){2,4096}"')
"""A JSON string that begins as a URL."""
_MIDJOURNEY = b"/mj/"


class Linked(NamedTuple):
    """The end of a link."""

    mirror: str
    target: bytes
    """Path and query on the mirror's host."""


def links_in(endpoint: str, target: bytes) -> bool:
    """True if the answer to such a request names images."""
    return endpoint == "images" or target.startswith(_MIDJOURNEY)


def opened(target: bytes, secret: bytes, wall: float) -> Linked | None:
    """The end of a link that was made here and is still good at `wall`; None: it is none."""
    parts = _LINK.fullmatch(target)
    if parts is None or not secret:
        return None
    mirror, expires, signature, rest = parts.groups()
    good = compare_digest(signature, _signature(secret, mirror, expires, rest))
    return Linked(mirror.decode(), rest) if good and int(expires, 16) > wall else None


def relinked(body: bytes, mirror: MirrorConfig, root: str, secret: bytes, wall: float) -> bytes:
    """A JSON body in which URLs on the mirror's own host lead to `root`, and so through here."""
    if not secret:
        return body
    hosts, ports = {mirror.host, *mirror.hostnames}, (None, mirror.port)
    expires = b"%x" % (int(wall) + LIFETIME)

    def link(found: re.Match[bytes]) -> bytes:
        try:
            url = urlsplit(json.loads(found[0]))
            own = url.hostname in hosts and url.port in ports and "@" not in url.netloc
            rest = (url.path + f"?{url.query}" * bool(url.query)).encode("ascii")
            check(rest)
        except (ValueError, BadTarget):
            return found[0]
        if not own or url.fragment:
            return found[0]
        name = mirror.id.encode()
        signature = _signature(secret, name, expires, rest)
        return b'"%b%b%b/%b-%b%b"' % (root.encode(), PATH, name, expires, signature, rest)

    return _URL.sub(link, body)


def _signature(secret: bytes, mirror: bytes, expires: bytes, rest: bytes) -> bytes:
    text = b"%b %b %b" % (mirror, expires, rest)
    return blake2b(text, digest_size=16, key=secret, person=b"image link").hexdigest().encode()
