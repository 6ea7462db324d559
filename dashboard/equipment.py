"""Parts that both applications of the dashboard have."""

from __future__ import annotations

from collections.abc import Callable

from aiohttp import web

from dashboard.context import CLOCK, RENDERINGS, SOURCES, STALE_AFTER
from dashboard.middleware import add_common_headers
from dashboard.renderings import Renderings
from dashboard.sources import Sources

STALE_AFTER_SECONDS = 180.0


SHORTEST_STALE_AFTER = 60.0
"""The monitor itself says "unknown" sooner; here is the net for a monitor that hangs."""


def equip(
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
