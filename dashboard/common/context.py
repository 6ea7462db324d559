"""Keys of the state that handlers find in their application."""

from __future__ import annotations

from collections.abc import Callable

from aiohttp import web

from dashboard.common.renderings import Renderings
from dashboard.common.sources import Commands, Sources
from dashboard.common.visitors import Visitors

Clock = Callable[[], float]

SOURCES: web.AppKey[Sources] = web.AppKey("sources")
COMMANDS: web.AppKey[Commands] = web.AppKey("commands")
CLOCK: web.AppKey[Clock] = web.AppKey("clock")
RENDERINGS: web.AppKey[Renderings] = web.AppKey("renderings", Renderings)
STALE_AFTER: web.AppKey[Clock] = web.AppKey("stale_after")
VISITORS: web.AppKey[Visitors] = web.AppKey("visitors", Visitors)
