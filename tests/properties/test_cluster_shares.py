"""Several hosts hold one limit together, whatever fails between them and Valkey."""

from __future__ import annotations

import os
from collections.abc import Coroutine, Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from monitor.common.metric_registry import MetricRegistry
from router.admission.client_address import named_key
from router.admission.shared_table import RATE_UNITS, UNCOUNTED, Table, create
from router.cluster.allotment import even, fair
from router.cluster.cluster import Cluster
from router.cluster.config import ClusterConfig
from router.cluster.metrics import FAMILIES
from tests.testkit.valkey import Board, BoardClient

KEY = named_key("test", "a client")
wants = st.dictionaries(st.sampled_from("abcdef"), st.integers(0, 50), min_size=1)


@given(st.integers(0, 60), wants)
def test_fair_shares_use_the_limit_up_and_favour_nobody(limit: int, wanted: dict[str, int]):
    shares = fair(limit, wanted)
    assert sum(shares.values()) == min(limit, sum(wanted.values()))
    for host, share in shares.items():
        assert 0 <= share <= wanted[host]
        if share < wanted[host]:
            assert max(shares.values()) <= share + 1
    assert shares == fair(limit, dict(reversed(wanted.items())))


@given(st.integers(1, 1000), st.integers(1, 50))
def test_even_shares_make_up_the_limit_and_less_than_one_more_for_each(limit: int, hosts: int):
    assert limit <= hosts * even(limit, hosts) < limit + hosts


@pytest.fixture
def two_tables() -> Iterator[list[Table]]:
    fds = [create(1), create(1)]
    tables = [Table(fd, 0, 1) for fd in fds]
    yield tables
    for table, fd in zip(tables, fds, strict=True):
        table.close()
        os.close(fd)


def finish(coroutine: Coroutine[Any, Any, Any]) -> Any:
    """Run what waits for nothing."""
    try:
        coroutine.send(None)
    except StopIteration as done:
        return done.value
    raise AssertionError("it waits")


class Host:
    """One instance: its table, its part in the cluster, and what a client has open there."""

    def __init__(self, name: str, board: Board, limit: int) -> None:
        self.name, self.board, self.limit = name, board, limit
        self.client = BoardClient(board, name)
        self.fd = create(1)
        self.table = Table(self.fd, 0, 1)
        config = ClusterConfig(url="redis://x", hosts=board.expected)
        self.cluster = Cluster(
            config,
            self.client,  # type: ignore[arg-type]
            self.table,
            name,
            MetricRegistry(FAMILIES),
            lambda message: None,
            None,  # type: ignore[arg-type]
            clock=lambda: board.now,
        )
        self.table.on_short = self.cluster.short
        self.places: list[int] = []

    def open(self) -> bool:
        place, _ = self.table.admit(KEY, self.board.now, self.limit, 0.0, 0, with_wait=False)
        if place >= 0:
            self.places.append(place)
        return place >= 0

    def close(self) -> None:
        if self.places:
            self.table.release(self.places.pop())

    def end(self) -> None:
        self.table.close()
        os.close(self.fd)


