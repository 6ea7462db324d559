"""The description of the public JSON as OpenAPI 3.1: version 1, which is our own, and Statuspage's
version 2. Pure.

Every answer is held to it by tests; fields may be added within a version, never renamed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from monitor.health.announcements import INCIDENT_STATUSES, MAINTENANCE_STATUSES
from monitor.health.incidents import IMPACTS
from monitor.health.snapshot import Standing, State
from monitor.health.uptime import WINDOWS

Schema = dict[str, Any]

LARGEST_PAGE = 200
DEFAULT_PAGE = 50
LONGEST_PAST = 90
"""Days of a node's past."""

_TEXT: Schema = {"type": "string"}
_FLAG: Schema = {"type": "boolean"}
_COUNT: Schema = {"type": "integer", "minimum": 0}
_MOMENT: Schema = {"type": "string", "format": "date-time"}
_PERCENT: Schema = {
    "type": "string",
    "pattern": r"^(100|<0\.01|[0-9]{1,2}(\.[0-9]{2})?)$",
    "description": "rounded down; text, so that no reader rounds it up",
}


def _known(schema: Schema) -> Schema:
    """The same, or null where it is not known."""
    return {**schema, "type": [schema["type"], "null"]}


def _one_of(*values: str) -> Schema:
    return {"type": "string", "enum": list(values)}


def _object(**fields: Schema) -> Schema:
    """An object that has all of these fields."""
    return {"type": "object", "properties": fields, "required": list(fields)}


def _about(description: str, schema: Schema) -> Schema:
    return {**schema, "description": description}


def _list(of: Schema) -> Schema:
    return {"type": "array", "items": of}


def _map(to: Schema) -> Schema:
    return {"type": "object", "additionalProperties": to}


def _ref(name: str) -> Schema:
    return {"$ref": f"#/components/schemas/{name}"}


_LATENCY = {
    "type": "object",
    "description": "milliseconds of the phases of the last good probe, as far as there were any",
    "properties": {phase: _COUNT for phase in ("resolve", "connect", "tls", "first_byte")},
}
_UPTIME = _about(
    "a window; coverage is the part of it in which the monitor was watching",
    _object(percent=_known(_PERCENT), coverage_percent=_PERCENT),
)
_EJECTION = _object(
    cause=_one_of("unreachable", "unanswered", "failing"),
    since=_MOMENT,
    until=_about("null: single requests try whether it has recovered", _known(_MOMENT)),
    count=_COUNT,
)
_PATH = _object(
    hostname=_about("null where the operator hides hosts", _known(_TEXT)),
    address=_known(_TEXT),
    standing=_one_of(*Standing),
    usable=_FLAG,
    verdict=_TEXT,
    level=_one_of("none", "suspected", "confirmed", "cleared"),
    latency_ms=_known(_COUNT),
    held_until=_known(_MOMENT),
    evidence=_list(_TEXT),
)
_COMPONENT = _object(
    id=_about("as in version 1", _TEXT),
    name=_TEXT,
    status=_one_of(
        "operational",
        "degraded_performance",
        "partial_outage",
        "major_outage",
        "under_maintenance",
    ),
    created_at=_MOMENT,
    updated_at=_MOMENT,
    position=_COUNT,
    description=_about("the region, or that the state is unknown", _known(_TEXT)),
    showcase=_FLAG,
    start_date=_known({"type": "string", "format": "date"}),
    group_id={"type": "null"},
    page_id=_TEXT,
    group=_FLAG,
    only_show_if_degraded=_FLAG,
)


def _course(statuses: Sequence[str], impacts: Sequence[str], **more: Schema) -> Schema:
    """Statuspage's form of an incident, and of a maintenance, which has more."""
    update = _object(
        id=_TEXT,
        status=_one_of(*statuses),
        body=_TEXT,
        incident_id=_TEXT,
        created_at=_MOMENT,
        updated_at=_MOMENT,
        display_at=_MOMENT,
        affected_components=_list({}),
    )
    return _object(
        id=_TEXT,
        name=_TEXT,
        status=_one_of(*statuses),
        impact=_one_of(*impacts),
        created_at=_MOMENT,
        started_at=_MOMENT,
        updated_at=_MOMENT,
        monitoring_at=_known(_MOMENT),
        resolved_at=_known(_MOMENT),
        shortlink=_TEXT,
        page_id=_TEXT,
        components=_list(_ref("Component")),
        incident_updates=_about("newest first", _list(update)),
        **more,
    )


