"""Pages of the desk as responses: what all of them show, and what is known while the store is not.

A page is made for one operator and kept nowhere.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import datetime
from typing import Any, NamedTuple

import jinja2
from aiohttp import web
from markupsafe import Markup

from dashboard.admin.gate import CSRF_FIELD, LIVE, SESSION, is_secure, visitor
from dashboard.admin.unsent import Unsent
from dashboard.common.assets import THEME_SCRIPT_HASH
from dashboard.common.config import DashboardConfig
from dashboard.common.context import CLOCK, SOURCES
from dashboard.common.sources import CommandError
from dashboard.common.steps import in_steps, unhurried
from dashboard.common.templates import templates
from dashboard.i18n.faults import Fault
from dashboard.i18n.moments import ago, iso, lasting, said
from dashboard.i18n.texts import Words, choose
from monitor.common.audit import Actor
from monitor.common.hosts import host_of, is_loopback

HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; style-src 'self'; img-src 'self' data:; "
        f"script-src 'self' 'sha256-{THEME_SCRIPT_HASH}'; connect-src 'self'; "
        "base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
    ),
    "Cache-Control": "no-store",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}
"""Beside those of all pages. Without its own referrers, a browser would send no `Origin` with a
form (https://fetch.spec.whatwg.org/#origin-header)."""
STORE_PATIENCE = 3.0
"""Seconds that a page waits for the store."""
MOST_KEPT = 256
TABS = ("overview", "nodes", "incidents", "bans", "keys", "requests", "configuration", "audit")


class Kept(NamedTuple):
    """Rows from the store."""

    value: Sequence[Any]
    as_of: float | None
    """When it was read, if the store does not answer now; None: it has just been read."""
    problem: Fault | None
    """Why it is not newer; None if it is."""


_LAST: web.AppKey[dict[str, tuple[float, Any]]] = web.AppKey("last_known", dict)


def equip(app: web.Application) -> None:
    """Prepare an application to show pages of the desk."""
    app[_LAST] = {}


async def known(
    app: web.Application, name: str, ask: Callable[[], Awaitable[Sequence[Any]]]
) -> Kept:
    """Rows from the store; those it told last, or none, while it is locked, slow or gone."""
    last, now = app[_LAST], app[CLOCK]()
    problem: Fault
    try:
        async with asyncio.timeout(STORE_PATIENCE):
            value = await ask()
    except TimeoutError:
        problem = Fault("slow_store", seconds=f"{STORE_PATIENCE:g}")
    except CommandError as error:
        problem = error
    else:
        last.pop(name, None)
        last[name] = (now, value)
        if len(last) > MOST_KEPT:
            del last[next(iter(last))]
        return Kept(value, None, None)
    at, value = last.get(name, (None, ()))
    return Kept(value, at, problem)


def actor(request: web.Request) -> Actor:
    """The author of what is done on the desk."""
    return Actor("operator", visitor(request).address or request.remote or "")


def words_for(request: web.Request) -> Words:
    """The texts in the operator's language."""
    offered = request.app[SOURCES].dashboard().languages
    session, wanted = request.get(SESSION), request.query.get("lang")
    if session is not None and wanted in offered:
        session.language = str(wanted)
    chosen = wanted or (session.language if session is not None else "") or None
    return Words(choose(chosen, request.headers.get("Accept-Language", ""), offered))


class Moments:
    """Moments in the operator's time zone, for templates."""

    def __init__(self, words: Words, now: float, zone: str) -> None:
        self.now = now
        self.zone = zone
        self._words = words

    def at(self, moment: float | str | None) -> Markup | str:
        """A moment as `<time>`, to the minute; it may be as JSON has it."""
        return "—" if moment is None else _marked(_seconds(moment), self.text(moment))

    def text(self, moment: float | str) -> str:
        """A moment to the minute."""
        return said(_seconds(moment), self.now, self.zone, self._words)

    def since(self, moment: float | str | None) -> Markup | str:
        """The time since a moment."""
        if moment is None:
            return "—"
        shown = ago(max(0.0, self.now - _seconds(moment)), self._words)
        return _marked(_seconds(moment), shown)

    def lasting(self, seconds: float) -> str:
        """A duration."""
        return lasting(seconds, self._words)


def _seconds(moment: float | str) -> float:
    return datetime.fromisoformat(moment).timestamp() if isinstance(moment, str) else moment


def _marked(moment: float, shown: str) -> Markup:
    return Markup('<time datetime="{}">{}</time>').format(iso(moment), shown)


async def page(
    request: web.Request, template: str, code: int = 200, **values: object
) -> web.Response:
    """A page of the desk, made in short steps: probes and workers share this event loop."""
    pieces = _template(template).generate(_context(request, values))
    text = "".join(await unhurried(in_steps(str, pieces)))
    return web.Response(text=text, status=code, content_type="text/html")


def fault(
    request: web.Request, status: int, why: Fault | None = None, unsent: Unsent | None = None
) -> web.Response:
    """A page that says what is wrong, and what to do; it offers an `unsent` form again."""
    kind = status if status in (400, 403, 404, 405, 409, 413, 429, 503) else 500
    message = why.said(words_for(request)) if why else ""
    context = _context(request, {"kind": kind, "message": message, "unsent": unsent})
    text = _template("fault.html").render(context)
    return web.Response(text=text, status=status, content_type="text/html")


def _template(name: str) -> jinja2.Template:
    return templates().get_template(f"admin/{name}")


def _context(request: web.Request, values: Mapping[str, object]) -> dict[str, object]:
    app, session = request.app, request.get(SESSION)
    sources, words = app[SOURCES], words_for(request)
    config = sources.dashboard()
    flash = None
    if session is not None and LIVE not in request.headers:  # which shows none
        flash = session.take_flash(request.path)
    return {
        "words": words,
        "languages": [Words(code) for code in config.languages if code != words.language],
        "when": Moments(words, app[CLOCK](), config.timezone),
        "title": config.title,
        "version": sources.version(),
        "public_page": public_page(config, host_of(request.host) or ""),
        "session": session,
        "csrf_field": CSRF_FIELD,
        "flash": flash,
        "path": request.path,
        "tabs": TABS,
        "tab": "",
        "config_problem": sources.config_problem(),
        "plain_http": not is_secure(request) and not is_loopback(host_of(request.host) or ""),
        **values,
    }


def public_page(config: DashboardConfig, host: str) -> str:
    """Where the status page is for a browser that calls the desk's machine `host`; empty if it is
    off."""
    if config.public_url or not config.listen or not host:
        return config.public_url
    name = f"[{host}]" if ":" in host else host
    return f"http://{name}:{config.listen.rpartition(':')[2]}/"


def see_other(address: str) -> web.Response:
    """Go on to another page of the desk."""
    return web.Response(status=303, headers={"Location": address})
