"""The operators' desk as an aiohttp application."""

from __future__ import annotations

import time
from collections.abc import Callable
from urllib.parse import quote

from aiohttp import web
from aiohttp.typedefs import Handler

from dashboard.admin import access, actions, answers, desk, exposition, pages, sign_in, unsent
from dashboard.admin import api as admin_api
from dashboard.admin.gate import (
    DESK,
    FORM,
    SESSION,
    Desk,
    forgery,
    has_token,
    host_fault,
    read_form,
    session_of,
)
from dashboard.admin.passwords import PasswordCheck
from dashboard.admin.sessions import Sessions
from dashboard.admin.sign_in_delay import SignInDelay
from dashboard.admin.traffic import TrafficLog
from dashboard.admin.unsent import HOME, own_address
from dashboard.common import assets, connections
from dashboard.common.context import COMMANDS, SOURCES
from dashboard.common.middleware import STALE_AFTER_SECONDS, equip, errors
from dashboard.common.sources import Commands, Sources
from dashboard.i18n.faults import Fault

LARGEST_COMMAND = 65536
FORM_TYPE = "application/x-www-form-urlencoded"


def build_admin_app(
    sources: Sources,
    commands: Commands,
    *,
    trusted: bool,
    traffic: TrafficLog | None = None,
    clock: Callable[[], float] = time.time,
    monotonic: Callable[[], float] = time.monotonic,
    stale_after: Callable[[], float] = lambda: STALE_AFTER_SECONDS,
) -> web.Application:
    """The operators' desk.

    `trusted` is for the Unix socket, whose file mode decides who comes: the commands as JSON.
    Otherwise, on TCP, there are /metrics and the pages, and the gates decide. `traffic` is kept up
    by the caller.
    """
    middlewares = [
        connections.timed,
        errors(admin_api.answer if trusted else answer),
        *([] if trusted else [gate]),
    ]
    app = web.Application(middlewares=middlewares, client_max_size=LARGEST_COMMAND)
    equip(app, sources, clock, stale_after)
    app[COMMANDS] = commands
    exposition.add_routes(app)
    if trusted:
        admin_api.add_routes(app)
        return app
    app[DESK] = Desk(Sessions(monotonic), SignInDelay(), PasswordCheck(), monotonic)
    app[pages.TRAFFIC] = traffic or TrafficLog(sources, monotonic)
    desk.equip(app)
    app.on_response_prepare.append(add_headers)
    assets.add_routes(app, assets.DESK)
    sign_in.add_routes(app)
    pages.add_routes(app)
    actions.add_routes(app)
    return app


def answer(request: web.Request, status: int) -> web.Response:
    """Errors that no handler answers itself."""
    if request.path.startswith("/admin") and request.app[SOURCES].admin().password_hash:
        return desk.fault(request, status)
    return admin_api.answer(request, status)


async def add_headers(request: web.Request, response: web.StreamResponse) -> None:
    """Signal handler: pages of the desk are framed, cached and scripted by nobody else."""
    if request.path.startswith("/admin") and not request.path.startswith("/admin/static/"):
        response.headers.update(desk.HEADERS)


@web.middleware
async def gate(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Refuse, ask to sign in, or go on."""
    path = request.path
    if path == "/metrics":
        return await access.middleware(request, handler)
    if path != "/" and not path.startswith(("/admin", "/static/")):
        raise web.HTTPNotFound
    config = request.app[SOURCES].admin()
    refused = host_fault(", ".join(request.headers.getall("Host", ())), config.hosts)
    if refused:
        return answers.fault(403, refused.said(desk.words_for(request)))
    if path.startswith(("/static/", "/admin/static/")):
        return await handler(request)
    if not config.password_hash:
        return await desk.page(request, "off.html", 403)
    if path in ("/", "/admin"):
        return desk.see_other(HOME)
    return await _signed_in(request, handler)


async def _signed_in(request: web.Request, handler: Handler) -> web.StreamResponse:
    session = session_of(request)
    if session is not None:
        request[SESSION] = session
    posted, token = request.method not in ("GET", "HEAD"), ""
    if posted:
        if request.content_type != FORM_TYPE:
            raise web.HTTPMethodNotAllowed(request.method, ("GET", "HEAD"))
        if refused := forgery(request.headers, request.host):
            return desk.fault(request, 403, refused)
        token = await read_form(request)
    if request.path == sign_in.ADDRESS:
        return await handler(request)
    if session is None:
        if posted:
            return await sign_in.ended(request)
        back = own_address(request.path)
        return desk.see_other(f"{sign_in.ADDRESS}?next={quote(back)}")
    if posted and not has_token(session, token):
        fields = request[FORM]
        kept = unsent.posted(request.path, fields)
        return desk.fault(request, 403, Fault("other_session"), kept)
    return await handler(request)
