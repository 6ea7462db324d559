"""Issued keys as JSON. Money is text with decimals, so that nothing is rounded on the way."""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial
from typing import Any

from dashboard.locale.moments import iso
from dashboard.steps import Steps, in_steps
from monitor.keys import DayUse, KeyAccount, NewKey
from monitor.money import written


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
        "expires_at": _moment(record.expires_at),
        "revoked_at": _moment(record.revoked_at),
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


def _moment(at: float | None) -> str | None:
    return None if at is None else iso(at)


def _money(amount: int | None) -> str | None:
    return None if amount is None else written(amount)
