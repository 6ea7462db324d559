"""The pages of the desk: reading only. `actions.py` has what their forms do."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from typing import Any

from aiohttp import web

from dashboard.admin import inputs
from dashboard.admin.api import all_nodes
from dashboard.admin.charts import sparkline, traffic_chart, use_chart
from dashboard.admin.desk import Kept, known, page, words_for
from dashboard.admin.documents import (
    announced_document,
    ban_document,
    explained,
    key_document,
    log_document,
)
from dashboard.admin.traffic import TrafficLog
from dashboard.common.context import CLOCK, COMMANDS, SOURCES
from dashboard.common.sources import Inspected
from dashboard.common.steps import in_steps, unhurried
from dashboard.i18n.texts import Words
from dashboard.public.documents import BadCursor, page_of_bans
from dashboard.public.incidents import IncidentRow
from dashboard.public.privacy import full_network
from dashboard.public.view import shown_incidents
from monitor.common.cost_terms import COST_TERMS
from monitor.diagnosis.classify import judge_step
from monitor.health.announcements import INCIDENT_STATUSES, MAINTENANCE_STATUSES
from monitor.health.incidents import IMPACTS

TRAFFIC: web.AppKey[TrafficLog] = web.AppKey("traffic", TrafficLog)

BANS_ON_PAGE = 100
CLIENTS_ON_PAGE = 20
REQUESTS_ON_PAGE = 200
ENTRIES_ON_PAGE = 100
INCIDENTS_ON_PAGE = 50
TRANSITIONS_ON_PAGE = 100
DAYS_ON_CHART = 30
MANY_NODES = 20
"""Nodes from which on the page has a search."""
LONGEST_SEARCH = 100


def add_routes(app: web.Application) -> None:
    """The addresses of the pages."""
    app.router.add_get("/admin/", overview)
    app.router.add_get("/admin/nodes", nodes)
    app.router.add_get("/admin/nodes/{id}", node)
    app.router.add_get("/admin/incidents", incidents)
    app.router.add_get("/admin/bans", bans)
    app.router.add_get("/admin/keys", keys)
    app.router.add_get("/admin/keys/{id}", key)
    app.router.add_get("/admin/requests", requests)
    app.router.add_get("/admin/configuration", configuration)
    app.router.add_get("/admin/audit", audit)


def serving(nodes: Iterable[Mapping[str, Any]]) -> list[str]:
    """The ids of those that get requests."""
    return [node["id"] for node in nodes if node["enabled"] and node["in_rotation"]]


async def overview(request: web.Request) -> web.Response:
    """The traffic and the nodes of this moment, and what needs a look."""
    app = request.app
    sources, commands, traffic = app[SOURCES], app[COMMANDS], app[TRAFFIC]
    now, course = traffic.now(), traffic.course()
    told = await commands.status()
    clients = commands.open_requests()
    open_incidents = [row for row in shown_incidents(app) if row.is_open]
    lines = {
        "requests": sparkline([point.good + point.failed for point in course]),
        "failed": sparkline([point.failed for point in course]),
        "rescued": sparkline([point.rescued for point in course]),
    }
    return await page(
        request,
        "overview.html",
        tab="overview",
        now=now,
        by_mirror={each.mirror: each for each in now.mirrors},
        rescued=traffic.rescued(),
        watched=traffic.seconds,
        chart=traffic_chart(course),
        lines=lines,
        nodes=all_nodes(app),
        clients=clients[:CLIENTS_ON_PAGE],
        open_in_all=sum(each.requests for each in clients),
        locate=partial(sources.locations().of, language=words_for(request).language),
        waiting=sources.waiting(),
        processes=told,
        incidents=open_incidents,
    )


async def nodes(request: web.Request) -> web.Response:
    """Every mirror and what can be done with it."""
    found = all_nodes(request.app)
    in_use = serving(found)
    by_mirror = {each.mirror: each for each in request.app[TRAFFIC].now().mirrors}
    wanted = request.query.get("find", "").strip()[:LONGEST_SEARCH]
    words = words_for(request)
    return await page(
        request,
        "nodes.html",
        tab="nodes",
        nodes=found,
        shown=[node for node in found if wanted.lower() in _searched(node, words)],
        many=len(found) > MANY_NODES,
        wanted=wanted,
        serving=in_use,
        by_mirror=by_mirror,
    )


def _searched(node: Mapping[str, Any], words: Words) -> str:
    """All that a node is looked for by: its names, its state and its diagnosis."""
    state, verdict = words(f"state.{node['state']}"), words.verdict(node["verdict"])
    parts = (*(node[name] or "" for name in ("id", "name", "host", "region")), state, verdict)
    return "\n".join(parts).lower()


async def node(request: web.Request) -> web.Response:
    """One mirror with every term of the choice, its paths, its past, and the last diagnosis."""
    app, wanted = request.app, request.match_info["id"]
    sources, commands = app[SOURCES], app[COMMANDS]
    found = all_nodes(app)
    mine = next((each for each in found if each["id"] == wanted), None)
    if mine is None:
        raise web.HTTPNotFound
    told = explained(found, sources.mirrors(), sources.snapshot(), await commands.explain())
    choice = next(each for each in told["mirrors"] if each["id"] == wanted)
    past = await known(
        app, f"transitions {wanted}", lambda: commands.transitions(wanted, TRANSITIONS_ON_PAGE)
    )
    words = words_for(request)
    inspected = commands.inspections().get(wanted)
    health = sources.snapshot().of(wanted)
    observed = health.evidence or filter(None, (health.detail,))
    because = dict.fromkeys(map(words.evidence, observed))
    return await page(
        request,
        "node.html",
        tab="nodes",
        node=mine,
        choice=choice,
        policy=told["policy"],
        silent=told["silent"],
        terms=COST_TERMS,
        past=past,
        serving=serving(found),
        inspected=inspected,
        steps=[] if inspected is None else _steps(inspected, words),
        level=health.level,
        because=words.together(*because),
        evidence=[
            (path, list(dict.fromkeys(map(words.evidence, path.evidence)))) for path in health.paths
        ],
    )


def _steps(inspected: Inspected, words: Words) -> list[dict[str, Any]]:
    """The steps of a diagnosis that have arrived."""
    shown = []
    for step in inspected.steps:
        meaning = judge_step(step)
        shown.append(
            {
                "operation": step.operation.value,
                "way": " ".join(filter(None, (step.hostname, step.address))),
                "addresses": ", ".join(step.addresses),
                "seconds": step.seconds,
                "failure": step.failure,
                "status": step.http.status if step.http else None,
                "good": meaning.alive if step.http or step.failure else True,
                "meaning": words.verdict(meaning.verdict) if step.failure or step.http else "",
            }
        )
    return shown


async def incidents(request: web.Request) -> web.Response:
    """Incidents with their stories, and planned maintenance."""
    app = request.app
    now, words = app[CLOCK](), words_for(request)
    rows = open_first(shown_incidents(app))[:INCIDENTS_ON_PAGE]
    announced = app[SOURCES].announced()
    told = announced_document(rows, announced, now)
    titles = {row.id: row.title(words) for row in rows}
    return await page(
        request,
        "incidents.html",
        tab="incidents",
        incidents=told["incidents"],
        maintenances=told["maintenances"],
        titles=titles,
        mirrors=app[SOURCES].mirrors(),
        statuses=INCIDENT_STATUSES,
        severities={row.id: row.severity(words) for row in rows},
        marks={each["id"]: announced.mark(each["id"]) for each in told["maintenances"]},
        known={mirror.id for mirror in app[SOURCES].mirrors()},
        maintenance_statuses=MAINTENANCE_STATUSES,
        impacts=IMPACTS,
        picked=request.query.get("mirror", ""),
    )


def open_first(incidents: Sequence[IncidentRow]) -> list[IncidentRow]:
    """Incidents in their order, but those that go on before those that are over."""
    return sorted(incidents, key=lambda incident: not incident.is_open)


async def bans(request: web.Request) -> web.Response:
    """Bans in force, some at a time, whole; and who is exempt."""
    app, words = request.app, words_for(request)
    sources = app[SOURCES]
    try:
        some = page_of_bans(sources.bans(), BANS_ON_PAGE, request.query.get("after", ""))
    except BadCursor:
        raise web.HTTPNotFound from None
    locate = partial(sources.locations().of, language=words.language)
    documents = await unhurried(
        in_steps(lambda ban: ban_document(ban, locate(ban.network)), some.bans)
    )
    return await page(
        request,
        "bans.html",
        tab="bans",
        bans=documents,
        following=some.following,
        count=len(sources.bans()),
        full_network=full_network,
        allowances=app[COMMANDS].allowances(),
    )


async def keys(request: web.Request) -> web.Response:
    """The issued keys, and a form for a new one."""
    found = await _accounts(request, DAYS_ON_CHART)
    now = request.app[CLOCK]()
    documents = await unhurried(in_steps(lambda a: key_document(a, now), found.value))
    return await page(
        request, "keys.html", tab="keys", keys=documents, kept=found, days=DAYS_ON_CHART
    )


async def key(request: web.Request) -> web.Response:
    """One key and its use by day and model."""
    app, wanted = request.app, request.match_info["id"]
    found = await _accounts(request, DAYS_ON_CHART)
    account = next((each for each in found.value if each.record.id == wanted), None)
    if account is None:
        raise web.HTTPNotFound
    now = app[CLOCK]()
    chart = use_chart(account.days, DAYS_ON_CHART, now)
    document = key_document(account, now)
    return await page(
        request,
        "key.html",
        tab="keys",
        key=document,
        kept=found,
        chart=chart,
        days=DAYS_ON_CHART,
    )


async def _accounts(request: web.Request, days: int) -> Kept:
    commands = request.app[COMMANDS]
    return await known(request.app, "keys", lambda: commands.keys(days))


async def requests(request: web.Request) -> web.Response:
    """The last requests that failed somewhere or took long, or one by its id."""
    commands, wanted = request.app[COMMANDS], request.query.get("id", "").strip()
    one, wrong = None, False
    if wanted:
        try:
            one = (await commands.trace(inputs.request_id(wanted)))["request"]
        except inputs.BadInput:
            wrong = True
    told = await commands.recent(REQUESTS_ON_PAGE)
    return await page(
        request,
        "requests.html",
        tab="requests",
        requests=told["requests"],
        silent=told["silent"],
        wanted=wanted[:64],
        one=one,
        wrong=wrong,
    )


async def configuration(request: web.Request) -> web.Response:
    """The configuration in effect against its file."""
    told = await request.app[COMMANDS].configuration()
    return await page(
        request,
        "configuration.html",
        tab="configuration",
        state=told,
        differing=[each for each in told.settings if each.differs],
    )


async def audit(request: web.Request) -> web.Response:
    """Changes and their authors, newest first."""
    app = request.app
    try:
        before = inputs.entry(request.query.get("before"))
    except inputs.BadInput:
        raise web.HTTPNotFound from None
    found = await known(
        app,
        f"audit {before or ''}",
        lambda: app[COMMANDS].audit(ENTRIES_ON_PAGE, before),
    )
    log = log_document(found.value, ENTRIES_ON_PAGE)
    return await page(request, "audit.html", tab="audit", log=log, kept=found)
