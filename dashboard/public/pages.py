"""The public pages: the status page, one node, the banned clients, how to use the service."""

from __future__ import annotations

import re
from collections.abc import Callable, Hashable, Sequence
from typing import TypeVar
from urllib.parse import urlsplit

from aiohttp import web
from markupsafe import Markup, escape

from dashboard.common import assets
from dashboard.common.answers import Answer, plain, respond
from dashboard.common.answers import page as paged
from dashboard.common.context import CLOCK, RENDERINGS, SOURCES
from dashboard.common.middleware import ASKS
from dashboard.common.printable import printable
from dashboard.common.steps import Steps
from dashboard.common.templates import templates
from dashboard.public import plain as plain_text
from dashboard.public.documents import BadCursor, BansPage, page_of_bans
from dashboard.public.incidents import IncidentRow, MaintenanceRow, page_after, updates
from dashboard.public.lines import Lines
from dashboard.public.live import LIVE, Live
from dashboard.public.page import NO_BANS, Page, build, entrances
from dashboard.public.privacy import full_network
from dashboard.public.view import (
    Asking,
    node_id,
    reader_of,
    shown_incidents,
    shown_maintenances,
    wants_html,
)
from monitor.common.bans import Ban

BANS_ON_FRONT = 8
BANS_ON_LIST = 50
INCIDENTS_ON_LIST = 50
LINES: web.AppKey[Lines] = web.AppKey("lines", Lines)
_ORIGIN = re.compile(r"https?://[A-Za-z0-9.:\[\]-]+")
FOR_VISITOR = "<!--for this visitor-->"
"""Stands in a page, which is one for all, where a visitor's own ban is shown."""

Values = dict[str, object]


def add_routes(app: web.Application) -> None:
    """The addresses of the pages and of what they load."""
    app[LINES] = Lines()
    app[LIVE] = Live(app, app[LINES])
    app.router.add_get("/", status)
    app.router.add_get("/nodes/{id}", node)
    app.router.add_get("/history", history)
    app.router.add_get("/incidents/{id}", incident)
    app.router.add_get("/maintenances/{id}", maintenance)
    app.router.add_get("/banned", banned)
    app.router.add_get("/banned/me", mine)
    app.router.add_get("/robots.txt", robots)
    assets.add_routes(app)


async def status(request: web.Request) -> web.Response:
    """The status page; as plain text for terminals."""
    app, asking, html_wanted = request.app, reader_of(request), wants_html(request, previewed=True)

    def make(now: float) -> Steps[Answer]:
        page = build(app, asking.words, now, newest_bans(app, BANS_ON_FRONT))
        yield
        if not html_wanted:
            return plain(plain_text.render(page))
        values: Values = {
            "lines": app[LINES].of(page, asking.query),
            "refreshing": asking.refreshing,
            "live_version": app[LIVE].version(),
            "visitor": Markup(FOR_VISITOR),
        }
        return (yield from render("status.html", page, asking, **values))

    request[ASKS] = tuple({origin(entrance.health) for entrance in entrances(app[SOURCES])})
    key = ("status", html_wanted, asking)
    answer = await app[RENDERINGS].get(key, make)
    ban = visitors_ban(request) if html_wanted else None
    return respond(request, answer) if ban is None else _told(request, answer, ban, asking)


def origin(url: str) -> str:
    """The origin of a URL, as a policy of content can name it; empty where it cannot."""
    parts = urlsplit(url)
    found = f"{parts.scheme}://{parts.netloc}"
    return found if _ORIGIN.fullmatch(found) else ""


def visitors_ban(request: web.Request) -> Ban | None:
    """The ban on the visitor's address, if there is one."""
    sources = request.app[SOURCES]
    network = sources.visitor(request.remote or "", request.headers).network
    return sources.bans().on(network) if network else None


def _told(request: web.Request, answer: Answer, ban: Ban, asking: Asking) -> web.Response:
    """The page of all, with what this visitor alone is told."""
    words = asking.words
    notice = (
        f'<section class="notice for-you"><strong>{escape(words("mine.notice", id=ban.id))}'
        f"</strong> "
        f'<a href="/banned/me{asking.query}">{escape(words("mine.notice.more"))}</a></section>'
    )
    body = answer.body.replace(FOR_VISITOR.encode(), notice.encode(), 1)
    headers = {"Cache-Control": "no-store"}
    return web.Response(body=body, content_type="text/html", charset="utf-8", headers=headers)


async def node(request: web.Request) -> web.Response:
    """One node with all its details."""
    wanted = node_id(request)
    if wanted is None:
        raise web.HTTPNotFound

    def values(page: Page) -> Values:
        row = next((row for row in page.nodes if row.id == wanted), None)
        return {"node": row, "refreshing": reader_of(request).refreshing}

    return await respond_with(request, "node.html", wanted, values)


