"""The shared table among real processes, some of which are killed."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator

import pytest

from router.admission.table import TOO_MANY, Table, clear_column, create
from tests.support.process import python_environment
from tests.support.table_worker import KEYS

WORKERS, LIMIT = 4, 10


@pytest.fixture
def fd() -> Iterator[int]:
    made = create(WORKERS + 1)
    yield made
    os.close(made)


def _start(fd: int, column: int) -> subprocess.Popen[str]:
    module = "tests.support.table_worker"
    numbers = map(str, (fd, column, WORKERS + 1, LIMIT))
    process = subprocess.Popen(
        [sys.executable, "-m", module, *numbers],
        pass_fds=[fd],
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


def test_no_limit_is_overshot_and_who_is_killed_leaves_no_lock_and_no_place(fd: int):
    own = Table(fd, WORKERS, WORKERS + 1)
    workers = [_start(fd, column) for column in range(WORKERS)]
    try:
        for round_ in range(6):
            until = time.monotonic() + 0.3
            while time.monotonic() < until:  # this process asks too
                place = own.acquire(KEYS[round_ % len(KEYS)], LIMIT)
                own.release(place)
            victim = round_ % WORKERS
            _kill(workers[victim])
            clear_column(fd, victim)
            workers[victim] = _start(fd, victim)
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


def _free(table: Table, key: bytes) -> int:
    """How many places are left."""
    places = []
    while (place := table.acquire(key, LIMIT)) != TOO_MANY:
        places.append(place)
    for place in places:
        table.release(place)
    return len(places)
