"""The admin API of incidents and planned maintenance."""

from __future__ import annotations

from aiohttp import web

from dashboard.admin import inputs
from dashboard.admin.answers import as_json, as_long_json, guarded
from dashboard.admin.audit import actor
from dashboard.admin.documents import announced_document, maintenance_document
from dashboard.common.context import CLOCK, COMMANDS, SOURCES
from dashboard.i18n.moments import iso
from dashboard.public.view import shown_incidents
from monitor.health.announcements import IncidentEdit


def add_routes(app: web.Application) -> None:
    """The addresses below /api/admin/incidents and /api/admin/maintenances."""
    app.router.add_get("/api/admin/incidents", guarded(listing))
    app.router.add_post("/api/admin/incidents", guarded(open_))
    app.router.add_post("/api/admin/incidents/{id}", guarded(edit))
    app.router.add_post("/api/admin/incidents/{id}/updates", guarded(update))
    app.router.add_post("/api/admin/maintenances", guarded(plan))
    app.router.add_delete("/api/admin/maintenances/{id}", guarded(end))


async def listing(request: web.Request) -> web.Response:
    """The newest incidents with operators' words on them, and planned maintenance."""
    limit = inputs.limit(request.query.get("limit"))
    app = request.app
    rows, announced = shown_incidents(app)[:limit], app[SOURCES].announced()
    return await as_long_json(announced_document(rows, announced, app[CLOCK]()))


async def open_(request: web.Request) -> web.Response:
    """Tell of something that the monitor does not see."""
    now = request.app[CLOCK]()
    table = inputs.table(await request.read(), ("title", "impact", "mirrors", "started_at", "text"))
    title, impact, mirrors, began, text = inputs.opened(table, now)
    made = await request.app[COMMANDS].open_incident(
        title, impact, mirrors, began, text, await actor(request)
    )
    return as_json(
        {
            "id": made.id,
            "title": title._asdict(),
            "impact": impact,
            "mirrors": list(mirrors),
            "started_at": iso(began),
            "text": text._asdict(),
        },
        status=201,
    )


async def edit(request: web.Request) -> web.Response:
    """Give an incident a title and an impact of one's own, or take them back."""
    table = inputs.table(await request.read(), ("title", "impact"))
    title = inputs.words(table.get("title"), "title", inputs.LONGEST_TITLE, required=False)
    change = IncidentEdit(request.match_info["id"], title, inputs.impact(table.get("impact")))
    await request.app[COMMANDS].edit_incident(change, await actor(request))
    return as_json({"id": change.incident, "title": title._asdict(), "impact": change.impact})


async def update(request: web.Request) -> web.Response:
    """Add a message about an incident or a maintenance."""
    table, about = inputs.table(await request.read(), ("status", "text")), request.match_info["id"]
    planned = request.app[SOURCES].announced().find(about) is not None
    status = inputs.update_status(table.get("status"), maintenance=planned)
    text = inputs.words(table.get("text"), "text", inputs.LONGEST_MESSAGE)
    await request.app[COMMANDS].update_incident(about, status, text, await actor(request))
    return as_json({"id": about, "status": status, "text": text._asdict()}, status=201)


async def plan(request: web.Request) -> web.Response:
    """Take mirrors out of use from one moment to another."""
    now = request.app[CLOCK]()
    table = inputs.table(await request.read(), ("mirrors", "starts_at", "for", "title"))
    mirrors = inputs.mirror_ids(table.get("mirrors"))
    starts_at, ends_at = inputs.stretch(table.get("starts_at"), table.get("for"), now)
    title = inputs.words(table.get("title"), "title", inputs.LONGEST_TITLE, required=False)
    planned = await request.app[COMMANDS].plan_maintenance(
        mirrors, starts_at, ends_at, title, await actor(request)
    )
    announced = request.app[SOURCES].announced()
    return as_json(maintenance_document(planned, announced, now), status=201)


async def end(request: web.Request) -> web.Response:
    """Call a maintenance off, or end it before its time."""
    wanted = request.match_info["id"]
    planned = await request.app[COMMANDS].end_maintenance(wanted, await actor(request))
    app = request.app
    return as_json(maintenance_document(planned, app[SOURCES].announced(), app[CLOCK]()))
