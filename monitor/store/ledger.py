"""Use of issued keys, in the database: each function is a part of one transaction."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from sqlmodel import Session, col, delete

from monitor.common.keys import DayUse, Spent
from monitor.store.rollups import add_up, insert_into, plain_text
from monitor.store.tables import LedgerBatchRow, UseRow

_SUMS = DayUse._fields[4:]
_NAMES = DayUse._fields[:4]


class Batch(NamedTuple):
    """The use that a worker process sums up, and the number of that batch."""

    process: str
    seq: int
    uses: tuple[DayUse, ...]


def write(session: Session, batches: Iterable[Batch], now: float) -> dict[str, Spent]:
    """Write batches, none twice; what the keys have used more than before."""
    spent: dict[str, Spent] = {}
    for batch in batches:
        if _is_new(session, batch, now):
            _add(session, batch.uses)
            for use in batch.uses:
                more = Spent(use.cost, use.input_tokens + use.output_tokens)
                spent[use.key] = spent.get(use.key, Spent()).and_also(more)
    return spent


def forget(session: Session, before: float) -> None:
    """Forget the numbers of processes that have not been heard of since then."""
    session.execute(delete(LedgerBatchRow).where(col(LedgerBatchRow.at) < before))


def _is_new(session: Session, batch: Batch, now: float) -> bool:
    """Note the number of a batch, unless it or a later one has been noted. A change comes first,
    so that this transaction waits for its turn before it looks."""
    statement = insert_into(session.connection(), LedgerBatchRow)
    statement = statement.on_conflict_do_update(
        index_elements=["process"],
        set_={"seq": statement.excluded.seq, "at": statement.excluded.at},
        where=col(LedgerBatchRow.seq) < statement.excluded.seq,
    )
    row = {"process": batch.process, "seq": batch.seq, "at": now}
    noted = statement.values(row).returning(col(LedgerBatchRow.seq))
    return session.execute(noted).first() is not None


def _add(session: Session, uses: Sequence[DayUse]) -> None:
    """Add to what is there. Names that differ only in what no database takes become one."""
    sums: dict[tuple[str, ...], list[int]] = {}
    for use in uses:
        named = tuple(plain_text(getattr(use, name)) for name in _NAMES)
        known = sums.setdefault(named, [0] * len(_SUMS))
        known[:] = [a + getattr(use, name) for a, name in zip(known, _SUMS, strict=True)]
    if sums:
        add_up(session.connection(), UseRow, [_row(*item) for item in sums.items()], _SUMS)


def _row(names: tuple[str, ...], amounts: Sequence[int]) -> dict[str, Any]:
    return dict(zip((*_NAMES, *_SUMS), (*names, *amounts), strict=True))
