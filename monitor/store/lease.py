"""One writer per vantage: a row that its holder renews, and that a dead one cannot keep.

Two instances of one vantage name would write down the same time twice. So who writes holds the
row of the vantage in `lease`. A new holder is

    the same instance, whose control process was replaced -> at once
    of an instance on this machine that has ended          -> at once
    of one whose row stands still for `EXPIRES_AFTER`      -> after that; no clock is compared
    anybody else                                           -> refused

Every batch of history is written under the lease and numbered in it: a former holder that wakes
up writes nothing, and a batch whose commit was not acknowledged is not written twice.
"""

from __future__ import annotations

import os
import secrets
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from sqlalchemy import Connection, CursorResult, Engine, Executable, insert, update
from sqlmodel import col, select

from monitor.store.errors import StoreError
from monitor.store.tables import LeaseRow

_COLUMNS = tuple(col(getattr(LeaseRow, name)) for name in LeaseRow.model_fields)
LEADER = "(leader)"
"""In place of a vantage: the instance that does what is to be done once."""
RENEW_EVERY = 5.0
EXPIRES_AFTER = 20.0
"""Seconds that a row must stand still before somebody else takes it."""
LOOK_EVERY = 0.5


class LeaseLost(StoreError):
    """Somebody else writes the history of this vantage now."""


@dataclass(frozen=True, slots=True)
class Holder:
    """An instance, so that another process of it, or on its machine, recognises it."""

    machine: str
    """Boot and process namespace, within which a process id means something; empty if unknown."""
    pid: int
    started: str
    host: str

    @classmethod
    def of_process(cls, pid: int) -> Holder:
        """The instance whose main process this is."""
        return cls(_machine(), pid, _started(pid) or secrets.token_hex(4), socket.gethostname())

    @property
    def name(self) -> str:
        """Return the part of a name that is kept."""
        return f"{self.machine}/{self.pid}/{self.started}"


def has_ended(name: str, machine: str) -> bool:
    """True if the holder of this name was a process of this machine that is gone."""
    its_machine, pid, started = name.rsplit("/", 2)
    return its_machine == machine != "" and _started(int(pid)) != started


