"""Issued keys and what they have used, in the database: each function is a part of one transaction.

What changes them begins with a change, so that it waits for its turn before it looks: two that top
up the same key at the same moment both count.
"""

from __future__ import annotations

import secrets
from dataclasses import replace
from typing import Any, cast

from sqlalchemy import CursorResult, func, update
from sqlmodel import Session, col, select

from monitor.common.audit import Actor
from monitor.common.keys import DayUse, KeyBook, KeyFault, KeyRecord, Spent, UnknownKey, topped_up
from monitor.common.money import written
from monitor.store.audit import note, until
from monitor.store.rollups import add_up
from monitor.store.tables import IssuedKeyRow, SecretRow, UseRow

PEPPER = "key_pepper"
_PEPPER_SIZE = 32
_USE = tuple(col(getattr(UseRow, name)) for name in DayUse._fields)


def book(session: Session) -> KeyBook:
    """All that control needs to know of keys."""
    return KeyBook(pepper(session), records(session), spent(session))


def pepper(session: Session) -> str:
    """The secret that digests of keys depend on, in hexadecimal; made when it is first asked for.

    It lives beside the digests, so that a copy of the store is whole.
    """
    fresh = {"name": PEPPER, "value": secrets.token_hex(_PEPPER_SIZE)}
    add_up(session.connection(), SecretRow, [fresh])  # another instance may be as young
    return session.exec(select(SecretRow.value).where(SecretRow.name == PEPPER)).one()


def records(session: Session) -> list[KeyRecord]:
    """All keys, newest first, revoked ones included."""
    rows = session.exec(select(IssuedKeyRow))
    return sorted(map(_record, rows), key=lambda record: (-record.created_at, record.id))


def spent(session: Session) -> dict[str, Spent]:
    """Return the use of each key in all; keys without use are left out."""
    tokens = func.sum(UseRow.input_tokens) + func.sum(UseRow.output_tokens)
    query = select(UseRow.key, func.sum(UseRow.cost), tokens).group_by(col(UseRow.key))
    return {key: Spent(int(cost), int(used)) for key, cost, used in session.exec(query)}


def days(session: Session, first: str, key: str | None = None) -> list[DayUse]:
    """Return the use from this day on ("2026-11-21"), newest first; by one key, or by all."""
    query = select(*_USE).where(col(UseRow.day) >= first)
    if key is not None:
        query = query.where(col(UseRow.key) == key)
    order = (col(UseRow.day).desc(), col(UseRow.key), col(UseRow.model), col(UseRow.basis))
    return [DayUse(*row) for row in session.execute(query.order_by(*order))]


def create(session: Session, record: KeyRecord, by: Actor) -> None:
    """Keep a new key."""
    session.add(IssuedKeyRow(**_columns(record)))
    what = f"create key {record.id} ({record.name}){until(record.expires_at)}{_limits(record)}"
    note(session, by, what, record.created_at)
    session.flush()


def revoke(session: Session, key_id: str, by: Actor, now: float) -> KeyRecord:
    """Let a key be used no more. Raises KeyFault."""
    same = (col(IssuedKeyRow.id) == key_id, col(IssuedKeyRow.revoked_at).is_(None))
    gone = {"revoked_at": now, "revoked_by": by.who}
    changed = session.execute(update(IssuedKeyRow).where(*same).values(gone))
    record = find(session, key_id)
    if not cast("CursorResult[object]", changed).rowcount:
        raise KeyFault(f"{key_id} has been revoked already", "revoked_already", key=key_id)
    note(session, by, f"revoke key {key_id} ({record.name})", now)
    return record


def top_up(
    session: Session, key_id: str, quota: int | None, tokens: int | None, by: Actor, now: float
) -> KeyRecord:
    """Grant a key more of the quotas that it has. Raises KeyFault."""
    same = col(IssuedKeyRow.id) == key_id
    session.execute(update(IssuedKeyRow).where(same).values(name=IssuedKeyRow.name))
    record = find(session, key_id)
    money, all_tokens = topped_up(record, quota, tokens)
    more = {"quota": money, "quota_tokens": all_tokens}
    session.execute(update(IssuedKeyRow).where(same).values(more))
    added = _amounts(quota, tokens)
    note(session, by, f"top up key {key_id} ({record.name}) by {added}", now)
    return replace(record, quota=money, quota_tokens=all_tokens)


def find(session: Session, key_id: str) -> KeyRecord:
    """The key of this id. Raises UnknownKey."""
    row = session.exec(select(IssuedKeyRow).where(IssuedKeyRow.id == key_id)).first()
    if row is None:
        sentence = f'there is no key "{key_id}": see `mirrorgate keys list`'
        raise UnknownKey(sentence, "no_key", key=key_id)
    return _record(row)


def _record(row: IssuedKeyRow) -> KeyRecord:
    columns = row.model_dump()
    models = columns.pop("models")
    return KeyRecord(**columns, models=tuple(models.split(",")) if models else ())


def _columns(record: KeyRecord) -> dict[str, Any]:
    columns = {name: getattr(record, name) for name in IssuedKeyRow.model_fields}
    return {**columns, "models": ",".join(record.models)}


def _limits(record: KeyRecord) -> str:
    amounts = _amounts(record.quota, record.quota_tokens)
    return f", quota {amounts}" if amounts else ""


def _amounts(quota: int | None, tokens: int | None) -> str:
    told = [] if quota is None else [written(quota)]
    return " and ".join([*told, *([] if tokens is None else [f"{tokens} tokens"])])
