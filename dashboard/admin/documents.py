"""The JSON of the admin API: nodes, bans, audit log, and issued keys with money as text."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from typing import Any

from dashboard.common.config import DashboardConfig
from dashboard.common.sources import Ejection
from dashboard.common.steps import Steps, in_steps
from dashboard.i18n.moments import iso, iso_if_known
from dashboard.public import rows
from dashboard.public.documents import node_document
from dashboard.public.incidents import IncidentRow, incident_document
from monitor.common.bans import Ban
from monitor.common.config import MirrorConfig
from monitor.common.keys import DayUse, KeyAccount, NewKey
from monitor.common.languages import LANGUAGES
from monitor.common.money import written
from monitor.diagnosis.telling import tell, what
from monitor.health.announcements import Announced, Maintenance, Update
from monitor.health.snapshot import HealthSnapshot, MirrorHealth
from monitor.store.audit import Entry


def node_documents(
    mirrors: Sequence[MirrorConfig],
    snapshot: HealthSnapshot,
    ejections: Mapping[str, Ejection],
    config: DashboardConfig,
    now: float,
    stale_after: float,
) -> list[dict[str, Any]]:
    """Every mirror of the configuration, those not enabled included, with wish and detail."""
    config = dataclasses.replace(config, show_hosts=True)
    documents = []
    for mirror in mirrors:
        health = snapshot.of(mirror.id)
        ejection = ejections.get(mirror.id)
        held_until = snapshot.left_alone_until(mirror.id, mirror.port, now)
        row = rows.node(
            mirror, health, config, now, stale_after, ejection=ejection, held_until=held_until
        )
        told = {
            "wish": str(health.wish),
            "wish_until": iso_if_known(health.wish_until),
            "detail": str(health.detail or ""),
            "why": {language: _why(health, language) for language in LANGUAGES},
            "level": health.level,
            "because": [each.to_json() for each in health.evidence],
            "advice": {each: tell(health.verdict, each).todo for each in LANGUAGES},
        }
        node = node_document(row, snapshot.vantage)
        node["paths"] = [
            {**document, "because": [each.to_json() for each in path.evidence]}
            for document, path in zip(node["paths"], row.paths, strict=True)
        ]
        documents.append({**node, **told, "enabled": mirror.enabled})
    return documents


def _why(health: MirrorHealth, language: str) -> str:
    if health.detail is not None:
        return health.detail.said(language)
    return what(health.verdict, language, health.level)


_TOLD_OF_NODES = ("id", "name", "state", "verdict", "enabled", "wish", "in_rotation", "ejection")


def explained(
    nodes: Sequence[Mapping[str, Any]],
    mirrors: Sequence[MirrorConfig],
    snapshot: HealthSnapshot,
    told: Mapping[str, Any],
) -> dict[str, Any]:
    """Every mirror with what each worker thinks of it; `told` as `Commands.explain` has it."""
    by_id = {mirror.id: mirror for mirror in mirrors}
    documents = []
    for node in nodes:
        mirror = by_id[node["id"]]
        seen = {
            slot: next((each for each in those if each["id"] == mirror.id), None)
            for slot, those in told["workers"].items()
        }
        known = {name: node[name] for name in _TOLD_OF_NODES}
        takes = _takes(mirror, snapshot.of(mirror.id).key_refused)
        documents.append({**known, "takes": takes, "workers": seen})
    return {"policy": told["policy"], "silent": told["silent"], "mirrors": documents}


def _takes(mirror: MirrorConfig, refused: bool) -> dict[str, Any]:
    """The requests that fit; patterns of keys may hold half of a key, so they are not told."""
    patterns = mirror.client_keys
    return {
        "callers_keys": "all" if "*" in patterns else "some" if patterns else "none",
        "own_key": "none" if not mirror.api_key else "refused" if refused else "lent",
        "priority": mirror.priority,
        "paths": list(mirror.paths),
        "models": list(mirror.models),
    }


def ban_document(ban: Ban, location: str = "") -> dict[str, Any]:
    """A ban as it is, and where its network is, if that is known."""
    return {
        "id": ban.id,
        "network": ban.network,
        "location": location,
        "since": iso(ban.since),
        "until": iso_if_known(ban.until),
        "reason": ban.reason,
        "by": ban.by,
        "user_agent": ban.user_agent,
        "count": ban.count,
    }


def log_document(entries: Sequence[Entry], limit: int) -> dict[str, Any]:
    """So many entries of the audit log, and where the rest begins, if there may be one."""
    documents = [
        {"id": e.id, "at": iso(e.at), "who": e.who, "from": e.origin, "what": e.what}
        for e in entries
    ]
    return {"entries": documents, "next": entries[-1].id if len(entries) == limit else None}


def announced_document(
    incidents: Sequence[IncidentRow], announced: Announced, now: float
) -> dict[str, Any]:
    """Incidents with operators' words on them, and planned maintenance."""
    told = []
    for row in incidents:
        edited = announced.edits.get(row.id)
        told.append(
            {
                **incident_document(row, now),
                "title": row.edited_title._asdict() if row.manual or edited else None,
                "mark": announced.mark(row.id),
                "edited_impact": "" if edited is None else edited.impact,
                "updates": updates_document(announced.updates.get(row.id, ())),
            }
        )
    planned = [maintenance_document(each, announced, now) for each in announced.maintenances]
    return {"incidents": told, "maintenances": planned}


