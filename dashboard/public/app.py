"""The public status page as an aiohttp application."""

from __future__ import annotations

import time
from collections.abc import Callable

from aiohttp import web

from dashboard.common import connections
from dashboard.common.context import VISITORS
from dashboard.common.middleware import STALE_AFTER_SECONDS, equip, errors
from dashboard.common.sources import Sources
from dashboard.common.steps import in_steps, unhurried
from dashboard.common.templates import templates
from dashboard.common.visitors import Visitors
from dashboard.public import (
    admission,
    api,
    api_v2,
    badges,
    error_pages,
    guide_pages,
    live,
    pages,
    past,
)
from dashboard.public.admission import PublicGate


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
    slashes = web.normalize_path_middleware(
        append_slash=False,
        remove_slash=True,
        merge_slashes=False,
        redirect_class=web.HTTPPermanentRedirect,
    )
    middlewares = [
        connections.timed,
        admission.middleware,
        slashes,
        errors(error_pages.answer),
        api.preflight,
    ]
    app = web.Application(middlewares=middlewares, client_max_size=1024)
    app[VISITORS] = Visitors(sources, monotonic)
    equip(app, sources, clock, stale_after)
    pages.add_routes(app)
    guide_pages.add_routes(app)
    api.add_routes(app)
    past.add_routes(app)
    live.add_routes(app)
    api_v2.add_routes(app)
    badges.add_routes(app)
    app.on_startup.append(_compile_templates)
    return app


async def _compile_templates(app: web.Application) -> None:
    """Compile them before there are visitors: each is one step, which probes would wait for."""
    environment = templates()
    names = environment.list_templates(filter_func=lambda name: not name.startswith("admin/"))
    await unhurried(in_steps(environment.get_template, names))


def public_gate(app: web.Application) -> PublicGate:
    """Return the gate for connections to the status page."""
    return PublicGate(app)
