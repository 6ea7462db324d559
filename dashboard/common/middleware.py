"""Parts of both applications: security headers, errors in the reader's form, shared state."""

from __future__ import annotations

import logging
from collections.abc import Callable

from aiohttp import web
from aiohttp.typedefs import Handler, Middleware

from dashboard.common.answers import VARIES
from dashboard.common.assets import THEME_SCRIPT_HASH
from dashboard.common.context import CLOCK, RENDERINGS, SOURCES, STALE_AFTER
from dashboard.common.renderings import Busy, Renderings
from dashboard.common.sources import Sources

logger = logging.getLogger(__name__)

ErrorPage = Callable[[web.Request, int], web.Response]
"""Makes the answer for an error status in the form that the reader understands."""

_POLICY = (
    "default-src 'none'; style-src 'self'; img-src 'self' data:; "
    f"script-src 'self' 'sha256-{THEME_SCRIPT_HASH}'; connect-src 'self'{{}}; "
    "base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
)
SECURITY_HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
    "Content-Security-Policy": _POLICY.format(""),
}


ASKS: web.RequestKey[tuple[str, ...]] = web.RequestKey("asks", tuple)
"""The origins that the script of this page may ask, beside our own."""
COME_BACK_AFTER = 5
"""Seconds after which a page that was not made is worth asking for again."""
READABLE = ("/api/v1/", "/api/v2/", "/badge", "/feed.atom")
"""What scripts of other pages may read."""
CORS = {
    "Access-Control-Allow-Origin": "*",
    "Access-Control-Expose-Headers": "ETag, Retry-After",
}


async def add_common_headers(request: web.Request, response: web.StreamResponse) -> None:
    """Signal handler: headers of security (no foreign script or content), of CORS, and `Vary`."""
    response.headers.update(SECURITY_HEADERS)
    if others := request.get(ASKS, ()):
        policy = _POLICY.format("".join(f" {each}" for each in others))
        response.headers["Content-Security-Policy"] = policy
    response.headers["Server"] = "mirrorgate"
    if request.path.startswith(READABLE):
        response.headers.update(CORS)
    if fields := request.get(VARIES):
        response.headers["Vary"] = ", ".join(sorted(fields))


def errors(page: ErrorPage) -> Middleware:
    """Errors are answered by `page`; what failed is logged without the query."""

    @web.middleware
    async def middleware(request: web.Request, handler: Handler) -> web.StreamResponse:
        try:
            return await handler(request)
        except web.HTTPException as error:
            response = page(request, error.status)
            if "Allow" in error.headers:
                response.headers["Allow"] = error.headers["Allow"]
            return response
        except Busy:
            response = page(request, 503)
            response.headers["Retry-After"] = str(COME_BACK_AFTER)
            return response
        except Exception:
            logger.exception("%s %s failed", request.method, request.path)
            return page(request, 500)

    return middleware


STALE_AFTER_SECONDS = 180.0


SHORTEST_STALE_AFTER = 60.0
"""The monitor itself says "unknown" sooner; here is the net for a monitor that hangs."""


def equip(
    app: web.Application,
    sources: Sources,
    clock: Callable[[], float],
    stale_after: Callable[[], float],
) -> None:
    app[SOURCES] = sources
    app[CLOCK] = clock
    app[STALE_AFTER] = lambda: max(SHORTEST_STALE_AFTER, stale_after())
    app[RENDERINGS] = Renderings(clock)
    app.on_cleanup.append(_close_renderings)
    app.on_response_prepare.append(add_common_headers)


async def _close_renderings(app: web.Application) -> None:
    await app[RENDERINGS].close()