_BOTH = _about("either language may be empty", _object(zh=_TEXT, en=_TEXT))
_SCHEMAS: Mapping[str, Schema] = {
    "Error": _object(error=_object(message=_TEXT)),
    "Node": _object(
        id=_TEXT,
        name=_TEXT,
        host=_about("null where the operator hides hosts", _known(_TEXT)),
        region=_TEXT,
        cdn=_object(declared=_FLAG, detected=_TEXT),
        state=_one_of(*State),
        since=_known(_MOMENT),
        verdict=_about("the diagnosis: `ok`, `sni_block_rst`, …", _TEXT),
        in_rotation=_about("new requests may be sent there", _FLAG),
        ejection={"anyOf": [_EJECTION, {"type": "null"}]},
        last_probe_at=_known(_MOMENT),
        summary=_about(
            "what is wrong, how sure that is, what is done", _object(zh=_TEXT, en=_TEXT)
        ),
        held_until=_about(
            "until when all its addresses are left alone; null: one of them is not",
            _known(_MOMENT),
        ),
        dns_verdict=_TEXT,
        certificate_ends=_known(_MOMENT),
        paths=_list(_PATH),
        vantages=_map(_object(state=_one_of(*State), verdict=_TEXT, latency_ms=_LATENCY)),
        uptime=_object(**dict.fromkeys(WINDOWS, _UPTIME)),
    ),
    "Day": _object(
        day={"type": "string", "format": "date"},
        **dict.fromkeys(("up_s", "degraded_s", "down_s", "maintenance_s", "unknown_s"), _COUNT),
        percent=_known(_PERCENT),
        coverage_percent=_PERCENT,
    ),
    "Incident": _object(
        id=_TEXT,
        status=_one_of("open", "resolved"),
        manual=_about("true if an operator opened it, for what no probe sees", _FLAG),
        impact=_one_of(*IMPACTS),
        verdict=_about("empty where an operator opened it", _TEXT),
        cdn=_about("the CDN that the nodes have in common; empty: none", _TEXT),
        started_at=_MOMENT,
        resolved_at=_known(_MOMENT),
        updated_at=_MOMENT,
        title=_about("the operator's own, empty without one", _BOTH),
        updates=_about(
            "messages of the operator, newest first",
            _list(_object(at=_MOMENT, status=_one_of(*INCIDENT_STATUSES), text=_BOTH)),
        ),
        nodes=_list(
            _object(
                id=_TEXT,
                name=_TEXT,
                verdict=_TEXT,
                since=_MOMENT,
                until=_known(_MOMENT),
                times=_about("outages in a row that count as one", _COUNT),
                downtime_s=_about(
                    "seconds that these have lasted together; null: not known", _known(_COUNT)
                ),
            )
        ),
    ),
    "Maintenance": _object(
        id=_TEXT,
        status=_one_of("scheduled", "in_progress", "completed", "cancelled"),
        title=_BOTH,
        created_at=_MOMENT,
        starts_at=_MOMENT,
        ends_at=_about("as planned", _MOMENT),
        ended_at=_about("when it was over or called off", _known(_MOMENT)),
        updated_at=_MOMENT,
        nodes=_list(_object(id=_TEXT, name=_TEXT)),
        updates=_about(
            "messages of the operator, newest first",
            _list(_object(at=_MOMENT, status=_one_of(*MAINTENANCE_STATUSES), text=_BOTH)),
        ),
    ),
    "Ban": _object(
        id=_TEXT,
        ip=_about("an address or network, masked unless the operator says so", _TEXT),
        location=_TEXT,
        user_agent=_TEXT,
        status=_one_of("banned"),
        reason=_TEXT,
        since=_MOMENT,
        until=_about("null: until an operator lifts it", _known(_MOMENT)),
    ),
    "Health": _object(
        generated_at=_MOMENT,
        status=_one_of("ok", "degraded", "unknown", "unavailable"),
        serving=_COUNT,
        nodes=_COUNT,
        last_resort=_about("all probes fail; requests go to the least bad node", _FLAG),
    ),
    "Page": _object(id=_TEXT, name=_TEXT, url=_TEXT, time_zone=_TEXT, updated_at=_MOMENT),
    "Status": _object(
        indicator=_one_of("none", "maintenance", "minor", "major", "critical"), description=_TEXT
    ),
    "Component": _COMPONENT,
    "IncidentOfStatuspage": _course(INCIDENT_STATUSES, IMPACTS),
    "MaintenanceOfStatuspage": _course(
        MAINTENANCE_STATUSES,
        ("maintenance",),
        scheduled_for=_MOMENT,
        scheduled_until=_about("null: until an operator ends it", _known(_MOMENT)),
    ),
    "Badge": _object(
        schemaVersion={"type": "integer", "const": 1},
        label=_TEXT,
        message=_TEXT,
        color=_TEXT,
        isError=_FLAG,
        cacheSeconds=_COUNT,
    ),
}

