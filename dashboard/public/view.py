"""What several handlers ask: which nodes are shown, who reads, and in which language."""

from __future__ import annotations

import re

from aiohttp import web

from dashboard.context import RENDERINGS, SOURCES, STALE_AFTER
from dashboard.locale.texts import Words, choose
from dashboard.public import rows

_TERMINAL = re.compile(r"(?:curl|wget|httpie)\b", re.IGNORECASE)


def shown_nodes(app: web.Application, now: float) -> list[rows.Node]:
    """The nodes of this moment."""
    sources = app[SOURCES]
    return rows.nodes(
        sources.mirrors(), sources.snapshot(), sources.dashboard(), now, app[STALE_AFTER]()
    )


def shown_bans(app: web.Application) -> list[rows.BanRow]:
    """The bans of this second, as far as they are shown."""
    sources = app[SOURCES]
    return app[RENDERINGS].get("bans", lambda _: rows.ban_rows(sources.bans(), sources.dashboard()))


def node_id(request: web.Request) -> str | None:
    """The id in the path, where a node of that id is shown."""
    wanted = request.match_info["id"]
    known = (mirror.id for mirror in request.app[SOURCES].mirrors() if mirror.enabled)
    return wanted if wanted in known else None


def words_for(request: web.Request) -> Words:
    """The texts in the reader's language."""
    offered = request.app[SOURCES].dashboard().languages
    accepted = request.headers.get("Accept-Language", "")
    return Words(choose(request.query.get("lang"), accepted, offered))


def wants_html(request: web.Request) -> bool:
    """Whether a browser reads, and not a terminal or a script."""
    if _TERMINAL.match(request.headers.get("User-Agent", "")):
        return False
    return "text/html" in request.headers.get("Accept", "")
