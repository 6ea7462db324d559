"""The public past and plans: uptime by window and day, incidents, maintenances, the feed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from aiohttp import web

from dashboard.common.answers import Answer, document, respond, xml
from dashboard.common.context import CLOCK, RENDERINGS, SOURCES
from dashboard.common.steps import Steps, in_steps
from dashboard.public import feed
from dashboard.public.api import VOLATILE, fault, number
from dashboard.public.incidents import Row, incidents_document, maintenances_document, page_after
from dashboard.public.openapi import DEFAULT_PAGE, LARGEST_PAGE, LONGEST_PAST
from dashboard.public.view import node_id, shown_incidents, shown_maintenances, words_for
from monitor.health.past import Day

IN_FEED = 50
"""Incidents, and as many maintenances."""


def add_routes(app: web.Application) -> None:
    """The addresses."""
    app.router.add_get("/api/v1/nodes/{id}/days", days)
    app.router.add_get("/api/v1/incidents", incidents)
    app.router.add_get("/api/v1/maintenances", maintenances)
    app.router.add_get("/feed.atom", atom)


async def days(request: web.Request) -> web.Response:
    """The last days of one node, today last."""
    wanted = node_id(request)
    past = request.app[SOURCES].past()
    if wanted is None:
        return respond(request, fault(404, "no such node: /api/v1/nodes lists them"))
    most = number(request.query.get("n"), LONGEST_PAST, LONGEST_PAST)
    if most is None:
        return respond(request, fault(400, f"n: expected 1 to {LONGEST_PAST}"))

    def make(_: float) -> Steps[Answer]:
        told = yield from in_steps(day_document, past.days.get(wanted, ())[-most:])
        return document({"id": wanted, "timezone": past.zone, "days": told})

    return respond(request, await request.app[RENDERINGS].get(("days", wanted, most), make))


def day_document(day: Day) -> dict[str, Any]:
    """One day: seconds, and percentages as text, so that no reader rounds them up."""
    known = day.known
    return {
        "day": day.date,
        "up_s": known.up // 1000,
        "degraded_s": known.degraded // 1000,
        "down_s": known.down // 1000,
        "maintenance_s": known.maintenance // 1000,
        "unknown_s": known.unknown // 1000,
        "percent": known.uptime,
        "coverage_percent": known.coverage or "0",
    }


async def incidents(request: web.Request) -> web.Response:
    """A page of the incidents, newest first."""
    rows = shown_incidents(request.app)
    return await _some(request, "incidents", rows, incidents_document)


async def maintenances(request: web.Request) -> web.Response:
    """A page of the maintenances, the one that starts last first."""
    now = request.app[CLOCK]()
    rows = shown_maintenances(request.app, now)
    return await _some(request, "maintenances", rows, maintenances_document)


async def _some(
    request: web.Request,
    name: str,
    rows: Sequence[Row],
    tell: Callable[[Sequence[Row], str | None, float], Steps[dict[str, Any]]],
) -> web.Response:
    """A page of a list."""
    limit = number(request.query.get("limit"), LARGEST_PAGE, DEFAULT_PAGE)
    if limit is None:
        return respond(request, fault(400, f"limit: expected 1 to {LARGEST_PAGE}"))
    page = page_after(rows, request.query.get("after", ""), limit)
    if page is None:
        return respond(request, fault(400, "after: expected the `next` of an earlier answer"))
    some, following = page

    def make(now: float) -> Steps[Answer]:
        return document((yield from tell(some, following, now)), 200, VOLATILE)

    key = (name, limit, some[0].id if some else "")
    return respond(request, await request.app[RENDERINGS].get(key, make))


async def atom(request: web.Request) -> web.Response:
    """The newest incidents and maintenances for feed readers."""
    app, words, config = request.app, words_for(request), request.app[SOURCES].dashboard()

    def make(now: float) -> Steps[Answer]:
        planned = shown_maintenances(app, now)[:IN_FEED]
        return xml(
            (yield from feed.render(shown_incidents(app)[:IN_FEED], planned, config, words, now))
        )

    return respond(request, await app[RENDERINGS].get(("feed", words), make), 60)
