"""The public pages: the status page, one node, the banned clients, how to use the service."""

from __future__ import annotations

import base64
import hashlib
from importlib import resources

import jinja2
from aiohttp import web
from aiohttp.typedefs import Handler
from markupsafe import Markup

from dashboard.answers import Answer, html, plain, respond
from dashboard.context import RENDERINGS, SOURCES, TEMPLATES
from dashboard.locale.moments import lasting
from dashboard.locale.texts import LANGUAGES, Words
from dashboard.public import plain as plain_text
from dashboard.public.charts import bars, shown_percent
from dashboard.public.page import Page, build
from dashboard.public.privacy import printable_lines
from dashboard.public.rows import PHASES
from dashboard.public.view import chosen_language, node_id, wants_html, words_for

BANS_ON_FRONT = 10
BANS_ON_LIST = 500
STATIC_AGE = 86400
STATIC_TYPES = {".css": "text/css", ".svg": "image/svg+xml"}


def add_routes(app: web.Application) -> None:
    """The addresses of the pages and of what they load."""
    app[TEMPLATES] = templates()
    app.router.add_get("/", status)
    app.router.add_get("/nodes/{id}", node)
    app.router.add_get("/history", history)
    app.router.add_get("/banned", banned)
    app.router.add_get("/docs", docs)
    app.router.add_get("/robots.txt", robots)
    app.router.add_get("/static/{name}", _static_handler(_static_files()))


def templates() -> jinja2.Environment:
    """The templates of this package; everything put into them is escaped."""
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("dashboard"),
        autoescape=True,
        finalize=_clean,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.globals["phases"] = PHASES
    environment.globals["bars"] = bars
    environment.globals["shown_percent"] = shown_percent
    environment.globals["lasting"] = lasting
    environment.globals["style_version"] = _static_files()["style.css"].tag[:8]
    environment.globals["all_words"] = {language: Words(language) for language in LANGUAGES}
    return environment


def _clean(value: object) -> object:
    """Text of others loses what cannot be seen; markup of our own macros stays."""
    if isinstance(value, str) and not isinstance(value, Markup):
        return printable_lines(value)
    return value


async def status(request: web.Request) -> web.Response:
    """The status page; as plain text for terminals."""
    if wants_html(request):
        return _page(request, "status.html", BANS_ON_FRONT)
    words = words_for(request)

    def make(now: float) -> Answer:
        page = build(request.app, words, now, BANS_ON_FRONT)
        return plain(plain_text.render(page))

    return respond(request, request.app[RENDERINGS].get(("plain", words), make))


async def node(request: web.Request) -> web.Response:
    """One node with all its details."""
    wanted = node_id(request)
    if wanted is None:
        raise web.HTTPNotFound
    return _page(request, "node.html", 0, wanted)


async def history(request: web.Request) -> web.Response:
    """All incidents, month by month."""
    return _page(request, "history.html", 0)


async def banned(request: web.Request) -> web.Response:
    """The banned clients."""
    if request.app[SOURCES].dashboard().bans == "off":
        raise web.HTTPNotFound
    return _page(request, "banned.html", BANS_ON_LIST)


async def docs(request: web.Request) -> web.Response:
    """How to use the base URL."""
    return _page(request, "docs.html", 0)


async def robots(request: web.Request) -> web.Response:
    """Search engines stay away: what they would show is old, and addresses do not belong there."""
    return respond(request, plain("User-agent: *\nDisallow: /\n"), STATIC_AGE)


def _page(request: web.Request, template: str, bans: int, wanted: str = "") -> web.Response:
    words = words_for(request)
    chosen = chosen_language(request) is not None
    refreshing = request.query.get("refresh") != "off"

    def make(now: float) -> Answer:
        page = build(request.app, words, now, bans)
        row = next((row for row in page.nodes if row.id == wanted), None)
        rendered = render(request.app, template, page, chosen, refreshing, node=row)
        return html(rendered)

    key = (template, wanted, words, chosen, refreshing)
    return respond(request, request.app[RENDERINGS].get(key, make))


def render(
    app: web.Application,
    template: str,
    page: Page,
    chosen: bool,
    refreshing: bool,
    **values: object,
) -> str:
    """A template filled; links keep the language when the reader chose it himself."""
    query = f"?lang={page.words.language}" if chosen else ""
    return (
        app[TEMPLATES]
        .get_template(template)
        .render(page=page, words=page.words, query=query, refreshing=refreshing, **values)
    )


def _static_files() -> dict[str, Answer]:
    folder = resources.files("dashboard") / "static"
    return {entry.name: _static(entry.name, entry.read_bytes()) for entry in folder.iterdir()}


def _static(name: str, content: bytes) -> Answer:
    tag = base64.b32encode(hashlib.blake2b(content, digest_size=15).digest()).decode().lower()
    return Answer(content, STATIC_TYPES[f".{name.rpartition('.')[2]}"], tag)


def _static_handler(files: dict[str, Answer]) -> Handler:
    async def serve(request: web.Request) -> web.StreamResponse:
        found = files.get(request.match_info["name"])
        if found is None:
            raise web.HTTPNotFound
        return respond(request, found, STATIC_AGE)

    return serve
