"""Access to the TCP admin listener: with the token; without a configured one, from this machine."""

from __future__ import annotations

import hmac

from aiohttp import web
from aiohttp.typedefs import Handler

from dashboard.common.context import SOURCES
from monitor.common.hosts import host_of, is_loopback

FORWARDED = ("Forwarded", "X-Forwarded-For", "X-Real-IP")


@web.middleware
async def middleware(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Refuse with one sentence, or go on."""
    token = request.app[SOURCES].admin().metrics_token
    refused = refusal(
        token=token,
        authorization=request.headers.get("Authorization", ""),
        peer=request.remote or "",
        host=", ".join(request.headers.getall("Host", ())),
        forwarded=any(name in request.headers for name in FORWARDED),
    )
    if refused:
        status, fields = (401, {"WWW-Authenticate": "Bearer"}) if token else (403, {})
        return web.json_response({"error": {"message": refused}}, status=status, headers=fields)
    return await handler(request)


def refusal(*, token: str, authorization: str, peer: str, host: str, forwarded: bool) -> str:
    """Return the reason for which a request is refused; empty when it is not.

    Without a token the name asked for must be this machine's own: a page whose name was
    pointed at 127.0.0.1 could otherwise read here through a visitor's browser (DNS rebinding).
    """
    if token:
        scheme, _, given = authorization.partition(" ")
        same = hmac.compare_digest(given.encode(errors="surrogateescape"), token.encode())
        fine = same and scheme.lower() == "bearer"
        return "" if fine else "send admin.metrics_token as Authorization: Bearer …"
    if forwarded or not is_loopback(peer):
        return "only this machine may read here: set admin.metrics_token to allow others"
    if not is_loopback(host_of(host) or ""):
        return "ask for this listener as 127.0.0.1, [::1] or localhost, or set admin.metrics_token"
    return ""
