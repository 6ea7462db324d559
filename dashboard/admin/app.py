"""The operators' desk as an aiohttp application."""

from __future__ import annotations

import time
from collections.abc import Callable

from aiohttp import web

from dashboard.admin import access, exposition
from dashboard.admin import api as admin_api
from dashboard.common import connections
from dashboard.common.context import COMMANDS
from dashboard.common.middleware import STALE_AFTER_SECONDS, equip, errors
from dashboard.common.sources import Commands, Sources

LARGEST_COMMAND = 65536


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
        *([] if trusted else [access.middleware]),
    ]
    app = web.Application(middlewares=middlewares, client_max_size=LARGEST_COMMAND)
    equip(app, sources, clock, stale_after)
    app[COMMANDS] = commands
    exposition.add_routes(app)
    if trusted:
        admin_api.add_routes(app)
    return app
