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