class Together(RuleBasedStateMachine):
    """A client opens and closes requests on hosts that all reach Valkey, while news get lost."""

    @initialize(count=st.integers(2, 4), limit=st.integers(1, 12))
    def begin(self, count: int, limit: int) -> None:
        self.limit = limit
        self.board = Board(expected=count)
        self.hosts = [Host(f"h{i}", self.board, limit) for i in range(count)]
        for host in self.hosts:
            assert finish(host.cluster.turn())

    def teardown(self) -> None:
        for host in getattr(self, "hosts", ()):
            host.end()

    def host(self, at: int) -> Host:
        return self.hosts[at % len(self.hosts)]

    def open_now(self) -> int:
        return sum(len(host.places) for host in self.hosts)

    @rule(at=st.integers(0, 3), times=st.integers(1, 12))
    def ask(self, at: int, times: int) -> None:
        for _ in range(times):
            self.host(at).open()

    @rule(at=st.integers(0, 3), times=st.integers(1, 12))
    def end(self, at: int, times: int) -> None:
        for _ in range(times):
            self.host(at).close()

    @rule(at=st.integers(0, 3), meanwhile=st.integers(0, 4))
    def exchange(self, at: int, meanwhile: int) -> None:
        host = self.host(at)
        host.client.meanwhile = lambda: [host.open() for _ in range(meanwhile)]
        finish(host.cluster.turn())
        host.client.meanwhile = lambda: None

    @rule(seconds=st.sampled_from([0.05, 0.5, 1, 5, 31]))
    def time_passes(self, seconds: float) -> None:
        for _ in range(int(seconds)):  # whoever can be heard is heard every second
            self.board.now += 1.0
            for host in self.hosts:
                finish(host.cluster.turn())
        self.board.now += seconds % 1

    @rule(lost=st.booleans())
    def news_arrive(self, lost: bool) -> None:
        news, self.board.published = self.board.published, []
        for message in [] if lost else news:
            for host in self.hosts:
                if host.name != message["from"] and host.client.reachable:
                    host.cluster.take(message)

    def most(self) -> int:
        return self.limit + len(self.hosts) - 1

    @invariant()
    def nobody_gets_much_more_than_the_limit(self) -> None:
        if hasattr(self, "hosts"):
            assert self.open_now() <= self.most()


class Apart(Together):
    """The same, while hosts are cut off, answers are lost, and Valkey ends and forgets."""

    def most(self) -> int:
        return 2 * self.limit + len(self.hosts) * even(self.limit, len(self.hosts))

    @rule(at=st.integers(0, 3), lost=st.booleans())
    def answers_are_lost(self, at: int, lost: bool) -> None:
        self.host(at).client.loses_answers = lost

    @rule(at=st.integers(0, 3))
    def cut_off(self, at: int) -> None:
        self.host(at).client.reachable = False

    @rule(forgets=st.booleans())
    def valkey_ends(self, forgets: bool) -> None:
        self.board.up = False
        if forgets:
            self.board.forget()

    @rule()
    def heal(self) -> None:
        for host in self.hosts:
            host.client.reachable, host.client.loses_answers = True, False
        self.board.up = True


SETTINGS = settings(max_examples=40, stateful_step_count=40, deadline=None)
TestTogether, TestApart = Together.TestCase, Apart.TestCase
TestTogether.settings = TestApart.settings = SETTINGS


@pytest.fixture
def three() -> Iterator[list[Host]]:
    board = Board(expected=3)
    hosts = [Host(f"h{i}", board, limit=10) for i in range(3)]
    settle(hosts)
    yield hosts
    for host in hosts:
        host.end()


def settle(hosts: list[Host]) -> None:
    """Exchange and hear until nobody has news, the time standing still."""
    board = hosts[0].board
    for _ in range(20):
        for host in hosts:
            assert finish(host.cluster.turn()) is board.up
        news, board.published = board.published, []
        for host in hosts:
            for message in news:
                if message["from"] != host.name:
                    host.cluster.take(message)
        if not news:
            return
    raise AssertionError("they do not come to an end")


def fill(host: Host) -> int:
    """Open as many as there is room for."""
    while host.open():
        pass
    return len(host.places)


def test_a_client_of_one_host_gets_its_whole_limit_there(three: list[Host]):
    assert fill(three[0]) == 4
    settle(three)
    assert fill(three[0]) == 10
    assert not three[1].open()


def test_all_hosts_go_on_with_their_shares_while_valkey_is_gone(three: list[Host]):
    """Nobody is refused what an even share has room for, and what one had more of stays."""
    first = three[0]
    fill(first)
    settle(three)
    fill(first)
    first.board.up = False
    first.board.now += 2.0
    settle(three)
    first.close()
    assert [fill(host) for host in three] == [10, 4, 4]
    assert first.cluster.state()["problem"] == "cut off"
    first.board.up = True
    first.board.forget()
    settle(three)
    assert first.cluster.state()["problem"] == ""
    for _ in range(10):  # nobody is cut off, and nobody gets more until it is the limit again
        for host in three:
            host.close()
        settle(three)
        assert not any(host.open() for host in three) or sum(map(fill, three)) <= 10 + 2