_NEXT = _about("`after` of the next page; null: this is the last one", _known(_TEXT))
_ID = {"name": "id", "in": "path", "required": True, "schema": _TEXT, "description": "of a node"}
_LANGUAGE = {
    "name": "lang",
    "in": "query",
    "schema": _TEXT,
    "description": "`zh` or `en`; another one counts as none",
}


def _number(name: str, most: int, default: int) -> Schema:
    schema = {"type": "integer", "minimum": 1, "maximum": most, "default": default}
    return {"name": name, "in": "query", "schema": schema}


_PAGED = (
    _number("limit", LARGEST_PAGE, DEFAULT_PAGE),
    {"name": "after", "in": "query", "schema": _TEXT, "description": "`next` of the page before"},
)


def _answer(description: str, schema: Schema, kind: str = "application/json") -> Schema:
    return {"description": description, "content": {kind: {"schema": schema}}}


def _read(
    name: str, summary: str, answers: Mapping[int, Schema], parameters: tuple[Schema, ...] = ()
) -> Schema:
    """A GET with its answers, and those that every address may give."""
    told = {
        304: {"description": "as `If-None-Match` says"},
        429: _answer("too many requests of yours: see `Retry-After`", _ref("Error")),
        503: _answer("too many visitors: see `Retry-After`", _ref("Error")),
        **answers,
    }
    get = {
        "operationId": name,
        "summary": summary,
        "parameters": list(parameters),
        "responses": {str(status): told[status] for status in sorted(told)},
    }
    return {"get": get}


_BAD = _answer("a parameter is wrong; the message says which", _ref("Error"))
_NO_NODE = _answer("no such node", _ref("Error"))
_BADGE = (
    _ID,
    {
        "name": "metric",
        "in": "query",
        "schema": {**_one_of("state", "uptime", "latency"), "default": "state"},
    },
    {
        "name": "window",
        "in": "query",
        "schema": {**_one_of(*WINDOWS), "default": "30d"},
        "description": "of the uptime",
    },
    _LANGUAGE,
)
_PICTURE = "image/svg+xml"
_INCIDENTS = _list(_ref("IncidentOfStatuspage"))
_PLANS = _list(_ref("MaintenanceOfStatuspage"))


def _statuspage(name: str, summary: str, **parts: Schema) -> Schema:
    """One of Statuspage's answers."""
    told = _object(page=_ref("Page"), **parts)
    return _read(name, f"Statuspage: {summary}", {200: _answer(summary, told)}, (_LANGUAGE,))