def take(
    engine: Engine,
    vantage: str,
    holder: Holder,
    wait: bool = True,
    clock: Callable[[], float] = time.time,
    monotonic: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> int:
    """Become the writer; blocks. The number of the last batch. Raises StoreError.

    Without `wait` a row that is not free is not watched, but taken for one that is in use.
    """
    row = first = _row(engine, vantage)
    deadline = monotonic() + EXPIRES_AFTER
    while row is not None and first is not None and not _is_free(row, holder):
        if not wait or row.beat != first.beat or _lives_here(row, holder):
            raise _refusal(row)
        if monotonic() >= deadline:
            break
        sleep(LOOK_EVERY)
        row = _row(engine, vantage)
    with engine.begin() as connection:
        if not _replace(connection, vantage, holder, row, clock()):
            raise StoreError(f'the vantage "{vantage}" was taken by another instance just now')
    return row.batch if row is not None else 0


def last_renewal(engine: Engine, vantage: str) -> float | None:
    """When somebody last said that he writes; None: nobody did."""
    row = _row(engine, vantage)
    return None if row is None else row.renewed_at


def renew(engine: Engine, vantage: str, holder: Holder, now: float) -> None:
    """Say that we still write. Raises LeaseLost."""
    mine = (col(LeaseRow.vantage) == vantage, col(LeaseRow.holder) == holder.name)
    beat = {"beat": col(LeaseRow.beat) + 1, "renewed_at": now}
    with engine.begin() as connection:
        if not _changed(connection, update(LeaseRow).where(*mine).values(beat)):
            raise LeaseLost(f'another instance has taken the vantage "{vantage}"')


def release(engine: Engine, vantage: str, holder: Holder) -> None:
    """Stop writing; the next one need not wait."""
    with engine.begin() as connection:
        _release(connection, vantage, holder)


def lead(
    connection: Connection, holder: Holder, passed: int | None, now: float
) -> tuple[bool, int]:
    """Be the leader, or go on being it, unless another instance is; and the row's beat.

    `passed`: the beat at which the caller has seen the row stand still for `EXPIRES_AFTER`.
    """
    row = _row_in(connection, LEADER)
    if row is not None and not _is_free(row, holder) and row.beat != passed:
        return False, row.beat
    beat = row.beat + 1 if row is not None else 0
    return _replace(connection, LEADER, holder, row, now), beat


def resign(connection: Connection, holder: Holder) -> None:
    """Be the leader no more; the next one need not wait."""
    _release(connection, LEADER, holder)


def begin_batch(connection: Connection, vantage: str, holder: Holder, batch: int) -> bool:
    """Begin a batch, by its number, in this transaction; False if it was written before.

    Raises LeaseLost.
    """
    mine = (col(LeaseRow.vantage) == vantage, col(LeaseRow.holder) == holder.name)
    turn = update(LeaseRow).where(*mine, col(LeaseRow.batch) == batch - 1).values(batch=batch)
    if _changed(connection, turn):
        return True
    last = connection.execute(select(LeaseRow.batch).where(*mine)).scalar()
    if last == batch:
        return False
    raise LeaseLost(f'another instance has taken the vantage "{vantage}"')


def refuse_held(connection: Connection, now: float) -> None:
    """Raises StoreError while any instance writes to this store; `now` in seconds since the epoch.

    To be asked behind the first change of a transaction, when nobody else can begin to write.
    """
    machine = _machine()
    for found in connection.execute(select(*_COLUMNS)).mappings():
        row = LeaseRow(**found)
        if not row.holder or has_ended(row.holder, machine):
            continue
        here = bool(machine) and row.holder.startswith(f"{machine}/")
        if here or now - row.renewed_at < EXPIRES_AFTER:
            raise StoreError(
                f"an instance on {row.host} (process {row.pid}) uses the store, but does not "
                "answer here: name its configuration with --config, or stop it"
            )


def _release(connection: Connection, vantage: str, holder: Holder) -> None:
    mine = (col(LeaseRow.vantage) == vantage, col(LeaseRow.holder) == holder.name)
    gone = {"holder": "", "beat": col(LeaseRow.beat) + 1}
    connection.execute(update(LeaseRow).where(*mine).values(gone))


def _row(engine: Engine, vantage: str) -> LeaseRow | None:
    with engine.connect() as connection:
        return _row_in(connection, vantage)


def _row_in(connection: Connection, vantage: str) -> LeaseRow | None:
    query = select(*_COLUMNS).where(col(LeaseRow.vantage) == vantage)
    found = connection.execute(query).mappings().first()
    return None if found is None else LeaseRow(**found)


def _is_free(row: LeaseRow, holder: Holder) -> bool:
    if row.holder in ("", holder.name):
        return True
    return has_ended(row.holder, holder.machine)


def _lives_here(row: LeaseRow, holder: Holder) -> bool:
    """True if its holder is a process of this machine; it is not free, so it runs."""
    return holder.machine != "" and row.holder.startswith(f"{holder.machine}/")


def _replace(
    connection: Connection, vantage: str, holder: Holder, row: LeaseRow | None, now: float
) -> bool:
    """Put ourselves in the place of `row`, unless it has changed meanwhile."""
    ours: dict[str, Any] = {"holder": holder.name, "host": holder.host, "pid": holder.pid}
    ours["renewed_at"] = now
    if row is None:
        fresh = LeaseRow(vantage=vantage, beat=0, batch=0, **ours)
        connection.execute(insert(LeaseRow), [fresh.model_dump()])
        return True
    same = (
        col(LeaseRow.vantage) == vantage,
        col(LeaseRow.holder) == row.holder,
        col(LeaseRow.beat) == row.beat,
    )
    changes = {**ours, "beat": row.beat + 1}
    return _changed(connection, update(LeaseRow).where(*same).values(changes))


def _changed(connection: Connection, statement: Executable) -> bool:
    return cast("CursorResult[object]", connection.execute(statement)).rowcount > 0


def _refusal(row: LeaseRow) -> StoreError:
    return StoreError(
        f'store.url: the vantage "{row.vantage}" is in use by an instance on {row.host} '
        f"(process {row.pid}): stop that one, or set another monitor.vantage here"
    )


def _machine() -> str:
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text("ascii").strip()
        return f"{boot}-{os.stat('/proc/self/ns/pid').st_ino}"
    except OSError:
        return ""


def _started(pid: int) -> str:
    """Start of a process, in the kernel's ticks (proc(5), stat); empty when there is none."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text("utf-8", "replace").rpartition(")")[2].split()
    except OSError:
        return ""
    return "" if fields[0] in "ZX" else fields[19]
