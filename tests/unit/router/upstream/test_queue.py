"""The queue of requests for which no mirror has room."""

from __future__ import annotations

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from router.upstream.queue import LOOK, FairQueue


@pytest.fixture
def line() -> FairQueue[str]:
    return FairQueue(max_waiting=3, max_wait=30.0)


def test_first_come_first_served(line: FairQueue[str]) -> None:
    assert [line.join(who, 0.0) for who in "abc"] == [True] * 3
    assert [line.next(lambda who: True, 0.0) for _ in range(4)] == ["a", "b", "c", None]


def test_a_full_line_takes_nobody(line: FairQueue[str]) -> None:
    assert [line.join(who, 0.0) for who in "abcd"] == [True, True, True, False]
    assert line.leave("b")
    assert line.join("d", 0.0)


def test_in_a_full_line_the_client_with_most_places_makes_room_for_others() -> None:
    line: FairQueue[str] = FairQueue(max_waiting=4, max_wait=30.0)
    for who in ("a1", "a2", "b1", "a3"):
        assert line.join(who, 0.0, client=who[:1].encode())
    assert line.make_room(b"a") is None
    assert line.make_room(b"c") == "a3"
    assert line.join("c1", 0.0, client=b"c")
    assert line.make_room(b"b") is None, "it would have as many as the other"
    assert line.make_room(b"d") == "a2"
    assert [line.next(lambda who: True, 0.0) for _ in range(4)] == ["a1", "b1", "c1", None]
    assert line.make_room(b"c") is None


def test_a_request_that_has_left_is_not_served(line: FairQueue[str]) -> None:
    for who in "abc":
        line.join(who, 0.0)
    assert line.leave("a")
    assert not line.leave("a")
    assert line.next(lambda who: True, 0.0) == "b"


def test_a_request_that_the_mirror_does_not_fit_keeps_its_place(line: FairQueue[str]) -> None:
    for who in "abc":
        line.join(who, 0.0)
    assert line.next(lambda who: who == "b", 0.0) == "b"
    assert line.next(lambda who: True, 0.0) == "a"


def test_only_the_front_of_a_long_line_is_asked() -> None:
    line: FairQueue[int] = FairQueue(1000, 30.0)
    for who in range(1000):
        line.join(who, 0.0)
    asked: list[int] = []

    def refuse(who: int) -> bool:
        asked.append(who)
        return False

    assert line.next(refuse, 0.0) is None
    assert asked == list(range(LOOK))


def test_waits_end_in_time_and_a_new_setting_holds_for_who_comes_after_it(
    line: FairQueue[str],
) -> None:
    line.join("patient", 0.0)
    line.max_wait = 4.0
    line.join("hasty", 1.0)
    assert line.expired(4.9) == []
    assert line.expired(5.0) == ["hasty"]
    assert line.expired(29.0) == []
    assert line.expired(30.0) == ["patient"]
    assert len(line) == 0


def test_the_wait_is_what_it_took_lately_and_what_the_first_has_waited() -> None:
    line: FairQueue[str] = FairQueue(10, 30.0)
    assert line.wait(5.0) == 0.0, "nobody has waited"
    line.join("a", 0.0)
    line.join("b", 0.0)
    assert line.wait(4.0) == 4.0, "nothing was measured yet"
    assert line.next(lambda who: True, 8.0) == "a"
    line.leave("b")
    assert line.wait(9.0) == 8.0
    line.join("c", 100.0)
    assert line.wait(101.0) == 8.0
    assert line.wait(120.0) == 20.0, "it takes longer now"
    assert line.expired(130.0) == ["c"]
    line.join("d", 200.0)
    assert line.wait(200.0) == pytest.approx(8.0 + 0.1 * 22.0)


def test_a_request_that_leaves_before_the_end_of_the_wait_does_not_count() -> None:
    line: FairQueue[str] = FairQueue(10, 30.0)
    line.join("a", 0.0)
    line.leave("a")
    line.join("b", 10.0)
    assert line.wait(10.0) == 0.0


class LineWalk(RuleBasedStateMachine):
    """Compares the line with a plain list."""

    def __init__(self) -> None:
        super().__init__()
        self.line: FairQueue[int] = FairQueue(5, 10.0)
        self.plain: list[tuple[int, float]] = []
        self.now = 0.0
        self.count = 0

    @rule(later=st.floats(0, 5), patience=st.floats(0, 20))
    def join(self, later: float, patience: float) -> None:
        self.now += later
        self.count += 1
        self.line.max_wait = min(10.0, patience)
        joined = self.line.join(self.count, self.now)
        assert joined == (len(self.plain) < 5)
        if joined:
            self.plain.append((self.count, self.now + min(10.0, patience)))

    @rule(place=st.integers(0, 6))
    def leave(self, place: int) -> None:
        who = self.plain.pop(place)[0] if place < len(self.plain) else -1
        assert self.line.leave(who) == (who != -1)

    @rule(modulus=st.integers(1, 3))
    def serve(self, modulus: int) -> None:
        fitting = [entry for entry in self.plain if entry[0] % modulus == 0]
        served = self.line.next(lambda who: who % modulus == 0, self.now)
        assert served == (fitting[0][0] if fitting else None)
        if fitting:
            self.plain.remove(fitting[0])

    @rule(later=st.floats(0, 20))
    def expire(self, later: float) -> None:
        self.now += later
        over = [who for who, deadline in self.plain if deadline <= self.now]
        assert self.line.expired(self.now) == over
        self.plain = [entry for entry in self.plain if entry[1] > self.now]

    @invariant()
    def same(self) -> None:
        assert len(self.line) == len(self.plain)
        assert [self.line.place(who) for who, _ in self.plain] == [*range(1, len(self.plain) + 1)]
        assert self.line.place(-1) == 0
        assert all(who in self.line for who, _ in self.plain)


TestLine = LineWalk.TestCase
TestLine.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
