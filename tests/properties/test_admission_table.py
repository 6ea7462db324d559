"""The shared table, held to a model that keeps every event."""

from __future__ import annotations

import math
import os
from collections import Counter
from collections.abc import Iterator
from itertools import count

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule

from router.admission import shared_table as tables
from router.admission.client_address import named_key
from router.admission.robust_mutex import try_lock, unlock
from router.admission.shared_table import (
    ROWS,
    TOO_FAST,
    TOO_MANY,
    UNCOUNTED,
    Table,
    clear_column,
    create,
)

WORKERS = 3
KEYS = [named_key("test", name) for name in "abc"]
LIMIT = 3


class SharedTable(RuleBasedStateMachine):
    """Three workers on one table: open requests come, end, and are lost with their worker, while
    locks are now and then in the hands of somebody who does not give them back."""

    @initialize()
    def begin(self) -> None:
        self.fd = create(WORKERS)
        self.tables = [self._table(column) for column in range(WORKERS)]
        self.open: list[tuple[int, bytes, int]] = []
        self.stuck: set[int] = set()

    def _table(self, column: int) -> Table:
        return Table(self.fd, column, WORKERS, clock=count().__next__)  # nobody is put off twice

    def teardown(self) -> None:
        if hasattr(self, "fd"):
            self.go_on()
            held = Counter(worker for worker, _, _ in self.open)
            assert [each.held for each in self.tables] == [held[i] for i in range(WORKERS)]
            for each in self.tables:
                each.close()
            os.close(self.fd)

    def _count(self, worker: int, key: bytes) -> int:
        """Count that this worker knows of: all that has a row, and its own of the rest."""
        return sum(
            held == key and (place < ROWS or owner == worker) for owner, held, place in self.open
        )

    @rule(key=st.sampled_from(KEYS))
    def stop(self, key: bytes) -> None:
        """A process is stopped with the lock of this key."""
        lock = self.tables[0].lock_of(key)
        if lock not in self.stuck:
            assert try_lock(lock)
            self.stuck.add(lock)

    @rule()
    def go_on(self) -> None:
        """It is let go on, or was killed."""
        for lock in self.stuck:
            unlock(lock)
        self.stuck = set()

    @rule(worker=st.integers(0, WORKERS - 1), key=st.sampled_from(KEYS))
    def acquire(self, worker: int, key: bytes) -> None:
        for _ in range(2):  # a key that is new behind a stopped process is put off once
            place = self.tables[worker].acquire(key, LIMIT)
            if place != TOO_MANY or not self.stuck:
                break
        assert (place == TOO_MANY) == (self._count(worker, key) >= LIMIT)
        if place != TOO_MANY:
            assert place >= 0
            self.open.append((worker, key, place))

    @rule(data=st.data())
    def release(self, data: st.DataObject) -> None:
        if self.open:
            worker, _, place = self.open.pop(data.draw(st.integers(0, len(self.open) - 1)))
            self.tables[worker].release(place)

    @rule(worker=st.integers(0, WORKERS - 1), by_successor=st.booleans())
    def die(self, worker: int, by_successor: bool) -> None:
        self.go_on()  # in here it is this very process that holds the locks
        self.tables[worker].close()
        if not by_successor:
            clear_column(self.fd, worker)
        self.tables[worker] = self._table(worker)
        self.open = [held for held in self.open if held[0] != worker]


SharedTable.TestCase.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
TestSharedTable = SharedTable.TestCase


@pytest.fixture
def fd() -> Iterator[int]:
    made = create(WORKERS)
    yield made
    os.close(made)


def _naive(times: list[float], rate: float, burst: int) -> list[bool]:
    """Which requests a leaky bucket lets through that is computed anew for each of them."""
    through: list[float] = []
    answers = []
    for now in times:
        level = 0.0
        before = -math.inf
        for came in through:
            level = max(0.0, level - (came - before) * rate) + 1.0
            before = came
        level = max(0.0, level - (now - before) * rate) if through else 0.0
        answers.append(level <= burst + 1e-6)
        if answers[-1]:
            through.append(now)
    return answers


@settings(max_examples=150, deadline=None)
@given(
    st.lists(st.integers(0, 8), max_size=40),
    st.sampled_from([0.5, 1.0, 2.0, 20.0]),
    st.integers(0, 5),
)
def test_a_rate_is_a_leaky_bucket_whichever_worker_is_asked(
    steps: list[int], rate: float, burst: int
):
    fd = create(WORKERS)
    workers = [Table(fd, column, WORKERS) for column in range(WORKERS)]
    times = [1000.0 + sum(steps[: i + 1]) / 16 for i in range(len(steps))]
    waits = [workers[i % WORKERS].gcra(KEYS[0], rate, burst, now) for i, now in enumerate(times)]
    assert [wait == 0 for wait in waits] == _naive(times, rate, burst)
    for each in workers:
        each.close()
    os.close(fd)


def test_a_client_that_comes_back_in_time_is_let_through(fd: int):
    table = Table(fd, 0, WORKERS)
    now = 50.0
    assert table.gcra(KEYS[0], 2.0, 1, now) == table.gcra(KEYS[0], 2.0, 1, now) == 0
    waits = [table.gcra(KEYS[0], 2.0, 1, now) for _ in range(4)]
    assert waits == [0.5, 1.0, 1.5, 2.0]
    assert all(table.gcra(KEYS[0], 2.0, 1, now + wait) == 0 for wait in waits)


def test_a_refused_request_is_counted_in_neither(fd: int):
    table = Table(fd, 0, WORKERS)
    first, _ = table.admit(KEYS[0], 1.0, 1, 1.0, 1)
    assert table.admit(KEYS[0], 1.0, 1, 1.0, 1)[0] == TOO_MANY
    table.release(first)
    second, _ = table.admit(KEYS[0], 1.0, 1, 1.0, 1)
    table.release(second)
    assert table.admit(KEYS[0], 1.0, 1, 1.0, 1)[0] == TOO_FAST
    assert table.held == 0
    assert table.admit(KEYS[0], 2.0, 1, 1.0, 1)[0] >= 0


def test_nobody_is_refused_because_the_table_is_full(fd: int):
    mine, other = Table(fd, 0, WORKERS), Table(fd, 1, WORKERS)
    places = [mine.acquire(named_key("client", str(i)), 1) for i in range(tables.ROWS * 3 // 2)]
    assert mine.full == places.count(UNCOUNTED) > 0
    assert TOO_MANY not in places
    counted = [i for i, place in enumerate(places) if place >= 0]
    assert len(counted) > tables.ROWS * 0.8
    assert all(other.acquire(named_key("client", str(i)), 1) == TOO_MANY for i in counted[:500])
    for place in places:
        mine.release(place)
    assert mine.held == 0
    assert other.acquire(named_key("client", "newcomer"), 1) >= 0


def test_a_row_that_rests_is_given_away_and_one_that_is_in_use_is_not(fd: int):
    table = Table(fd, 0, WORKERS)
    held = table.acquire(KEYS[0], 1)
    for i in range(tables.ROWS):
        table.gcra(named_key("passer-by", str(i)), 1000.0, 0, float(i))
    assert table.acquire(KEYS[0], 1) == TOO_MANY
    assert table.full < tables.ROWS / 100
    table.release(held)
    assert table.acquire(KEYS[0], 1) >= 0
