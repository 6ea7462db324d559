"""The shared table among real processes, some of which are killed."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count

import pytest

from router.admission.client_address import named_key
from router.admission.shared_table import (
    STUCK_AFTER,
    TOO_FAST,
    TOO_MANY,
    TRIES,
    Table,
    clear_column,
    create,
    holder_of_lock,
)
from tests.integration.table_process import KEYS, Book
from tests.testkit.processes import python_environment

WORKERS, LIMIT = 4, 10
MODULE = "tests.integration.table_process"


@pytest.fixture
def fd() -> Iterator[int]:
    made = create(WORKERS + 1)
    yield made
    os.close(made)


@pytest.fixture
def book() -> Iterator[int]:
    made = Book.create(WORKERS + 1)
    yield made
    os.close(made)


def _start(fd: int, book: int, column: int) -> subprocess.Popen[str]:
    numbers = map(str, (fd, book, column, WORKERS + 1, LIMIT))
    process = subprocess.Popen(
        [sys.executable, "-m", MODULE, "work", *numbers],
        pass_fds=[fd, book],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=python_environment(),
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    return process


def _end(process: subprocess.Popen[str]) -> dict[str, int]:
    """Tell it to stop, and read what it saw; it keeps its places until it is killed."""
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.close()
    told: dict[str, int] = json.loads(process.stdout.readline())
    return told


def _kill(process: subprocess.Popen[str]) -> None:
    process.kill()
    process.wait()
    for stream in (process.stdin, process.stdout):
        if stream is not None:
            stream.close()


def test_no_limit_is_overshot_and_who_is_killed_leaves_no_lock_and_no_place(fd: int, book: int):
    given = Book(book, WORKERS + 1)
    own = Table(fd, WORKERS, WORKERS + 1)
    workers = [_start(fd, book, column) for column in range(WORKERS)]
    try:
        for round_ in range(6):
            until = time.monotonic() + 0.3
            while time.monotonic() < until:  # this process asks too
                place = own.acquire(KEYS[round_ % len(KEYS)], LIMIT)
                own.release(place)
            victim = round_ % WORKERS
            _kill(workers[victim])
            given.clear(victim)
            clear_column(fd, victim)
            workers[victim] = _start(fd, book, victim)
        told = [_end(worker) for worker in workers]
        assert [each["overshot"] for each in told] == [0] * WORKERS
        assert sum(each["taken"] for each in told) > 100
        assert sum(each["refused"] for each in told) > 100
        free = [_free(own, key) for key in KEYS]
        assert sum(free) == LIMIT * len(KEYS) - sum(each["held"] for each in told)
    finally:
        for column, worker in enumerate(workers):
            _kill(worker)
            clear_column(fd, column)
    assert [_free(own, key) for key in KEYS] == [LIMIT] * len(KEYS)


@contextmanager
def _stopped_holder(fd: int, name: str) -> Iterator[subprocess.Popen[str]]:
    """A process that was stopped while it held the lock of this key."""
    numbers = map(str, (fd, 0, WORKERS + 1))
    with subprocess.Popen(
        [sys.executable, "-m", MODULE, "hold", *numbers, name],
        pass_fds=[fd],
        stdout=subprocess.PIPE,
        text=True,
        env=python_environment(),
    ) as holder:
        try:
            os.waitid(os.P_PID, holder.pid, os.WSTOPPED)
            yield holder
        finally:
            holder.kill()


def _go_on(holder: subprocess.Popen[str]) -> None:
    """Let it give the lock back."""
    holder.send_signal(signal.SIGCONT)
    assert holder.stdout is not None
    assert holder.stdout.readline() == "free\n"


KEY = named_key("test", "a")


def test_a_known_client_is_limited_exactly_over_all_workers_behind_a_stopped_holder(fd: int):
    tables = [Table(fd, column, WORKERS + 1) for column in (1, 2)]
    held = [(tables[0], tables[0].acquire(KEY, LIMIT))]
    with _stopped_holder(fd, "a") as holder:
        answers = [(table, table.acquire(KEY, LIMIT)) for _ in range(LIMIT) for table in tables]
        held += [(table, place) for table, place in answers if place != TOO_MANY]
        assert len(held) == LIMIT
        assert sum(table.busy for table in tables) == 2 * LIMIT
        _go_on(holder)
        assert tables[0].acquire(KEY, LIMIT) == TOO_MANY
        for table, place in held:
            table.release(place)
    assert [table.held for table in tables] == [0, 0]
    assert [_free(table, KEY) for table in tables] == [LIMIT, LIMIT]


def test_a_new_client_is_limited_by_each_worker_alone_behind_a_stopped_holder(fd: int):
    now = [100.0]
    table = Table(fd, 1, WORKERS + 1, clock=lambda: now[0])
    with _stopped_holder(fd, "a") as holder:
        assert table.acquire(KEY, LIMIT) == TOO_MANY, "put off: it may be free in a moment"
        now[0] += STUCK_AFTER / 2
        places = [table.acquire(KEY, LIMIT) for _ in range(2 * LIMIT)]
        held = [place for place in places if place != TOO_MANY]
        assert len(held) == LIMIT == table.held
        _go_on(holder)
        table.release(held.pop())
        held.append(table.acquire(KEY, LIMIT))
        assert table.acquire(KEY, LIMIT) == TOO_MANY, "those of before are still open"
        for place in held:
            table.release(place)
    assert table.held == 0
    assert _free(table, KEY) == LIMIT


@pytest.mark.parametrize("known", [True, False])
def test_a_rate_holds_behind_a_stopped_holder(fd: int, known: bool):
    table = Table(fd, 1, WORKERS + 1)
    let_in = 1 if known and table.admit(KEY, 1.0, LIMIT, 2.0, 5)[0] >= 0 else 0
    with _stopped_holder(fd, "a"):
        answers = [table.admit(KEY, 1.0, 2 * LIMIT, 2.0, 5)[0] for _ in range(20)]
        assert answers.count(TOO_FAST) == len(answers) - (6 - let_in)


def test_a_stopped_holder_costs_a_few_tries_once_and_is_told(
    fd: int, monkeypatch: pytest.MonkeyPatch
):
    now, told, yields = [100.0], list[tuple[int, int]](), count()
    table = Table(fd, 1, WORKERS + 1, clock=lambda: now[0])
    table.on_stuck = lambda lock, holder: told.append((lock, holder))
    monkeypatch.setattr(os, "sched_yield", lambda: next(yields))
    with _stopped_holder(fd, "a") as holder:
        for _ in range(40):
            table.release(table.admit(KEY, 1.0, LIMIT, 0.0, 0)[0])
            now[0] += STUCK_AFTER / 16
        assert next(yields) == TRIES
        assert {pid for _, pid in told} == {holder.pid}
        assert 2 <= len(told) <= 3, "now and then, not for each request"
        lock = told[0][0]
        assert holder_of_lock(fd, lock) == holder.pid
        holder.kill()
        holder.wait()
        assert holder_of_lock(fd, lock) == 0
        table.release(table.acquire(KEY, LIMIT))
        now[0] += 10 * STUCK_AFTER
        told.clear()
        table.release(table.acquire(KEY, LIMIT))
        assert told == []
    assert table.held == 0


def _free(table: Table, key: bytes) -> int:
    """Number of free places."""
    places = []
    while (place := table.acquire(key, LIMIT)) != TOO_MANY:
        places.append(place)
    for place in places:
        table.release(place)
    return len(places)
