"""Admission to the operators' desk: the name that was asked for, the session, and forged forms.

The desk is in the reach of every page that an operator's browser shows, so a request is believed
only where the browser itself says that it comes from the desk: its `Origin`, its
`Sec-Fetch-Site`, and a token that only pages of the desk can read.
"""

from __future__ import annotations

import hmac
import ipaddress
from collections.abc import Callable
from dataclasses import dataclass
from urllib.parse import parse_qsl, urlsplit

from aiohttp import hdrs, web
from multidict import MultiMapping

from dashboard.admin.passwords import PasswordCheck
from dashboard.admin.sessions import Session, Sessions
from dashboard.admin.sign_in_delay import SignInDelay
from dashboard.common.context import SOURCES
from dashboard.common.sources import Visitor
from dashboard.i18n.faults import Fault
from monitor.common.hosts import host_of, is_loopback

COOKIE = "mirrorgate"
"""The cookie of a session; over TLS with the prefix `__Secure-`, so that nothing but TLS sets it.

Its path is the desk's alone: browsers do not tell ports apart, and the API listener of this host
would be sent it too, and pass it on to a mirror.
"""
PATH = "/admin"
CSRF_FIELD = "csrf"
LIVE = "X-Desk-Live"
"""Sent by pages that keep themselves current: no use of the session."""

MOST_FIELDS = 500
"""Fields of a form: as many mirrors may be chosen, and some more."""

SESSION: web.RequestKey[Session] = web.RequestKey("session", Session)
FORM: web.RequestKey[dict[str, list[str]]] = web.RequestKey("form", dict)
"""The fields of the form that was posted, without the token."""


@dataclass(slots=True)
class Desk:
    """State of the desk of this process."""

    sessions: Sessions
    delay: SignInDelay
    check: PasswordCheck
    clock: Callable[[], float]
    """A monotonic one."""


DESK: web.AppKey[Desk] = web.AppKey("desk", Desk)


def host_fault(host: str, allowed: tuple[str, ...]) -> Fault | None:
    """Return the reason for which a name is not answered; None when it is.

    A name that its owner has pointed at this machine (DNS rebinding) would make pages of that
    owner a part of the desk. An address cannot be pointed elsewhere.
    """
    name = host_of(host)
    if name is None:
        return Fault("no_host")
    if is_loopback(name) or name in {host_of(each) for each in allowed}:
        return None
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return Fault("other_host", name=name)
    return None


def forgery(headers: MultiMapping[str], host: str) -> Fault | None:
    """Return the reason for which a form is taken for another page's; None when it is not."""
    site = headers.get("Sec-Fetch-Site")
    if site is not None and site != "same-origin":
        return Fault("from_elsewhere", site=_word(site))
    origin = headers.get(hdrs.ORIGIN)
    if origin is None:
        return None if site else Fault("no_origin")
    return None if _same_host(origin, host) else Fault("from_another_page")


def _same_host(origin: str, host: str) -> bool:
    """True for the origin of this host; a proxy may have another scheme, but not another port."""
    try:
        parts = urlsplit(origin)
    except ValueError:
        return False
    if parts.scheme not in ("http", "https") or parts.path or parts.query:
        return False
    default = ":443" if parts.scheme == "https" else ":80"
    return parts.netloc.lower().removesuffix(default) == host.lower().removesuffix(default)


def _word(text: str) -> str:
    return text if text in ("cross-site", "same-site", "none") else "?"


async def read_form(request: web.Request) -> str:
    """Keep the fields of a form in the request; returns the token that it carries.

    Read here, as aiohttp would believe any charset that a stranger names. Raises HTTPBadRequest.
    """
    text = (await request.read()).decode("utf-8", "replace")
    try:
        pairs = parse_qsl(text, keep_blank_values=True, max_num_fields=MOST_FIELDS)
    except ValueError:
        raise web.HTTPBadRequest from None
    form: dict[str, list[str]] = {}
    for name, value in pairs:
        form.setdefault(name, []).append(value)
    request[FORM] = form
    return form.pop(CSRF_FIELD, [""])[0]


def has_token(session: Session, given: str) -> bool:
    """True if this is the token of the session's forms."""
    return hmac.compare_digest(given.encode("utf-8", "replace"), session.csrf.encode())


def visitor(request: web.Request) -> Visitor:
    """Return who asks, as the proxies that are trusted say."""
    return request.app[SOURCES].visitor(request.remote or "", request.headers)


def is_secure(request: web.Request) -> bool:
    """True if the browser is asking over TLS, which a trusted proxy may have ended."""
    if request.secure:
        return True
    proto = request.headers.get("X-Forwarded-Proto", "").rpartition(",")[2].strip().lower()
    return proto == "https" and visitor(request).proxied


def cookie_name(*, secure: bool) -> str:
    """The name of the cookie of a session."""
    return f"__Secure-{COOKIE}" if secure else COOKIE


def set_cookie(request: web.Request, response: web.StreamResponse, token: str) -> None:
    """Give the browser its token, or with an empty one take it away."""
    secure = is_secure(request)
    response.set_cookie(
        cookie_name(secure=secure),
        token,
        path=PATH,
        secure=secure,
        httponly=True,
        samesite="Strict",
        max_age=None if token else 0,
    )


def session_of(request: web.Request) -> Session | None:
    """The session of a request."""
    token = request.cookies.get(cookie_name(secure=is_secure(request)), "")
    known, sessions = request.app[SOURCES].admin().password_hash, request.app[DESK].sessions
    return sessions.find(token, known, use=LIVE not in request.headers) if token else None
