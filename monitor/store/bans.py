"""Bans and allowances in the database: each function is a part of one transaction.

There may be 100,000 bans in force, so questions about one network never walk over all of them.
"""

from __future__ import annotations

import dataclasses
import ipaddress
from collections.abc import Callable, Iterable, Iterator, Sequence

from sqlalchemy import ColumnElement, and_, func, or_, update
from sqlmodel import Session, col, delete, select

from monitor.common.audit import Actor
from monitor.common.bans import Ban, client_network
from monitor.store import audit
from monitor.store.audit import note
from monitor.store.tables import AllowanceRow, BanRow

_FIELDS = tuple(col(getattr(BanRow, field.name)) for field in dataclasses.fields(Ban))
_SAME_TIME = 500
"""Networks asked for in one question: SQLite takes 32,766 parameters, older ones 999."""
_CHUNK = 5_000

Allowance = tuple[str, float | None]
"""A network, and until when: seconds since the epoch, None for good."""


def active(session: Session, now: float) -> list[Ban]:
    """The bans in force, newest first."""
    rows = session.execute(select(*_FIELDS).where(_in_force(now)))
    return sorted((Ban(*row) for row in rows), key=lambda ban: (-ban.since, ban.id))


def changes(session: Session, since: float, now: float) -> tuple[list[Ban], list[Ban]]:
    """The bans in force that began, and those that were lifted, after this moment."""
    begun = select(*_FIELDS).where(_in_force(now), col(BanRow.since) >= since)
    lifted = select(*_FIELDS).where(col(BanRow.lifted_at) >= since)
    return [Ban(*r) for r in session.execute(begun)], [Ban(*r) for r in session.execute(lifted)]


def past_counts(session: Session, networks: Sequence[str]) -> dict[str, int]:
    """Number of former bans of these very networks, lifted bans included; 0 is left out."""
    counts: dict[str, int] = {}
    for some in _in_pieces(networks):
        query = select(BanRow.network, func.count()).where(col(BanRow.network).in_(some))
        counts.update(session.exec(query.group_by(col(BanRow.network))).all())
    return counts


def keep(session: Session, bans: Sequence[Ban], origin: str = "") -> None:
    """Keep bans, each in place of one on the very same network; `origin` as in `Actor`."""
    for ban in bans:
        same = and_(col(BanRow.network) == ban.network, _in_force(ban.since))
        lifted = {"lifted_at": ban.since, "lifted_by": ban.by}
        session.execute(update(BanRow).where(same).values(lifted))
        session.add(BanRow(**dataclasses.asdict(ban)))
        what = f"ban {ban.network}{audit.until(ban.until)}: {ban.reason}"
        note(session, Actor(ban.by, origin), what, ban.since)


def sentence(
    session: Session,
    networks: Sequence[str],
    make: Callable[[str, int], Ban],
    origin: str = "",
) -> list[Ban]:
    """Make and keep a ban on each of these networks; `make` gets its number (1: first)."""
    counts = past_counts(session, networks)
    bans = [make(network, counts.get(network, 0) + 1) for network in networks]
    keep(session, bans, origin)
    return bans


def lift(session: Session, network: str | None, by: Actor, now: float) -> list[Ban]:
    """Lift the bans in force that overlap `network`, or all, and return them. Raises ValueError."""
    wanted = None if network is None else ipaddress.ip_network(client_network(network))
    bans = [b for b in active(session, now) if wanted is None or overlap(b.network, wanted)]
    for some in _in_pieces([ban.id for ban in bans]):
        lifted = {"lifted_at": now, "lifted_by": by.who}
        session.execute(update(BanRow).where(col(BanRow.id).in_(some)).values(lifted))
    if bans:
        note(session, by, f"lift bans of {wanted or 'everybody'}: {len(bans)}", now)
    return bans


def allow(session: Session, row: AllowanceRow, origin: str = "") -> None:
    """Never limit or ban a network automatically; `origin` as in `Actor`."""
    session.merge(row)
    note(session, Actor(row.by, origin), f"allow {row.network}{audit.until(row.until)}", row.at)


def allowances(session: Session, now: float) -> list[Allowance]:
    """The networks that are allowed at present."""
    holds = or_(col(AllowanceRow.until).is_(None), col(AllowanceRow.until) > now)
    query = select(AllowanceRow.network, AllowanceRow.until).where(holds)
    return [(n, u) for n, u in session.exec(query.order_by(AllowanceRow.network))]


def forget(session: Session, before: float, now: float) -> int:
    """Delete bans that ended before this moment, and allowances that have; how many bans."""
    ended = func.coalesce(BanRow.lifted_at, BanRow.until) < before
    old = list(session.exec(select(BanRow.id).where(ended).limit(_CHUNK)))
    for some in _in_pieces(old):
        session.exec(delete(BanRow).where(col(BanRow.id).in_(some)))
    session.exec(delete(AllowanceRow).where(col(AllowanceRow.until) < now))
    return len(old)


def _in_force(now: float) -> ColumnElement[bool]:
    until = col(BanRow.until)
    return and_(or_(until.is_(None), until > now), col(BanRow.lifted_at).is_(None))


def overlap(network: str, wanted: ipaddress.IPv4Network | ipaddress.IPv6Network) -> bool:
    other = ipaddress.ip_network(network)
    return other.version == wanted.version and other.overlaps(wanted)


def _in_pieces(items: Iterable[str]) -> Iterator[list[str]]:
    rest = list(items)
    for start in range(0, len(rest), _SAME_TIME):
        yield rest[start : start + _SAME_TIME]
