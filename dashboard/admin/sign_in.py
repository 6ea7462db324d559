"""Signing in and out."""

from __future__ import annotations

import math

from aiohttp import web

from dashboard.admin.desk import actor, page, see_other, words_for
from dashboard.admin.gate import DESK, FORM, SESSION, session_of, set_cookie, visitor
from dashboard.admin.passwords import LONGEST, Crowded
from dashboard.admin.sessions import Flash
from dashboard.admin.unsent import Unsent, carried, own_address, posted
from dashboard.common.context import COMMANDS, SOURCES
from monitor.common.audit import cleaned

ADDRESS = "/admin/sign-in"
AUDIT = "/admin/audit"
_LONGEST_AGENT = 120


def add_routes(app: web.Application) -> None:
    """The addresses of signing in and out."""
    app.router.add_get(ADDRESS, form)
    app.router.add_post(ADDRESS, sign_in)
    app.router.add_post("/admin/sign-out", sign_out)
    app.router.add_post("/admin/sign-out-others", sign_out_others)


async def form(request: web.Request) -> web.Response:
    """The form, or the desk for those who are signed in."""
    back = own_address(request.query.get("next", ""))
    if session_of(request) is not None:
        return see_other(back)
    return await _shown(request, 200, "", back, Unsent())


async def ended(request: web.Request) -> web.Response:
    """The form to sign in, for a form of the desk whose session is no more; it carries that."""
    fields = request[FORM]
    unsent = posted(request.path, fields)
    said = "desk.ended" if unsent.name else ""
    return await _shown(request, 403 if said else 200, said, unsent.back, unsent)


async def _shown(
    request: web.Request, status: int, problem: str, back: str, unsent: Unsent
) -> web.Response:
    """The form to sign in; `problem`: the key of what is to be said above it."""
    return await page(
        request, "sign_in.html", status, problem=problem, back=back, carried=unsent.carried
    )


async def sign_in(request: web.Request) -> web.Response:
    """Check the password; a new session if it is right."""
    given_form = request[FORM]
    password, back = given_form.get("password", [""])[0], given_form.get("next", [""])[0]
    back, unsent = own_address(back), carried(given_form)
    desk, who = request.app[DESK], visitor(request)
    now = desk.clock()
    wait = desk.delay.wait(who.key, now)
    if wait:
        response = await _shown(request, 429, "desk.fault.429", back, unsent)
        response.headers["Retry-After"] = str(math.ceil(wait))
        return response
    known, commands = request.app[SOURCES].admin().password_hash, request.app[COMMANDS]
    tried = desk.delay.begin(who.key, now)
    given = password if len(password) <= LONGEST else ""
    try:
        right = await desk.check(given, known)
    except Crowded:
        return await _shown(request, 503, "desk.fault.503", back, unsent)
    if not right:
        if tried & (tried - 1) == 0:  # the first, second, fourth …: guessing must not fill the log
            await commands.note(actor(request), f"sign-in refused ({tried} in a row)")
        return await _shown(request, 403, "desk.wrong", back, unsent)
    desk.delay.succeeded(who.key)
    before = session_of(request)
    if before is not None:
        desk.sessions.end(before)
    agent = cleaned(request.headers.get("User-Agent", ""), _LONGEST_AGENT)
    session, token = desk.sessions.begin(known, who.address, agent)
    session.flash = unsent.offered(words_for(request))
    await commands.note(actor(request), "sign in")
    response = see_other(unsent.back if unsent.name else back)
    set_cookie(request, response, token)
    return response


async def sign_out(request: web.Request) -> web.Response:
    """End this session."""
    request.app[DESK].sessions.end(request[SESSION])
    await request.app[COMMANDS].note(actor(request), "sign out")
    response = see_other(ADDRESS)
    set_cookie(request, response, "")
    return response


async def sign_out_others(request: web.Request) -> web.Response:
    """End all other sessions."""
    session = request[SESSION]
    ended = request.app[DESK].sessions.end_others(session)
    await request.app[COMMANDS].note(actor(request), f"sign out {ended} other sessions")
    session.flash = Flash(words_for(request).plural("desk.done.others", ended), back=AUDIT)
    return see_other(AUDIT)
