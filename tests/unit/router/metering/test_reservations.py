"""Reservations of a key's quota by its open requests, over the workers of one host."""

from __future__ import annotations

import itertools
import os
from collections import Counter
from collections.abc import Iterable, Iterator

import pytest

from router.admission.client_address import named_key
from router.admission.key_index import IssuedKey
from router.admission.shared_table import WAYS, Table, create
from router.metering.batches import UsageBatches
from router.metering.reservations import _KINDS, Reservation, Reservations
from router.metering.usage import Basis, Usage
from router.wire.error_response import Problem

WORKERS = 2
KEY = IssuedKey("k1", 0.0, (), float("inf"), None, None)


class Workers:
    """Workers that share one table."""

    def __init__(self) -> None:
        self.fd = create(WORKERS)
        self.tables: list[Table] = []
        self.uses: list[UsageBatches] = []
        self.of: list[Reservations] = []
        for column in range(WORKERS):
            self.start(column)

    def start(self, column: int) -> None:
        """A new worker in this place."""
        if column < len(self.of):
            self.tables.pop(column).close()
            del self.uses[column], self.of[column]
        self.tables.insert(column, Table(self.fd, column, WORKERS))
        self.uses.insert(column, UsageBatches())
        self.of.insert(column, Reservations(self.tables[column], self.uses[column]))

    def charge(self, column: int, cost: int, tokens: int) -> None:
        usage = Usage(output=tokens)
        self.uses[column].add("k1", "2026-11-21", "m", Basis.usage, usage, cost)

    def acknowledge(self, column: int) -> None:
        message = self.uses[column].due(float("inf"))
        assert message is not None
        self.uses[column].acknowledged(message["seq"])

    @property
    def held(self) -> int:
        return sum(table.held for table in self.tables)

    def close(self) -> None:
        for table in self.tables:
            table.close()
        os.close(self.fd)


@pytest.fixture
def workers() -> Iterator[Workers]:
    made = Workers()
    yield made
    made.close()


def entered(found: Reservation | Problem) -> Reservation:
    assert isinstance(found, Reservation), found
    return found


@pytest.mark.parametrize(
    ("key", "amounts", "fits"),
    [
        (KEY._replace(left=1000), (300, 0), 3),
        (KEY._replace(tokens_left=1000), (0, 250), 4),
        (KEY._replace(left=1000, tokens_left=1000), (100, 400), 2),
        (KEY._replace(left=10, tokens_left=10), (10_000, 10_000), 1),
        (KEY._replace(left=301 * 10**16), (10**18, 0), 3),
    ],
)
def test_so_many_requests_are_open_as_the_quota_covers(
    workers: Workers, key: IssuedKey, amounts: tuple[int, int], fits: int
) -> None:
    found = [workers.of[number % WORKERS].enter(key, amounts) for number in range(10)]
    assert [isinstance(each, Reservation) for each in found] == [n < fits for n in range(10)]
    problem = found[-1]
    assert isinstance(problem, Problem)
    assert (problem.status, problem.code) == (429, "insufficient_quota")
    assert "reserved by its open requests" in problem.message
    for number, each in enumerate(found[:fits]):
        workers.of[number % WORKERS].leave(entered(each))
    assert workers.held == 0
    assert [len(each) for each in workers.of] == [0, 0]


def test_charges_stay_reserved_until_control_publishes_the_balance(
    workers: Workers,
) -> None:
    one, other = workers.of
    key = KEY._replace(left=1000)
    open_one = entered(one.enter(key, (100, 0)))
    workers.charge(0, 900, 0)
    one.leave(open_one)
    alone = entered(other.enter(key, (800, 0)))
    assert isinstance(one.enter(key, (800, 0)), Problem), "another one is open"
    other.leave(alone)
    assert isinstance(other.enter(key._replace(left=100), (1, 0)), Problem)
    workers.acknowledge(0)
    other.leave(entered(other.enter(key._replace(left=100), (1, 0))))
    assert workers.held == 0


def test_the_last_of_a_quota_is_used_by_one_request_at_a_time(workers: Workers) -> None:
    key = KEY._replace(tokens_left=5)
    for number in range(6):
        one = workers.of[number % WORKERS]
        alone = entered(one.enter(key, (0, 16_384)))
        assert isinstance(workers.of[1 - number % WORKERS].enter(key, (0, 1)), Problem)
        one.leave(alone)
    workers.charge(0, 0, 5)
    one = workers.of[0]
    assert isinstance(one.enter(key, (0, 16_384)), Problem)


def test_a_killed_worker_takes_its_reservations_with_it(workers: Workers) -> None:
    key = KEY._replace(left=1000)
    for _ in range(3):
        entered(workers.of[0].enter(key, (300, 0)))
    assert isinstance(workers.of[1].enter(key, (300, 0)), Problem)
    workers.start(0)
    found = [entered(workers.of[number % WORKERS].enter(key, (300, 0))) for number in range(3)]
    for number, each in enumerate(found):
        workers.of[number % WORKERS].leave(each)
    assert workers.held == 0


def test_keys_do_not_see_each_other_and_what_costs_nothing_holds_nothing(
    workers: Workers,
) -> None:
    one = workers.of[0]
    first = entered(one.enter(KEY._replace(left=10), (10, 0)))
    second = entered(one.enter(KEY._replace(id="k2", left=10), (10, 0)))
    free = [entered(one.enter(KEY._replace(id="k3", left=10), (0, 0))) for _ in range(3)]
    for each in (first, second, *free):
        one.leave(each)
    assert workers.held == 0


def _fill(table: Table, names: Iterable[bytes]) -> int:
    """Take every row that these could have, for others; returns how many that were."""
    room = Counter({table._spot(name).bucket: WAYS for name in names})
    taken = 0
    for number in itertools.count():
        other = named_key("other", str(number))
        bucket = table._spot(other).bucket
        if room[bucket]:
            room[bucket] -= 1
            taken += table.acquire(other, 1) >= 0
            if not room.total():
                return taken
    raise AssertionError


def test_a_table_that_is_full_leaves_each_worker_to_itself(workers: Workers) -> None:
    key = KEY._replace(left=1000)
    others = _fill(workers.tables[0], [named_key(kind, key.id) for kind in _KINDS])
    assert others == 3 * WAYS
    found = [workers.of[number % WORKERS].enter(key, (300, 0)) for number in range(8)]
    assert [isinstance(each, Reservation) for each in found] == [True] * 6 + [False] * 2
    for number, each in enumerate(found):
        if isinstance(each, Reservation):
            workers.of[number % WORKERS].leave(each)
    assert workers.held == others
