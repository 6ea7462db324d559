"""The two aiohttp applications: the public status page, and the operators' desk."""

from __future__ import annotations

import time
from collections.abc import Callable

from aiohttp import web

from dashboard import connections, exposition
from dashboard.admin import api as admin_api
from dashboard.admin import gate
from dashboard.context import CLOCK, COMMANDS, RENDERINGS, SOURCES, STALE_AFTER, VISITORS
from dashboard.middleware import add_common_headers, errors
from dashboard.public import admission, api, error_pages, pages, past
from dashboard.public.admission import PublicGate
from dashboard.renderings import Renderings
from dashboard.sources import Commands, Sources
from dashboard.visitors import Visitors

STALE_AFTER_SECONDS = 180.0
SHORTEST_STALE_AFTER = 60.0
"""The monitor itself says "unknown" sooner; here is the net for a monitor that hangs."""

LARGEST_COMMAND = 65536


def build_public_app(
    sources: Sources,
    clock: Callable[[], float] = time.time,
    *,
    monotonic: Callable[[], float] = time.monotonic,
    stale_after: Callable[[], float] = lambda: STALE_AFTER_SECONDS,
) -> web.Application:
    """The status page and its JSON; serve it with `public_gate`.

    A probe result speaks for `stale_after()` seconds: a few times the probe interval.
    """
    middlewares = [connections.timed, admission.middleware, errors(error_pages.answer)]
    app = web.Application(middlewares=middlewares, client_max_size=1024)
    app[VISITORS] = Visitors(sources, monotonic)
    _equip(app, sources, clock, stale_after)
    pages.add_routes(app)
    api.add_routes(app)
    past.add_routes(app)
    return app


def public_gate(app: web.Application) -> PublicGate:
    """Who may open connections to the status page."""
    return PublicGate(app)


def build_admin_app(
    sources: Sources,
    commands: Commands,
    *,
    trusted: bool,
    clock: Callable[[], float] = time.time,
    stale_after: Callable[[], float] = lambda: STALE_AFTER_SECONDS,
) -> web.Application:
    """The operators' desk.

    `trusted` is for the Unix socket, whose file mode decides who comes: all commands. Otherwise,
    on TCP, only /metrics is there, and the gate decides.
    """
    middlewares = [
        connections.timed,
        errors(admin_api.answer),
        *([] if trusted else [gate.middleware]),
    ]
    app = web.Application(middlewares=middlewares, client_max_size=LARGEST_COMMAND)
    _equip(app, sources, clock, stale_after)
    app[COMMANDS] = commands
    exposition.add_routes(app)
    if trusted:
        admin_api.add_routes(app)
    return app


def _equip(
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
