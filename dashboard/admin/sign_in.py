"""Signing in and out."""

from __future__ import annotations

import math
import re

from aiohttp import web

from dashboard.admin.desk import actor, fault, page, see_other, words_for
from dashboard.admin.gate import DESK, FORM, SESSION, session_of, set_cookie, visitor
from dashboard.admin.passwords import LONGEST, Crowded
from dashboard.admin.sessions import Flash
from dashboard.common.context import COMMANDS, SOURCES
from monitor.common.audit import cleaned

ADDRESS = "/admin/sign-in"
HOME = "/admin/"
AUDIT = "/admin/audit"
_OURS = re.compile(r"/admin/[A-Za-z0-9_/-]{0,200}")
"""Addresses that a form may lead back to."""
_LONGEST_AGENT = 120


def add_routes(app: web.Application) -> None:
    """The addresses of signing in and out."""
    app.router.add_get(ADDRESS, form)
    app.router.add_post(ADDRESS, sign_in)
    app.router.add_post("/admin/sign-out", sign_out)
    app.router.add_post("/admin/sign-out-others", sign_out_others)


def own_address(text: str) -> str:
    """The address of a page of the desk, whatever was asked for."""
    return text if _OURS.fullmatch(text) and "//" not in text else HOME


async def form(request: web.Request) -> web.Response:
    """The form, or the desk for those who are signed in."""
    back = own_address(request.query.get("next", ""))
    if session_of(request) is not None:
        return see_other(back)
    return await page(request, "sign_in.html", back=back, wrong=False)


async def sign_in(request: web.Request) -> web.Response:
    """Check the password; a new session if it is right."""
    posted = request[FORM]
    password, back = posted.get("password", [""])[0], own_address(posted.get("next", [""])[0])
    desk, who = request.app[DESK], visitor(request)
    now = desk.clock()
    wait = desk.delay.wait(who.key, now)
    if wait:
        response = fault(request, 429)
        response.headers["Retry-After"] = str(math.ceil(wait))
        return response
    known, commands = request.app[SOURCES].admin().password_hash, request.app[COMMANDS]
    tried = desk.delay.begin(who.key, now)
    given = password if len(password) <= LONGEST else ""
    try:
        right = await desk.check(given, known)
    except Crowded:
        return fault(request, 503)
    if not right:
        if tried & (tried - 1) == 0:  # the first, second, fourth …: guessing must not fill the log
            await commands.note(actor(request), f"sign-in refused ({tried} in a row)")
        return await page(request, "sign_in.html", 403, back=back, wrong=True)
    desk.delay.succeeded(who.key)
    before = session_of(request)
    if before is not None:
        desk.sessions.end(before)
    agent = cleaned(request.headers.get("User-Agent", ""), _LONGEST_AGENT)
    _, token = desk.sessions.begin(known, who.address, agent)
    await commands.note(actor(request), "sign in")
    response = see_other(back)
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
