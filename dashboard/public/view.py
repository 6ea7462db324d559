"""Parts that several handlers share: the shown nodes, the reader, and the language."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from aiohttp import web

from dashboard.common.answers import negotiated
from dashboard.common.context import RENDERINGS, SOURCES, STALE_AFTER
from dashboard.common.printable import printable
from dashboard.i18n.texts import Words, choose
from dashboard.public import rows
from dashboard.public.incidents import (
    IncidentRow,
    MaintenanceRow,
    incident_rows,
    maintenance_rows,
)
from monitor.common.config import MirrorConfig

TERMINAL = re.compile(r"\b(?:curl|wget|httpie|xh)\b", re.IGNORECASE)


def shown_nodes(app: web.Application, now: float) -> list[rows.Node]:
    """The nodes of this moment."""
    sources = app[SOURCES]

    def make() -> list[rows.Node]:
        return rows.nodes(
            sources.mirrors(),
            sources.snapshot(),
            sources.dashboard(),
            now,
            app[STALE_AFTER](),
            sources.past(),
            sources.ejections(),
        )

    return app[RENDERINGS].value("nodes", int(now), make)


def shown_incidents(app: web.Application) -> list[IncidentRow]:
    """The incidents, newest first."""
    sources = app[SOURCES]
    incidents, mirrors = sources.past().incidents, sources.mirrors()
    announced = sources.announced()

    def make() -> list[IncidentRow]:
        return incident_rows(incidents, _names(mirrors), announced)

    return app[RENDERINGS].value("incidents", Same(incidents, mirrors, announced), make)


def shown_maintenances(app: web.Application, now: float) -> list[MaintenanceRow]:
    """The maintenances, the one that starts last first."""
    sources = app[SOURCES]
    announced, mirrors = sources.announced(), sources.mirrors()

    def make() -> list[MaintenanceRow]:
        return maintenance_rows(announced, _names(mirrors), now)

    return app[RENDERINGS].value("maintenances", (int(now), Same(announced, mirrors)), make)


def _names(mirrors: Sequence[MirrorConfig]) -> dict[str, str]:
    return {mirror.id: printable(mirror.label) for mirror in mirrors if mirror.enabled}


class Same:
    """Equal to another one of the very same objects; large ones are not looked into."""

    def __init__(self, *objects: object) -> None:
        self._objects = objects

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Same) or len(self._objects) != len(other._objects):
            return NotImplemented
        return all(a is b for a, b in zip(self._objects, other._objects, strict=True))

    def __hash__(self) -> int:
        return hash(tuple(map(id, self._objects)))


def node_id(request: web.Request) -> str | None:
    """The id in the path, where a node of that id is shown."""
    wanted = request.match_info["id"]
    known = (mirror.id for mirror in request.app[SOURCES].mirrors() if mirror.enabled)
    return wanted if wanted in known else None


@dataclass(frozen=True, slots=True)
class Asking:
    """The choices of a reader: all that pages depend on, apart from their address."""

    words: Words
    chosen: bool
    """True if the language was chosen by hand, so that links keep it."""
    refreshing: bool
    """True unless a reader without scripts has paused the page."""

    @property
    def query(self) -> str:
        """Of links to other pages."""
        return f"?lang={self.words.language}" if self.chosen else ""

    @property
    def also(self) -> str:
        """The same behind another query."""
        return f"&lang={self.words.language}" if self.chosen else ""


def reader_of(request: web.Request) -> Asking:
    """The reader's choices."""
    refreshing = request.query.get("refresh") != "off"
    return Asking(words_for(request), chosen_language(request) is not None, refreshing)


def words_for(request: web.Request) -> Words:
    """The texts in the reader's language."""
    offered = request.app[SOURCES].dashboard().languages
    wanted = chosen_language(request)
    accepted = "" if wanted else negotiated(request, "Accept-Language")
    return Words(choose(wanted, accepted, offered))


def chosen_language(request: web.Request) -> str | None:
    """The language that the reader chose, if it is offered."""
    wanted = request.query.get("lang")
    return wanted if wanted in request.app[SOURCES].dashboard().languages else None


def wants_html(request: web.Request, previewed: bool = False) -> bool:
    """True if a browser reads, or whoever asks for HTML by name, and not a terminal or a script.

    `previewed`: chats show this page in small; they take whatever comes, as scripts do.
    """
    agent, accepted = negotiated(request, "User-Agent"), negotiated(request, "Accept")
    if "text/html" in accepted:
        return True
    takes = previewed and ("*/*" in accepted or not accepted)
    return takes and not TERMINAL.match(agent)
