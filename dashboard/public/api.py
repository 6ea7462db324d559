"""The public JSON API."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from aiohttp import web
from aiohttp.typedefs import Handler

from dashboard.common.answers import Answer, document, respond
from dashboard.common.context import RENDERINGS, SOURCES
from dashboard.common.middleware import READABLE
from dashboard.common.steps import Steps
from dashboard.public import openapi
from dashboard.public.documents import (
    BadCursor,
    bans_document,
    health_document,
    node_document,
    nodes_document,
    page_of_bans,
)
from dashboard.public.openapi import DEFAULT_PAGE, LARGEST_PAGE
from dashboard.public.rows import overview
from dashboard.public.view import node_id, shown_nodes

VOLATILE = ("generated_at",)


def add_routes(app: web.Application) -> None:
    """The addresses below /api/v1/."""
    app.router.add_get("/api/v1/nodes", nodes)
    app.router.add_get("/api/v1/nodes/{id}", one_node)
    app.router.add_get("/api/v1/bans", bans)
    app.router.add_get("/api/v1/health", health)
    app.router.add_get("/api/v1/openapi.json", description)


@web.middleware
async def preflight(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Let scripts of other pages read what they may with fields of their own, as `If-None-Match`.

    What is answered so is charged to the visitor as any request.
    """
    asked = request.method == "OPTIONS" and "Access-Control-Request-Method" in request.headers
    if not asked or not request.path.startswith(READABLE):
        return await handler(request)
    allowed = {
        "Allow": "GET, HEAD, OPTIONS",
        "Access-Control-Allow-Methods": "GET, HEAD",
        "Access-Control-Allow-Headers": "*",
        "Access-Control-Max-Age": "86400",
    }
    return web.Response(status=204, headers=allowed)


def fault(status: int, message: str) -> Answer:
    """An error in the shape of the API."""
    return document({"error": {"message": message}}, status)


async def description(request: web.Request) -> web.Response:
    """The description of this API."""
    sources = request.app[SOURCES]
    config = sources.dashboard()

    def make(_: float) -> Answer:
        return document(openapi.description(config.title, sources.version(), config.public_url))

    return respond(request, request.app[RENDERINGS].at_once("api/openapi", make), 300)


async def nodes(request: web.Request) -> web.Response:
    """Every node."""

    def make(now: float) -> Steps[Answer]:
        vantage = request.app[SOURCES].snapshot().vantage
        told = yield from nodes_document(shown_nodes(request.app, now), vantage, now)
        return document(told, 200, VOLATILE)

    return respond(request, await request.app[RENDERINGS].get("api/nodes", make))


async def one_node(request: web.Request) -> web.Response:
    """One node, or 404."""
    wanted = node_id(request)
    if wanted is None:
        return respond(request, fault(404, "no such node: /api/v1/nodes lists them"))

    def make(now: float) -> Answer:
        vantage = request.app[SOURCES].snapshot().vantage
        row = next(row for row in shown_nodes(request.app, now) if row.id == wanted)
        return document(node_document(row, vantage))

    return respond(request, request.app[RENDERINGS].at_once(("api/nodes", wanted), make))


async def health(request: web.Request) -> web.Response:
    """200, or 503 when no node is in rotation. Whoever watches us never waits for a page."""

    def make(now: float) -> Answer:
        rows = shown_nodes(request.app, now)
        in_rotation = sum(row.in_rotation for row in rows)
        told = health_document(overview(rows), in_rotation, now)
        return document(told, 200 if in_rotation else 503, VOLATILE)

    return respond(request, request.app[RENDERINGS].at_once("api/health", make))


async def bans(request: web.Request) -> web.Response:
    """A page of the bans in force."""
    sources = request.app[SOURCES]
    config = sources.dashboard()
    if config.bans == "off":
        return respond(request, fault(404, "the list of banned clients is not public here"))
    limit = number(request.query.get("limit"), LARGEST_PAGE, DEFAULT_PAGE)
    if limit is None:
        return respond(request, fault(400, f"limit: expected 1 to {LARGEST_PAGE}"))
    try:
        page = page_of_bans(sources.bans(), limit, request.query.get("after", ""))
    except BadCursor as error:
        return respond(request, fault(400, str(error)))

    def make(_: float) -> Steps[Answer]:
        return document((yield from bans_document(page, config, locate(request))))

    key = ("bans", limit, page.place)
    return respond(request, await request.app[RENDERINGS].get(key, make))


def locate(request: web.Request) -> Callable[[str], str]:
    """Says where a network is, in the first language of this place."""
    sources = request.app[SOURCES]
    return partial(sources.locations().of, language=sources.dashboard().languages[0])


def number(text: str | None, largest: int, default: int) -> int | None:
    """A number from 1 to `largest`; None for anything else."""
    if text is None:
        return default
    fine = text.isascii() and text.isdigit() and len(text) <= 6 and 1 <= int(text) <= largest
    return int(text) if fine else None
