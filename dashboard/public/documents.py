"""The public JSON, built field by field: what is not named here is never told."""

from __future__ import annotations

import base64
import binascii
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from dashboard.common.config import DashboardConfig
from dashboard.common.printable import printable
from dashboard.common.sources import BanList, Ejection
from dashboard.common.steps import Steps, in_steps
from dashboard.i18n.moments import iso, iso_if_known
from dashboard.public.rows import BanRow, Node, Overview, PathRow, ban_row, place
from monitor.common.bans import Ban
from monitor.common.languages import LANGUAGES
from monitor.diagnosis.evidence import said
from monitor.diagnosis.telling import tell
from monitor.health.snapshot import VantageHealth
from monitor.health.uptime import Known


class BadCursor(ValueError):
    """An `after` that was not given out by us."""


def nodes_document(rows: Sequence[Node], vantage: str, now: float) -> Steps[dict[str, Any]]:
    """`/api/v1/nodes`."""
    nodes = yield from in_steps(partial(node_document, vantage=vantage), rows)
    others = dict.fromkeys(each.name for row in rows for each in row.vantages)
    return {"generated_at": iso(now), "vantages": [vantage, *others], "nodes": nodes}


def node_document(row: Node, vantage: str) -> dict[str, Any]:
    """One node."""
    state, verdict = str(row.state), row.verdict
    held_until = iso_if_known(row.held_until)
    seen = {"state": state, "verdict": verdict, "latency_ms": dict(row.latency_ms)}
    return {
        "id": row.id,
        "name": row.name,
        "host": row.host,
        "region": row.region,
        "cdn": {"declared": row.cdn_declared, "detected": row.cdn_detected},
        "state": state,
        "since": iso_if_known(row.since),
        "verdict": verdict,
        "summary": {
            language: tell(
                verdict, language, row.level, row.situation, next_try=held_until or ""
            ).summary(language)
            for language in LANGUAGES
        },
        "held_until": held_until,
        "in_rotation": row.in_rotation,
        "ejection": None if row.ejection is None else _ejection_document(row.ejection),
        "last_probe_at": iso_if_known(row.last_probe),
        "dns_verdict": row.dns,
        "certificate_ends": iso_if_known(row.certificate_ends),
        "paths": [_path_document(path) for path in row.paths],
        "vantages": {
            vantage: seen,
            **{each.name: _vantage_document(each) for each in row.vantages},
        },
        "uptime": {name: uptime_document(known) for name, known in row.uptime.items()},
    }


def _vantage_document(seen: VantageHealth) -> dict[str, Any]:
    return {
        "state": str(seen.state),
        "verdict": printable(seen.verdict),
        "latency_ms": dict(seen.latency),
    }


def uptime_document(known: Known) -> dict[str, str | None]:
    """Of one window; percentages are text, rounded down, so that no reader rounds them up.

    There is no percentage of a window that is hardly known (`uptime.ENOUGH_COVERAGE`).
    """
    return {"percent": known.told, "coverage_percent": known.coverage or "0"}


def _ejection_document(ejection: Ejection) -> dict[str, Any]:
    return {
        "cause": ejection.cause,
        "since": iso(ejection.since),
        "until": iso_if_known(ejection.until),
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
        "held_until": iso_if_known(path.until),
        "evidence": list(map(printable, said(path.evidence))),
    }


def health_document(whole: Overview, in_rotation: int, now: float) -> dict[str, Any]:
    """`/api/v1/health`."""
    words = {"ok": "ok", "planned": "ok", "slow": "degraded", "some": "degraded"}
    words |= dict.fromkeys(("early", "offline", "blind"), "unknown")
    words |= dict.fromkeys(("last", "none", "lost", "empty"), "unavailable")
    status = words[whole.kind] if in_rotation else "unavailable"
    return {
        "generated_at": iso(now),
        "status": status,
        "serving": whole.serving,
        "nodes": whole.total,
        "last_resort": whole.kind == "last",
    }


@dataclass(frozen=True, slots=True)
class BansPage:
    """Some of the bans in force, newest first."""

    bans: Sequence[Ban]
    following: str | None
    """The cursor of the next page, if there is one."""

    @property
    def place(self) -> tuple[float, str] | None:
        """The place of its first ban: pages of one length that begin in one place are the same."""
        return place(self.bans[0]) if self.bans else None


def page_of_bans(bans: BanList, limit: int, after: str) -> BansPage:
    """Up to `limit` bans behind this cursor; "" is the beginning. Raises BadCursor."""
    found = bans.newest(limit + 1, _read_cursor(after) if after else None)
    page = found[:limit]
    return BansPage(page, _cursor(page[-1]) if len(found) > limit else None)


def bans_document(
    page: BansPage, config: DashboardConfig, locate: Callable[[str], str] = lambda network: ""
) -> Steps[dict[str, Any]]:
    """`/api/v1/bans`: one page."""
    show = partial(_shown_ban, config=config, locate=locate)
    return {"bans": (yield from in_steps(show, page.bans)), "next": page.following}


def _shown_ban(ban: Ban, config: DashboardConfig, locate: Callable[[str], str]) -> dict[str, Any]:
    return ban_document(ban_row(ban, config, locate))


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
        "until": iso_if_known(row.until),
    }


def _cursor(ban: Ban) -> str:
    return base64.urlsafe_b64encode(f"{ban.since!r} {ban.id}".encode()).decode().rstrip("=")


def _read_cursor(text: str) -> tuple[float, str]:
    try:
        padded = text + "=" * (-len(text) % 4)
        since, _, ban_id = base64.b64decode(padded, b"-_", validate=True).decode().partition(" ")
        began = float(since)
        if not math.isfinite(began):
            raise ValueError("no moment")
        return began, ban_id
    except (binascii.Error, UnicodeError, ValueError) as error:
        raise BadCursor("after: expected the `next` of an earlier answer") from error
