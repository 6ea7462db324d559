"""`/api/v2/`: the status in the form that clients of Statuspage read."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from aiohttp import web
from aiohttp.typedefs import Handler

from dashboard.common.answers import Answer, document, respond
from dashboard.common.context import RENDERINGS, SOURCES
from dashboard.common.steps import Steps
from dashboard.i18n.texts import Words
from dashboard.public.incidents import IncidentRow
from dashboard.public.page import build
from dashboard.public.statuspage import Board
from dashboard.public.view import shown_maintenances, words_for

Document = dict[str, Any]


def add_routes(app: web.Application) -> None:
    """The addresses that Statuspage has."""
    for path, make in _DOCUMENTS.items():
        app.router.add_get(f"/api/v2/{path}.json", _handler(path, make))


def _handler(path: str, make: Callable[[Board], Steps[Document]]) -> Handler:
    async def serve(request: web.Request) -> web.StreamResponse:
        app, words = request.app, words_for(request)

        def render(now: float) -> Steps[Answer]:
            return document((yield from make(board(app, words, now))))

        return respond(request, await app[RENDERINGS].get((path, words), render))

    return serve


def board(app: web.Application, words: Words, now: float) -> Board:
    """The content of the answers of this moment."""
    page, config = build(app, words, now), app[SOURCES].dashboard()
    planned = shown_maintenances(app, now)
    return Board(
        config, words, now, page.overview, page.banner, page.nodes, page.incidents, planned
    )


def _summary(board: Board) -> Steps[Document]:
    components = yield from board.components()
    incidents = yield from board.told(board.unresolved())
    return board.document(
        components=components,
        incidents=incidents,
        scheduled_maintenances=board.maintenances("scheduled", "in_progress"),
        status=board.status(),
    )


def _status(board: Board) -> Steps[Document]:
    yield
    return board.document(status=board.status())


def _components(board: Board) -> Steps[Document]:
    return board.document(components=(yield from board.components()))


def _incidents(board: Board, rows: Sequence[IncidentRow]) -> Steps[Document]:
    return board.document(incidents=(yield from board.told(rows)))


def _maintenances(board: Board, *wanted: str) -> Steps[Document]:
    yield
    return board.document(scheduled_maintenances=board.maintenances(*wanted))


_DOCUMENTS: Mapping[str, Callable[[Board], Steps[Document]]] = {
    "summary": _summary,
    "status": _status,
    "components": _components,
    "incidents": lambda board: _incidents(board, board.incidents),
    "incidents/unresolved": lambda board: _incidents(board, board.unresolved()),
    "scheduled-maintenances": _maintenances,
    "scheduled-maintenances/active": lambda board: _maintenances(board, "in_progress"),
    "scheduled-maintenances/upcoming": lambda board: _maintenances(board, "scheduled"),
}