def maintenance_document(planned: Maintenance, announced: Announced, now: float) -> dict[str, Any]:
    """A maintenance, and what was said of it."""
    return {
        "id": planned.id,
        "title": planned.title._asdict(),
        "mirrors": list(planned.mirrors),
        "status": planned.status(now),
        "starts_at": iso(planned.starts_at),
        "ends_at": iso(planned.ends_at),
        "created_at": iso(planned.created_at),
        "ended_at": iso_if_known(planned.ended_at),
        "updates": updates_document(announced.updates.get(planned.id, ())),
    }


def updates_document(updates: Iterable[Update]) -> list[dict[str, Any]]:
    """Messages, newest first."""
    return [
        {"id": each.id, "at": iso(each.at), "status": each.status, "text": each.text._asdict()}
        for each in updates
    ]


def key_document(account: KeyAccount, now: float) -> dict[str, Any]:
    """A key, what was granted, used and is left, and the days that were asked for."""
    record, spent, days = account
    left = record.left(spent)
    return {
        "id": record.id,
        "name": record.name,
        "state": record.state(now, spent),
        "created_at": iso(record.created_at),
        "created_by": record.created_by,
        "expires_at": iso_if_known(record.expires_at),
        "revoked_at": iso_if_known(record.revoked_at),
        "revoked_by": record.revoked_by,
        "rate": record.rate,
        "models": list(record.models),
        "quota": _money(record.quota),
        "quota_tokens": record.quota_tokens,
        "used": written(spent.cost),
        "used_tokens": spent.tokens,
        "left": _money(left.money),
        "left_tokens": left.tokens,
        "recent": {
            "requests": sum(day.requests for day in days),
            "tokens": sum(day.input_tokens + day.output_tokens for day in days),
            "cost": written(sum(day.cost for day in days)),
        },
        "use": list(map(_use, days)),
    }


def key_documents(accounts: Iterable[KeyAccount], days: int, now: float) -> Steps[dict[str, Any]]:
    """All keys; `recent` and `use` of each are of the last so many days."""
    told = yield from in_steps(partial(key_document, now=now), accounts)
    return {"days": days, "keys": told}


def created_document(made: NewKey, now: float) -> dict[str, Any]:
    """A new key, with the key itself, and what keeps it from being of use."""
    return {"key": made.key, **key_document(made.account, now), "notes": list(made.notes)}


def _use(day: DayUse) -> dict[str, Any]:
    told = day._asdict()
    del told["key"]
    return {**told, "cost": written(day.cost)}


def _money(amount: int | None) -> str | None:
    return None if amount is None else written(amount)
