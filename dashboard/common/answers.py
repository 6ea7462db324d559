"""Rendered answers: bytes, content type, entity tag, and the response made of them."""

from __future__ import annotations

import gzip
import hashlib
import json
import re
import zlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web
from aiohttp.helpers import ETAG_ANY

from dashboard.common.steps import Steps

VARIES: web.RequestKey[set[str]] = web.RequestKey("varies", set)
"""The fields of a request that its answer was chosen by: see `negotiated`."""


def negotiated(request: web.Request, field: str) -> str:
    """The value of a field that chooses between answers, which `Vary` then tells caches of."""
    request.setdefault(VARIES, set()).add(field)
    return request.headers.get(field, "")


@dataclass(frozen=True, slots=True)
class Answer:
    """The bytes of a response and what goes with them."""

    body: bytes
    content_type: str
    tag: str
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    packed: bytes = b""
    """The body compressed with gzip, where that was worth it."""


def html(text: str, status: int = 200, headers: Mapping[str, str] | None = None) -> Answer:
    """A page."""
    return _answer(text.encode(), "text/html", status, headers)


def page(pieces: Iterable[str]) -> Steps[Answer]:
    """A page made of pieces, and compressed with them: at the end it would take too long."""
    packer = zlib.compressobj(_LEVEL, wbits=_GZIP)
    body, packed = [], []
    for piece in pieces:
        encoded = piece.encode()
        body.append(encoded)
        packed.append(packer.compress(encoded))
        yield
    packed.append(packer.flush())
    whole = b"".join(body)
    return Answer(whole, "text/html", _tag(whole), packed=b"".join(packed))


def plain(text: str, status: int = 200, headers: Mapping[str, str] | None = None) -> Answer:
    """Text for terminals."""
    return _answer(text.encode(), "text/plain", status, headers)


def xml(text: str) -> Answer:
    """A feed."""
    return _answer(text.encode(), "application/atom+xml", 200, None)


def picture(text: str, status: int = 200) -> Answer:
    """A drawing."""
    return _answer(text.encode(), "image/svg+xml", status, None)


def document(value: Mapping[str, Any], status: int = 200, volatile: tuple[str, ...] = ()) -> Answer:
    """JSON; what is `volatile`, as the time of rendering, does not count as a change."""
    lasting = {key: item for key, item in value.items() if key not in volatile}
    body = json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode() + b"\n"
    tag = _tag(json.dumps(lasting).encode())
    return Answer(body, "application/json", tag, status, packed=_packed(body))


def _answer(
    body: bytes, content_type: str, status: int, headers: Mapping[str, str] | None
) -> Answer:
    return Answer(body, content_type, _tag(body), status, headers or {}, _packed(body))


def _packed(body: bytes) -> bytes:
    return gzip.compress(body, _LEVEL, mtime=0) if len(body) > _WORTH else b""


def _tag(content: bytes) -> str:
    return hashlib.blake2b(content, digest_size=12).hexdigest()


_LEVEL = 3
"""Half a megabyte takes 5 ms so, and becomes a tenth; level 6 takes 12 ms for a third less."""
_WORTH = 1400
"""Bytes that one packet has room for: less is not compressed."""
_REFUSED = re.compile(r"q\s*=\s*0(\.0*)?")
_GZIP = 31
"""The largest window, and the frame of gzip (zlib's manual)."""


def respond(request: web.Request, answer: Answer, max_age: int = 5) -> web.Response:
    """The response, or 304 where the reader has it already.

    Entity tags are weak: a rendering that differs in nothing but its own time keeps its tag
    (RFC 9110 section 8.8.1).
    """
    headers = {
        "ETag": f'W/"{answer.tag}"',
        "Cache-Control": f"public, max-age={max_age}",
        **answer.headers,
    }
    packed = bool(answer.packed) and _takes_gzip(negotiated(request, "Accept-Encoding"))
    if answer.status == 200 and _has(request, answer.tag):
        return web.Response(status=304, headers=headers)
    body = answer.body
    if packed:
        body = answer.packed
        headers["Content-Encoding"] = "gzip"
    return web.Response(
        body=body,
        status=answer.status,
        headers=headers,
        content_type=answer.content_type,
        charset="utf-8",
    )


def _takes_gzip(accepted: str) -> bool:
    """True if gzip is accepted by name (RFC 9110 section 12.5.3): `*` alone may not mean it."""
    for item in accepted[:200].lower().split(","):
        name, _, quality = item.partition(";")
        if name.strip() in ("gzip", "x-gzip"):
            return not _REFUSED.fullmatch(quality.strip())
    return False


def _has(request: web.Request, tag: str) -> bool:
    return any(known.value in (tag, ETAG_ANY) for known in request.if_none_match or ())
