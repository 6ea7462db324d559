"""Rendered answers: bytes, content type, entity tag, and the response made of them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web
from aiohttp.helpers import ETAG_ANY


@dataclass(frozen=True, slots=True)
class Answer:
    """The bytes of a response and what goes with them."""

    body: bytes
    content_type: str
    tag: str
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)


def html(text: str, status: int = 200, headers: Mapping[str, str] | None = None) -> Answer:
    """A page."""
    return _answer(text.encode(), "text/html", status, headers)


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
    return Answer(body, "application/json", _tag(json.dumps(lasting).encode()), status)


def _answer(
    body: bytes, content_type: str, status: int, headers: Mapping[str, str] | None
) -> Answer:
    return Answer(body, content_type, _tag(body), status, headers or {})


def _tag(content: bytes) -> str:
    return hashlib.blake2b(content, digest_size=12).hexdigest()


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
    if answer.status == 200 and _has(request, answer.tag):
        return web.Response(status=304, headers=headers)
    return web.Response(
        body=answer.body,
        status=answer.status,
        headers=headers,
        content_type=answer.content_type,
        charset="utf-8",
    )


def _has(request: web.Request, tag: str) -> bool:
    return any(known.value in (tag, ETAG_ANY) for known in request.if_none_match or ())
