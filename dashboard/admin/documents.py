"""The JSON of the admin API: the public one, and what only operators are told."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from dashboard.config import DashboardConfig
from dashboard.locale.moments import iso
from dashboard.public import rows
from dashboard.public.documents import node_document
from dashboard.sources import Ejection
from monitor.bans import Ban
from monitor.config import MirrorConfig
from monitor.health.board import HealthSnapshot
from monitor.history.audit_rows import Entry


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
        row = rows.node(mirror, health, config, now, stale_after, ejection=ejection)
        until = None if health.wish_until is None else iso(health.wish_until)
        told = {"wish": str(health.wish), "wish_until": until, "detail": health.detail}
        documents.append(
            {**node_document(row, snapshot.vantage), **told, "enabled": mirror.enabled}
        )
    return documents


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
    """Which requests fit; patterns of keys may hold half of a key, so they are not told."""
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
        "until": None if ban.until is None else iso(ban.until),
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
