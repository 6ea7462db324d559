"""Limits per client: who is let in, who is told to come back when."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator

import pytest

from monitor.common.settings import read
from router.admission.client_address import LOCAL, Client, parse
from router.admission.config import LimitsConfig
from router.admission.limits import LET_IN, MOST_WAITING, Limits
from router.admission.shared_table import Table, create

NOW, WALL = 1000.0, 1_790_000_000.0


def client(text: str) -> Client:
    made = parse(text)
    assert made is not None
    return made


ONE, OTHER = client("192.0.2.1"), client("192.0.2.2")


@pytest.fixture
def table() -> Iterator[Table]:
    fd = create(1)
    made = Table(fd, 0, 1)
    yield made
    made.close()
    os.close(fd)


@pytest.fixture
def limits(table: Table) -> Limits:
    made = Limits(table)
    made.configure(read(LimitsConfig, {"connections": 2, "requests_per_second": 0}))
    return made


def test_the_last_place_is_given_and_one_more_is_not(limits: Limits, table: Table):
    first, second, third = (limits.enter(ONE, NOW, WALL) for _ in range(3))
    assert limits.refusal_of(first) is limits.refusal_of(second) is None
    problem = limits.refusal_of(third)
    assert problem is not None
    assert (problem.status, problem.code) == (429, "too_many_connections")
    assert problem.retry_after == 1
    assert limits.refusal_of(limits.enter(OTHER, NOW, WALL)) is None
    limits.leave(first[0])
    limits.leave(third[0])  # nothing to give back
    assert limits.refusal_of(limits.enter(ONE, NOW, WALL)) is None
    assert limits.refusal_of(limits.enter(ONE, NOW, WALL)) is not None


def test_one_ipv6_subscriber_is_one_client(limits: Limits):
    for address in ("2001:db8::1", "2001:db8::2"):
        assert limits.refusal_of(limits.enter(client(address), NOW, WALL)) is None
    assert limits.refusal_of(limits.enter(client("2001:db8::3"), NOW, WALL)) is not None


def test_a_rate_says_when_to_come_back_and_spreads_those_who_must(table: Table):
    limits = Limits(table)
    limits.configure(read(LimitsConfig, {"connections": 0, "requests_per_second": 2, "burst": 3}))
    answers = [limits.enter(ONE, NOW, WALL) for _ in range(10)]
    problems = [limits.refusal_of(answer) for answer in answers]
    assert problems[:4] == [None] * 4
    waits = [problem.retry_after for problem in problems[4:] if problem is not None]
    assert waits == [1, 1, 2, 2, 3, 3]
    assert {problem.code for problem in problems if problem} == {"rate_limit_exceeded"}
    assert table.held == 0


def test_nobody_is_told_to_wait_for_ever(limits: Limits):
    waits = []
    for _ in range(1000):
        problem = limits.refusal_of(limits.enter(ONE, NOW, WALL))
        if problem is not None:
            waits.append(problem.retry_after or 0)
    assert waits == sorted(waits)
    assert waits[-1] == 10


@pytest.mark.parametrize("allowed", ["192.0.2.1", "192.0.2.0/24", "::ffff:192.0.2.0/120"])
def test_allowed_networks_are_not_limited(limits: Limits, table: Table, allowed: str):
    limits.configure(read(LimitsConfig, {"connections": 1, "allow": [allowed]}))
    assert {limits.enter(ONE, NOW, WALL) for _ in range(50)} == {LET_IN}
    assert table.held == 0


def test_an_allowance_ends(limits: Limits):
    limits.allow([["192.0.2.0/24", WALL + 60], ["198.51.100.0/24", None]])  # as JSON has them
    assert {limits.enter(ONE, NOW, WALL) for _ in range(50)} == {LET_IN}
    later = [limits.refusal_of(limits.enter(ONE, NOW, WALL + 60)) for _ in range(3)]
    assert [problem is None for problem in later] == [True, True, False]
    assert {limits.enter(client("198.51.100.1"), NOW, WALL + 1e6) for _ in range(9)} == {LET_IN}
    limits.allow([])
    assert limits.refusal_of(limits.enter(ONE, NOW, WALL)) is not None


def test_clients_without_an_address_are_not_limited(limits: Limits):
    assert {limits.enter(LOCAL, NOW, WALL) for _ in range(9)} == {LET_IN}


async def test_one_client_does_not_use_up_the_second_looks_of_all(limits: Limits):
    done = asyncio.Event()
    while limits.may_wait(ONE):
        limits.wait(ONE, 0.0, done.set)
    assert 0 < limits.waiting < MOST_WAITING
    assert limits.may_wait(OTHER)
    await done.wait()
    await asyncio.sleep(0)
    assert limits.waiting == 0
    assert limits.may_wait(ONE)


def test_control_sees_who_has_requests_open(table):
    one, other = ONE.key, OTHER.key
    places = [table.acquire(one, 9), table.acquire(one, 9), table.acquire(other, 9)]
    assert table.open_by_key() == {one: 2, other: 1}
    for place in places:
        table.release(place)
    assert table.open_by_key() == {}
