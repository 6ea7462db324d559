"""A store after years of business: very many bans and issued keys."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

from sqlalchemy import insert
from sqlmodel import Session, SQLModel

from monitor.store.database import open_database
from monitor.store.tables import BanRow, IssuedKeyRow
from router.admission.ban_list import pieces
from router.forwarding.context import WorkerContext
from tests.testkit.instance import Instance


def banned_address(number: int) -> str:
    """The address of this ban."""
    return f"10.{number >> 16}.{number >> 8 & 255}.{number & 255}"


def fill_bans(url: str, many: int) -> None:
    """Ban so many addresses."""
    now = time.time()
    rows = [
        {
            "id": f"{number:012x}",
            "network": f"{banned_address(number)}/32",
            "since": now - number,
            "until": now + 86400,
            "reason": "rate_limit_exceeded",
            "by": "automatic",
            "user_agent": "python-requests/2.31.0",
            "count": 1,
        }
        for number in range(many)
    ]
    _insert(url, BanRow, rows)


def fill_keys(url: str, many: int) -> None:
    """Issue so many keys, which nobody knows."""
    now = time.time()
    rows = [
        {
            "id": f"k{number:012x}",
            "name": f"customer {number}",
            "digest": f"{number:032x}",
            "created_at": 1.0,
            "created_by": "alice",
            "expires_at": now + number + 86400,
            "revoked_at": None,
            "revoked_by": "",
            "rate": 2.5,
            "models": "gpt-4o*,o3",
            "quota": 10**10 + number,
            "quota_tokens": 10**6 + number,
        }
        for number in range(many)
    ]
    _insert(url, IssuedKeyRow, rows)


def _insert(url: str, table: type[SQLModel], rows: Sequence[dict[str, Any]]) -> None:
    database = open_database(url)
    try:
        with Session(database.decisions) as session:
            session.connection().execute(insert(table), rows)
            session.commit()
    finally:
        database.close()


def start(instance: Instance) -> float:
    """Start an instance; the seconds that it took."""
    began = time.monotonic()
    instance.start()
    return time.monotonic() - began


def ban_in(context: WorkerContext, many: int) -> None:
    """Tell a worker's plane of these bans, as control would."""
    rows = [
        (f"{banned_address(number)}/32", 1e12, f"{number:012x}", "rate_limit_exceeded")
        for number in range(many)
    ]
    for piece in pieces(rows):
        context.bans.extend(piece)
