"""The public JSON, built field by field: what is not named here is never told."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable, Sequence
from typing import Any

from dashboard.config import DashboardConfig
from dashboard.locale.moments import iso
from dashboard.public.rows import BanRow, Node, Overview, PathRow, ban_rows, place
from dashboard.sources import Ejection
from monitor.bans import Ban
from monitor.history.uptime import Known


class BadCursor(ValueError):
    """An `after` that was not given out by us."""


def nodes_document(rows: Sequence[Node], vantage: str, now: float) -> dict[str, Any]:
    """`/api/v1/nodes`."""
    return {
        "generated_at": iso(now),
        "vantages": [vantage],
        "nodes": [node_document(row, vantage) for row in rows],
    }


def node_document(row: Node, vantage: str) -> dict[str, Any]:
    """One node."""
    state, verdict = str(row.state), row.verdict
    seen = {"state": state, "verdict": verdict, "latency_ms": dict(row.latency_ms)}
    return {
        "id": row.id,
        "name": row.name,
        "host": row.host,
        "region": row.region,
        "cdn": {"declared": row.cdn_declared, "detected": row.cdn_detected},
        "state": state,
        "since": _moment(row.since),
        "verdict": verdict,
        "in_rotation": row.in_rotation,
        "ejection": None if row.ejection is None else _ejection_document(row.ejection),
        "last_probe_at": _moment(row.last_probe),
        "dns_verdict": row.dns,
        "certificate_ends": _moment(row.certificate_ends),
        "paths": [_path_document(path) for path in row.paths],
        "vantages": {vantage: seen},
        "uptime": {name: uptime_document(known) for name, known in row.uptime.items()},
    }


def uptime_document(known: Known) -> dict[str, str | None]:
    """Of one window; percentages are text, rounded down, so that no reader rounds them up."""
    return {"percent": known.uptime, "coverage_percent": known.coverage or "0"}


def _ejection_document(ejection: Ejection) -> dict[str, Any]:
    return {
        "cause": ejection.cause,
        "since": iso(ejection.since),
        "until": _moment(ejection.until),
        "count": ejection.count,
    }


def _path_document(path: PathRow) -> dict[str, Any]:
    return {
        "hostname": path.hostname,
        "address": path.address,
        "standing": path.standing,
        "usable": path.usable,
        "verdict": path.verdict,
        "level": path.level,
        "latency_ms": path.latency_ms,
        "held_until": _moment(path.until),
        "evidence": list(path.evidence),
    }


def health_document(whole: Overview, in_rotation: int, now: float) -> dict[str, Any]:
    """`/api/v1/health`."""
    words = {"ok": "ok", "planned": "ok", "slow": "degraded", "some": "degraded"}
    words |= dict.fromkeys(("early", "offline", "blind"), "unknown")
    words |= {"none": "unavailable", "empty": "unavailable"}
    status = words[whole.kind] if in_rotation else "unavailable"
    return {
        "generated_at": iso(now),
        "status": status,
        "serving": whole.serving,
        "nodes": whole.total,
    }


def bans_document(
    bans: Sequence[Ban],
    config: DashboardConfig,
    limit: int,
    after: str,
    locate: Callable[[str], str] = lambda network: "",
) -> dict[str, Any]:
    """`/api/v1/bans`: one page of `bans`, which come newest first. Raises BadCursor."""
    if after:
        last = _read_cursor(after)
        bans = [ban for ban in bans if place(ban) < last]
    page, more = bans[:limit], len(bans) > limit
    return {
        "bans": [ban_document(row) for row in ban_rows(page, config, locate)],
        "next": _cursor(page[-1]) if more else None,
    }


def ban_document(row: BanRow) -> dict[str, Any]:
    """One ban; `location` is empty where it is unknown."""
    return {
        "id": row.id,
        "ip": row.ip,
        "location": row.location,
        "user_agent": row.user_agent,
        "status": "banned",
        "reason": row.reason,
        "since": iso(row.since),
        "until": _moment(row.until),
    }


def _moment(value: float | None) -> str | None:
    return None if value is None else iso(value)


def _cursor(ban: Ban) -> str:
    return base64.urlsafe_b64encode(f"{ban.since!r} {ban.id}".encode()).decode().rstrip("=")


def _read_cursor(text: str) -> tuple[float, str]:
    try:
        padded = text + "=" * (-len(text) % 4)
        since, _, ban_id = base64.b64decode(padded, b"-_", validate=True).decode().partition(" ")
        return float(since), ban_id
    except (binascii.Error, UnicodeError, ValueError) as error:
        raise BadCursor("after: expected the `next` of an earlier answer") from error
