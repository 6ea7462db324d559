"""Admission of visitors: those over their budget get 429 with `Retry-After`."""

from __future__ import annotations

from http import HTTPStatus

from aiohttp import web
from aiohttp.typedefs import Handler

from dashboard.common.connections import connection_of
from dashboard.common.context import VISITORS
from dashboard.common.middleware import CORS, READABLE, SECURITY_HEADERS
from dashboard.common.sources import Visitor
from dashboard.common.visitors import Refusal
from dashboard.public import error_pages

LOOKED_AT = 2048
"""Bytes of a refused request that tell the form of the answer."""


@web.middleware
async def middleware(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Admit a request, or say when to come back and end the connection."""
    connection = connection_of(request)
    if connection is not None and connection.counted:
        connection.counted = False
        return await handler(request)
    refusal = request.app[VISITORS].asking(request.remote or "", request.headers)
    if refusal is None:
        return await handler(request)
    response = error_pages.answer(request, refusal.status)
    response.headers.update(_fields(refusal))
    response.force_close()
    return response


class PublicGate:
    """The same for whole connections (`dashboard.common.connections.Gate`)."""

    def __init__(self, app: web.Application) -> None:
        self._app = app

    def most_of_one(self) -> float:
        """Connections that one visitor may have."""
        return self._app[VISITORS].most_connections()

    def connecting(self, address: str) -> tuple[Visitor, Refusal | None]:
        """Admit a connection; returns its address, and why nothing more is read from there, if
        so."""
        return self._app[VISITORS].connecting(address)

    def told(self, refusal: Refusal, asked: bytes) -> bytes:
        """The whole response to what a refused client has asked."""
        head = asked[:LOOKED_AT].decode("latin-1")
        path = head.partition(" ")[2]
        form: error_pages.Form = "html" if "text/html" in head else "text"
        if path.startswith("/api/"):
            form = "json"
        answer = error_pages.page(self._app, refusal.status, form)
        fields = {
            "Content-Type": f"{answer.content_type}; charset=utf-8",
            "Content-Length": str(len(answer.body)),
            "Connection": "close",
            "Server": "mirrorgate",
            **SECURITY_HEADERS,
            **(CORS if path.startswith(READABLE) else {}),
            **_fields(refusal),
        }
        lines = [f"HTTP/1.1 {refusal.status} {HTTPStatus(refusal.status).phrase}"]
        lines += [f"{name}: {value}" for name, value in fields.items()]
        body = b"" if head.startswith("HEAD ") else answer.body
        return "\r\n".join([*lines, "", ""]).encode() + body


def _fields(refusal: Refusal) -> dict[str, str]:
    return {"Retry-After": str(refusal.retry_after), "Cache-Control": "no-store"}
