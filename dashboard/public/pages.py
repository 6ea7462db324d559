"""The public pages: the status page, one node, the banned clients, how to use the service."""

from __future__ import annotations

from collections.abc import Callable, Hashable

from aiohttp import web

from dashboard.common import assets
from dashboard.common.answers import Answer, html, plain, respond
from dashboard.common.context import RENDERINGS, SOURCES
from dashboard.common.steps import Steps
from dashboard.common.templates import templates
from dashboard.i18n.moments import lasting
from dashboard.public import plain as plain_text
from dashboard.public.charts import bars, shown_percent
from dashboard.public.documents import BadCursor, BansPage, page_of_bans
from dashboard.public.incidents import page_after
from dashboard.public.page import NO_BANS, Page, build
from dashboard.public.rows import PHASES
from dashboard.public.view import chosen_language, node_id, shown_incidents, wants_html, words_for

BANS_ON_FRONT = 10
BANS_ON_LIST = 50
INCIDENTS_ON_LIST = 50
"""As many as the feed has, whose entries lead to their place on the first page."""


def add_routes(app: web.Application) -> None:
    """The addresses of the pages and of what they load."""
    app.router.add_get("/", status)
    app.router.add_get("/nodes/{id}", node)
    app.router.add_get("/history", history)
    app.router.add_get("/banned", banned)
    app.router.add_get("/docs", docs)
    app.router.add_get("/robots.txt", robots)
    assets.add_routes(app)
    templates().globals.update(
        phases=PHASES, bars=bars, shown_percent=shown_percent, lasting=lasting
    )


async def status(request: web.Request) -> web.Response:
    """The status page; as plain text for terminals."""
    app = request.app
    words, html_wanted = words_for(request), wants_html(request)
    chosen, refreshing = _choices(request)

    def make(now: float) -> Steps[Answer]:
        page = build(app, words, now, newest_bans(app, BANS_ON_FRONT))
        yield
        if not html_wanted:
            return plain(plain_text.render(page))
        return (yield from render(app, "status.html", page, chosen, refreshing=refreshing))

    key = ("status", html_wanted, words, chosen, refreshing)
    return respond(request, await app[RENDERINGS].get(key, make))


async def node(request: web.Request) -> web.Response:
    """One node with all its details."""
    wanted = node_id(request)
    if wanted is None:
        raise web.HTTPNotFound
    _, refreshing = _choices(request)

    def values(page: Page) -> Values:
        row = next((row for row in page.nodes if row.id == wanted), None)
        return {"node": row, "refreshing": refreshing}

    return await _page(request, "node.html", (wanted, refreshing), values)


async def history(request: web.Request) -> web.Response:
    """The incidents, month by month, some at a time."""
    incidents = shown_incidents(request.app)
    found = page_after(incidents, request.query.get("after", ""), INCIDENTS_ON_LIST)
    if found is None:
        raise web.HTTPNotFound
    some, following = found

    def values(page: Page) -> Values:
        return {"months": page.months(some), "more": following}

    return await _page(request, "history.html", some[0].id if some else "", values)


async def banned(request: web.Request) -> web.Response:
    """The banned clients, some at a time."""
    sources = request.app[SOURCES]
    if sources.dashboard().bans == "off":
        raise web.HTTPNotFound
    try:
        bans = page_of_bans(sources.bans(), BANS_ON_LIST, request.query.get("after", ""))
    except BadCursor:
        raise web.HTTPNotFound from None
    return await _page(request, "banned.html", bans.place, bans=bans)


async def docs(request: web.Request) -> web.Response:
    """Instructions for using the base URL."""
    return await _page(request, "docs.html")


async def robots(request: web.Request) -> web.Response:
    """Search engines stay away: what they would show is old, and addresses do not belong there."""
    return respond(request, plain("User-agent: *\nDisallow: /\n"), assets.AGE)


Values = dict[str, object]


async def _page(
    request: web.Request,
    template: str,
    which: Hashable = None,
    values: Callable[[Page], Values] = lambda page: {},
    bans: BansPage = NO_BANS,
) -> web.Response:
    """A page; `which` tells those of one template apart."""
    app = request.app
    words, (chosen, _) = words_for(request), _choices(request)

    def make(now: float) -> Steps[Answer]:
        page = build(app, words, now, bans)
        yield
        return (yield from render(app, template, page, chosen, **values(page)))

    return respond(request, await app[RENDERINGS].get((template, which, words, chosen), make))


def _choices(request: web.Request) -> tuple[bool, bool]:
    """True if the reader chose the language himself, and wants the page to stay up to date."""
    return chosen_language(request) is not None, request.query.get("refresh") != "off"


def newest_bans(app: web.Application, most: int) -> BansPage:
    """The newest bans, if the operator shows any."""
    sources = app[SOURCES]
    shown = sources.dashboard().bans != "off"
    return page_of_bans(sources.bans(), most, "") if shown else NO_BANS


def render(
    app: web.Application, template: str, page: Page, chosen: bool, **values: object
) -> Steps[Answer]:
    """A template filled, piece by piece; links keep the language that the reader chose himself."""
    query = f"?lang={page.words.language}" if chosen else ""
    also = f"&lang={page.words.language}" if chosen else ""
    pieces = []
    context = {"page": page, "words": page.words, "query": query, "also": also, **values}
    for piece in templates().get_template(template).generate(context):
        pieces.append(piece)
        yield
    return html("".join(pieces))