_PATHS: Mapping[str, Schema] = {
    "/api/v1/nodes": _read(
        "nodes",
        "Every node",
        {
            200: _answer(
                "in the order of the configuration",
                _object(generated_at=_MOMENT, vantages=_list(_TEXT), nodes=_list(_ref("Node"))),
            )
        },
    ),
    "/api/v1/nodes/{id}": _read(
        "node", "One node", {200: _answer("the node", _ref("Node")), 404: _NO_NODE}, (_ID,)
    ),
    "/api/v1/nodes/{id}/days": _read(
        "days",
        "The last days of a node",
        {
            200: _answer(
                "today last; seconds by state",
                _object(id=_TEXT, timezone=_TEXT, days=_list(_ref("Day"))),
            ),
            400: _BAD,
            404: _NO_NODE,
        },
        (_ID, _number("n", LONGEST_PAST, LONGEST_PAST)),
    ),
    "/api/v1/incidents": _read(
        "incidents",
        "Incidents, newest first",
        {
            200: _answer(
                "a page of them",
                _object(generated_at=_MOMENT, incidents=_list(_ref("Incident")), next=_NEXT),
            ),
            400: _BAD,
        },
        _PAGED,
    ),
    "/api/v1/maintenances": _read(
        "maintenances",
        "Planned maintenances, the one that starts last first",
        {
            200: _answer(
                "a page of them",
                _object(generated_at=_MOMENT, maintenances=_list(_ref("Maintenance")), next=_NEXT),
            ),
            400: _BAD,
        },
        _PAGED,
    ),
    "/api/v1/bans": _read(
        "bans",
        "Banned clients, newest first",
        {
            200: _answer("a page of them", _object(bans=_list(_ref("Ban")), next=_NEXT)),
            400: _BAD,
            404: _answer("the operator does not show them", _ref("Error")),
        },
        _PAGED,
    ),
    "/api/v1/health": _read(
        "health",
        "The health of the whole in one word and one status",
        {
            200: _answer("requests can be served", _ref("Health")),
            503: _answer(
                "nothing can serve, or too many visitors",
                {"anyOf": [_ref("Health"), _ref("Error")]},
            ),
        },
    ),
    "/api/v2/summary.json": _statuspage(
        "summary",
        "the whole, its components, and what goes on or is planned",
        components=_list(_ref("Component")),
        incidents=_INCIDENTS,
        scheduled_maintenances=_PLANS,
        status=_ref("Status"),
    ),
    "/api/v2/status.json": _statuspage("status", "the whole", status=_ref("Status")),
    "/api/v2/components.json": _statuspage(
        "components", "the nodes", components=_list(_ref("Component"))
    ),
    "/api/v2/incidents.json": _statuspage(
        "allIncidents", "the newest incidents", incidents=_INCIDENTS
    ),
    "/api/v2/incidents/unresolved.json": _statuspage(
        "unresolvedIncidents", "the incidents that go on", incidents=_INCIDENTS
    ),
    "/api/v2/scheduled-maintenances.json": _statuspage(
        "allMaintenances", "the newest maintenances", scheduled_maintenances=_PLANS
    ),
    "/api/v2/scheduled-maintenances/active.json": _statuspage(
        "activeMaintenances", "those under way", scheduled_maintenances=_PLANS
    ),
    "/api/v2/scheduled-maintenances/upcoming.json": _statuspage(
        "upcomingMaintenances", "those to come", scheduled_maintenances=_PLANS
    ),
    "/badge/{id}.svg": _read(
        "badge",
        "A badge for web pages",
        {
            200: _answer("a picture", _TEXT, _PICTURE),
            400: _answer("a picture that says so", _TEXT, _PICTURE),
            404: _answer("a picture that says so", _TEXT, _PICTURE),
        },
        _BADGE,
    ),
    "/badge/{id}.json": _read(
        "badgeData",
        "The same for shields.io",
        {200: _answer("its content", _ref("Badge")), 400: _BAD, 404: _NO_NODE},
        _BADGE,
    ),
}


def description(title: str, version: str, url: str) -> Schema:
    """The whole description; `url`: where visitors see the status page, as far as it is known."""
    return {
        "openapi": "3.1.0",
        "info": {
            "title": f"{title}: status",
            "version": version,
            "description": "State, past and diagnosis of the nodes. Read only, without a key, from "
            "any web page. Fields may be added; none is renamed within version 1.",
        },
        "servers": [{"url": url.rstrip("/") or "/"}],
        "paths": dict(_PATHS),
        "components": {"schemas": dict(_SCHEMAS)},
    }
