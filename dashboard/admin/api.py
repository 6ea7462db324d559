"""The admin API: what the commands do, as JSON over the Unix socket."""

from __future__ import annotations

from functools import partial
from typing import Any

from aiohttp import web

from dashboard.admin import announcements, inputs, keys
from dashboard.admin.answers import as_json, as_long_json, fault, guarded
from dashboard.admin.audit import actor
from dashboard.admin.documents import ban_document, explained, log_document, node_documents
from dashboard.common.context import CLOCK, COMMANDS, SOURCES, STALE_AFTER
from dashboard.common.sources import CommandError, NotThere
from dashboard.common.steps import in_steps, unhurried
from dashboard.i18n.moments import iso
from monitor.common.bans import Ban


def add_routes(app: web.Application) -> None:
    """The addresses below /api/admin/."""
    app.router.add_get("/api/admin/status", guarded(status))
    app.router.add_get("/api/admin/explain", guarded(explain))
    app.router.add_post("/api/admin/reload", guarded(reload))
    app.router.add_get("/api/admin/configuration", guarded(configuration))
    app.router.add_post("/api/admin/mirrors/{id}/wish", guarded(set_override))
    app.router.add_get("/api/admin/mirrors/{id}/transitions", guarded(transitions))
    app.router.add_get("/api/admin/bans", guarded(bans))
    app.router.add_post("/api/admin/bans", guarded(add_ban))
    app.router.add_delete("/api/admin/bans", guarded(remove_bans))
    app.router.add_post("/api/admin/bans/allow", guarded(allow))
    app.router.add_get("/api/admin/audit", guarded(audit))
    keys.add_routes(app)
    announcements.add_routes(app)


def answer(request: web.Request, status: int) -> web.Response:
    """Errors that no handler answers itself."""
    sentences = {404: "no such command", 405: "wrong method", 413: "the body is too large"}
    return fault(status, sentences.get(status, "this failed; the log says why"))


async def status(request: web.Request) -> web.Response:
    """The processes, the configuration and the nodes."""
    sources = request.app[SOURCES]
    told = await request.app[COMMANDS].status()
    config = {"problem": sources.config_problem(), **told.get("config", {})}
    own = {"version": sources.version(), "nodes": all_nodes(request.app)}
    return as_json({**own, **told, "config": config})


async def explain(request: web.Request) -> web.Response:
    """Explain why mirrors are chosen or not, what became of one request, or of the last ones."""
    sources, commands = request.app[SOURCES], request.app[COMMANDS]
    if "recent" in request.query:
        return await as_long_json(await commands.recent(inputs.limit(request.query["recent"])))
    wanted = request.query.get("request")
    if wanted is None:
        told = await commands.explain()
        return as_json(
            explained(all_nodes(request.app), sources.mirrors(), sources.snapshot(), told)
        )
    told = await commands.trace(inputs.request_id(wanted))
    if told["request"] is None:
        silent = ", ".join(map(str, told["silent"]))
        asked = f"; worker {silent} did not answer" if silent else ""
        return fault(404, f"no worker remembers this request: it was long ago, or not here{asked}")
    return as_json({**told["request"], "silent": told["silent"]})


async def reload(request: web.Request) -> web.Response:
    """Take over the configuration file, or say what is wrong with it."""
    try:
        return as_json(await request.app[COMMANDS].reload(await actor(request)))
    except CommandError as error:
        faults = list(error.faults or (str(error),))
        return as_json({"faults": faults, "error": {"message": str(error)}}, status=422)


async def configuration(request: web.Request) -> web.Response:
    """The configuration in effect, and how its file differs, without secrets."""
    told = await request.app[COMMANDS].configuration()
    settings = [each._asdict() for each in told.settings]
    document = {**told._asdict(), "taken_at": iso(told.taken_at), "settings": settings}
    return await as_long_json(document)


