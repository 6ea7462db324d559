"""What handlers find in their application."""

from __future__ import annotations

from collections.abc import Callable

import jinja2
from aiohttp import web

from dashboard.answers import Renderings
from dashboard.sources import Commands, Sources

Clock = Callable[[], float]

SOURCES: web.AppKey[Sources] = web.AppKey("sources")
COMMANDS: web.AppKey[Commands] = web.AppKey("commands")
CLOCK: web.AppKey[Clock] = web.AppKey("clock")
RENDERINGS: web.AppKey[Renderings] = web.AppKey("renderings", Renderings)
STALE_AFTER: web.AppKey[Clock] = web.AppKey("stale_after")
TEMPLATES: web.AppKey[jinja2.Environment] = web.AppKey("templates", jinja2.Environment)