async def history(request: web.Request) -> web.Response:
    """The incidents, month by month, some at a time."""
    incidents = shown_incidents(request.app)
    found = page_after(incidents, request.query.get("after", ""), INCIDENTS_ON_LIST)
    if found is None:
        raise web.HTTPNotFound
    some, following = found

    def values(page: Page) -> Values:
        return {"months": page.months(some), "more": following}

    return await respond_with(request, "history.html", some[0].id if some else "", values)


async def incident(request: web.Request) -> web.Response:
    """One incident from its beginning to its end."""
    row = _of_id(shown_incidents(request.app), request)

    def values(page: Page) -> Values:
        return {
            "incident": row,
            "planned": False,
            "over": not row.is_open,
            "title": row.title(page.words),
            "state": "incidents.open" if row.is_open else "incidents.resolved",
            "course": updates(row, page.words),
            "messages": row.said(page.words),
            "nodes": [(node.id, node.name, None if row.manual else node) for node in row.nodes],
            "shown": {node.id for node in page.nodes},
            "refreshing": reader_of(request).refreshing,
        }

    return await respond_with(request, "incident.html", ("incident", row.id), values)


async def maintenance(request: web.Request) -> web.Response:
    """One maintenance from its announcement on."""
    row = _of_id(shown_maintenances(request.app, request.app[CLOCK]()), request)

    def values(page: Page) -> Values:
        return {
            "incident": row,
            "planned": True,
            "over": row.status in ("completed", "cancelled"),
            "title": row.headline(page.words) or row.name(page.words),
            "state": f"planned.{row.status}",
            "course": row.course(page.words),
            "messages": row.said(page.words),
            "nodes": [(id, name, None) for id, name in row.nodes.items()],
            "shown": row.nodes,
            "refreshing": reader_of(request).refreshing,
        }

    return await respond_with(request, "incident.html", ("maintenance", row.id, row.status), values)


Told = TypeVar("Told", IncidentRow, MaintenanceRow)


def _of_id(rows: Sequence[Told], request: web.Request) -> Told:
    """The row that the address names; 404 without one."""
    wanted = request.match_info["id"]
    found = next((row for row in rows if row.id == wanted), None)
    if found is None:
        raise web.HTTPNotFound
    return found


async def banned(request: web.Request) -> web.Response:
    """The banned clients, some at a time."""
    sources = request.app[SOURCES]
    if sources.dashboard().bans == "off":
        raise web.HTTPNotFound
    try:
        bans = page_of_bans(sources.bans(), BANS_ON_LIST, request.query.get("after", ""))
    except BadCursor:
        raise web.HTTPNotFound from None
    return await respond_with(request, "banned.html", bans.place, bans=bans)


async def mine(request: web.Request) -> web.Response:
    """The page on the ban of the visitor's own address, or that there is none."""
    app, asking = request.app, reader_of(request)
    visitor, ban = (
        app[SOURCES].visitor(request.remote or "", request.headers),
        visitors_ban(request),
    )
    values = {
        "page": build(app, asking.words, app[CLOCK]()),
        "words": asking.words,
        "query": asking.query,
        "also": asking.also,
        "ban": ban,
        "network": full_network(ban.network) if ban else "",
        "address": printable(visitor.address) or "—",
    }
    text = templates().get_template("mine.html").render(values)
    response = web.Response(text=text, content_type="text/html")
    response.headers["Cache-Control"] = "no-store"
    return response


async def robots(request: web.Request) -> web.Response:
    """Search engines stay away: what they would show is old, and addresses do not belong there."""
    return respond(request, plain("User-agent: *\nDisallow: /\n"), assets.AGE)


async def respond_with(
    request: web.Request,
    template: str,
    which: Hashable = None,
    values: Callable[[Page], Values] = lambda page: {},
    bans: BansPage = NO_BANS,
) -> web.Response:
    """A page; `which` tells those of one template apart."""
    app, asking = request.app, reader_of(request)

    def make(now: float) -> Steps[Answer]:
        page = build(app, asking.words, now, bans)
        yield
        return (yield from render(template, page, asking, **values(page)))

    return respond(request, await app[RENDERINGS].get((template, which, asking), make))


def newest_bans(app: web.Application, most: int) -> BansPage:
    """The newest bans, if the operator shows any."""
    sources = app[SOURCES]
    shown = sources.dashboard().bans != "off"
    return page_of_bans(sources.bans(), most, "") if shown else NO_BANS


def render(template: str, page: Page, asking: Asking, **values: object) -> Steps[Answer]:
    """A template filled, piece by piece; links keep the language that the reader chose."""
    chosen = {"words": asking.words, "query": asking.query, "also": asking.also}
    pieces = templates().get_template(template).generate(page=page, **chosen, **values)
    return (yield from paged(pieces))