async def set_override(request: web.Request) -> web.Response:
    """Use, drain or maintain a mirror."""
    wanted = _mirror(request)
    table = inputs.table(await request.read(), ("wish", "for"))
    override, seconds = inputs.override(table.get("wish")), inputs.seconds(table.get("for"))
    until = None if seconds is None else request.app[CLOCK]() + seconds
    await request.app[COMMANDS].set_override(wanted, override, until, await actor(request))
    node = next(n for n in all_nodes(request.app) if n["id"] == wanted)
    return as_json({**node, **_written(request)})


async def transitions(request: web.Request) -> web.Response:
    """The last changes of a mirror's state, newest first."""
    limit = inputs.limit(request.query.get("limit"))
    told = await request.app[COMMANDS].transitions(_mirror(request), limit)
    changes = [
        {
            "at": iso(each.at),
            "state": each.state.value,
            "verdict": each.verdict,
            "detail": str(each.detail or ""),
            "vantage": each.vantage,
        }
        for each in told
    ]
    return await as_long_json({"transitions": changes})


def _mirror(request: web.Request) -> str:
    """The id of a mirror in the path. Raises NotThere."""
    wanted = request.match_info["id"]
    known = [mirror.id for mirror in request.app[SOURCES].mirrors()]
    if wanted not in known:
        raise NotThere("no_mirror_of_id", mirror=wanted, known=", ".join(known))
    return wanted


async def bans(request: web.Request) -> web.Response:
    """The bans in force, newest first, whole."""
    limit = inputs.limit(request.query.get("limit"))
    known = request.app[SOURCES].bans()
    locate = partial(request.app[SOURCES].locations().of, language="en")

    def document(ban: Ban) -> dict[str, Any]:
        return ban_document(ban, locate(ban.network))

    shown = await unhurried(in_steps(document, known.newest(limit)))
    return await as_long_json({"bans": shown, "total": len(known)})


async def add_ban(request: web.Request) -> web.Response:
    """Ban a network."""
    table = inputs.table(await request.read(), ("network", "for", "reason"))
    ban = await request.app[COMMANDS].add_ban(
        inputs.network(table.get("network")),
        inputs.seconds(table.get("for")),
        inputs.reason(table.get("reason")),
        await actor(request),
    )
    return as_json({**ban_document(ban), **_written(request)}, status=201)


async def remove_bans(request: web.Request) -> web.Response:
    """Lift the bans on a network, or "all"."""
    wanted = request.query.get("network")
    network = None if wanted == "all" else inputs.network(wanted)
    removed = await request.app[COMMANDS].remove_ban(network, await actor(request))
    told = await unhurried(in_steps(ban_document, removed))
    return await as_long_json({"removed": told, **_written(request)})


async def allow(request: web.Request) -> web.Response:
    """Lift the bans on a network and exempt it from automatic ones."""
    table = inputs.table(await request.read(), ("network", "for"))
    network, seconds = inputs.network(table.get("network")), inputs.seconds(table.get("for"))
    await request.app[COMMANDS].allow(network, seconds, await actor(request))
    return as_json({"network": network, "for": seconds, **_written(request)})


async def audit(request: web.Request) -> web.Response:
    """Return changes and their authors, newest first; `next` is where the rest begins."""
    limit = inputs.limit(request.query.get("limit"))
    before = inputs.entry(request.query.get("before"))
    entries = await request.app[COMMANDS].audit(limit, before)
    return await as_long_json(log_document(entries, limit))


def _written(request: web.Request) -> dict[str, bool]:
    """`written` is false while the store cannot be written: a restart then forgets the change."""
    return {"written": not request.app[COMMANDS].unwritten()}


def all_nodes(app: web.Application) -> list[dict[str, Any]]:
    """The nodes as commands tell them."""
    sources = app[SOURCES]
    return node_documents(
        sources.mirrors(),
        sources.snapshot(),
        sources.ejections(),
        sources.dashboard(),
        app[CLOCK](),
        app[STALE_AFTER](),
    )