def test_two_hosts_that_want_it_all_get_half_each_as_requests_end(three: list[Host]):
    first, second, _ = three
    fill(first)
    settle(three)
    fill(first)
    for _ in range(20):
        second.open()
        first.open()
        settle(three)
        first.close()
        settle(three)
        fill(second)
    assert (fill(first), len(second.places)) == (5, 5)


def test_a_connection_opened_while_a_share_is_returned_stays_counted():
    board = Board()
    first, second = hosts = [Host(f"h{i}", board, limit=10) for i in range(2)]
    for host in hosts * 2:
        board.now += 1.0
        finish(host.cluster.turn())
    fill(first)
    finish(first.cluster.turn())
    for message in board.published:
        second.cluster.take(message)
    second.client.meanwhile = lambda: [second.open() for _ in range(3)]
    finish(second.cluster.turn())
    for message in board.published:
        first.cluster.take(message)
    finish(first.cluster.turn())
    assert first.table.hosts == second.table.hosts == 2
    assert fill(first) + len(second.places) <= 10 + 1
    for host in hosts:
        host.end()


def test_after_half_a_minute_without_need_shares_are_even_again(three: list[Host]):
    fill(three[0])
    settle(three)
    fill(three[0])
    while three[0].places:
        three[0].close()
    for _ in range(45):
        three[0].board.now += 1.0
        settle(three)
    assert [len(host.cluster.state()["hosts"]) for host in three] == [3, 3, 3]
    assert [host.cluster.state()["leases"] for host in three] == [0, 0, 0]
    assert [fill(host) for host in three] == [4, 4, 4]


RATE, BURST = 20.0, 40
moves = st.lists(
    st.tuples(
        st.floats(0.0, 0.5),
        st.integers(0, 2),
        st.integers(0, 60),
        st.lists(st.integers(0, RATE_UNITS // 3), min_size=3, max_size=3),
    ),
    max_size=40,
)


@given(moves)
@settings(deadline=None, max_examples=60)
def test_a_rate_whose_shares_go_to_and_fro_lets_no_more_through(
    steps: list[tuple[float, int, int, list[int]]],
):
    """Any window of time: the burst, what the rate grants, and one more for each host and move."""
    fds = [create(1) for _ in range(3)]
    tables = [Table(fd, 0, 1) for fd in fds]
    for table in tables:
        table.set_hosts(3)
    now, passed, gains = 1000.0, [], 0
    for seconds, at, times, shares in steps:
        now += seconds
        for table, share in zip(tables, shares, strict=True):
            assert table.set_share(KEY, now, None, share, BURST / RATE)
            gains += 1
        for _ in range(times):
            passed += [now] * (tables[at].admit(KEY, now, 0, RATE, BURST)[0] >= UNCOUNTED)
    if passed:
        most = BURST + RATE * (passed[-1] - 1000.0) + len(tables) + gains
        assert len(passed) <= most
    for table, fd in zip(tables, fds, strict=True):
        table.close()
        os.close(fd)


def test_a_share_comes_empty_and_what_is_left_of_it_stays(two_tables: list[Table]):
    giver, taker = two_tables
    for table in two_tables:
        table.set_hosts(2)

    def at_once(table: Table, now: float) -> int:
        return sum(table.admit(KEY, now, 0, RATE, BURST)[0] >= UNCOUNTED for _ in range(100))

    assert at_once(giver, 100.0) == BURST / 2 + 1
    giver.set_share(KEY, 100.0, None, 0, BURST / RATE)
    assert at_once(giver, 101.0) == 0
    assert giver.short
    assert at_once(taker, 100.0) == BURST / 2 + 1
    taker.set_share(KEY, 100.0, None, RATE_UNITS, BURST / RATE)
    assert at_once(taker, 100.0) <= 1
    assert at_once(taker, 101.0) == RATE
    assert at_once(taker, 200.0) == BURST + 1
    giver.set_share(KEY, 200.0, None, RATE_UNITS, BURST / RATE)
    assert at_once(giver, 200.0) == 1
