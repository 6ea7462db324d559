"""The admin API of issued keys."""

from __future__ import annotations

from aiohttp import web

from dashboard.admin import inputs
from dashboard.admin.answers import as_json, as_long_json, guarded
from dashboard.admin.audit import actor
from dashboard.admin.documents import created_document, key_document, key_documents
from dashboard.common.context import CLOCK, COMMANDS
from dashboard.common.steps import unhurried


def add_routes(app: web.Application) -> None:
    """The addresses below /api/admin/keys."""
    app.router.add_get("/api/admin/keys", guarded(listing))
    app.router.add_post("/api/admin/keys", guarded(create))
    app.router.add_delete("/api/admin/keys/{id}", guarded(revoke))
    app.router.add_post("/api/admin/keys/{id}/topup", guarded(top_up))


async def listing(request: web.Request) -> web.Response:
    """All keys, newest first, with what they used lately."""
    days = inputs.days(request.query.get("days"))
    accounts = await request.app[COMMANDS].keys(days)
    told = await unhurried(key_documents(accounts, days, request.app[CLOCK]()))
    return await as_long_json(told)


async def create(request: web.Request) -> web.Response:
    """Issue a key; no other answer has it."""
    now = request.app[CLOCK]()
    order = inputs.order(await request.read(), now)
    made = await request.app[COMMANDS].create_key(order, await actor(request))
    answer = as_json(created_document(made, now), status=201)
    answer.headers["Cache-Control"] = "no-store"
    return answer


async def revoke(request: web.Request) -> web.Response:
    """Let a key be used no more."""
    wanted = request.match_info["id"]
    account = await request.app[COMMANDS].revoke_key(wanted, await actor(request))
    return as_json(key_document(account, request.app[CLOCK]()))


async def top_up(request: web.Request) -> web.Response:
    """Grant more of the quotas that a key has."""
    quota, tokens = inputs.more(await request.read())
    wanted, by = request.match_info["id"], await actor(request)
    account = await request.app[COMMANDS].top_up_key(wanted, quota, tokens, by)
    return as_json(key_document(account, request.app[CLOCK]()))
