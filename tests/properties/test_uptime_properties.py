"""Uptime and coverage against a reference that counts every single second."""

from collections import Counter, defaultdict
from fractions import Fraction
from typing import Any

from hypothesis import example, given, settings
from hypothesis import strategies as st

from monitor.health.snapshot import State
from monitor.health.uptime import (
    KNOWN_STATES,
    LONGEST_SILENCE,
    Account,
    Credit,
    Known,
    covered,
    of_bucket,
    percent,
    total,
)

SIZE = 300
BEGIN = 1_000_200

states = st.sampled_from(list(State))
steps = st.lists(
    st.one_of(
        st.tuples(st.just("pass"), st.integers(1, 29)),
        st.tuples(st.just("pass"), st.integers(1, 29)),
        st.tuples(st.just("pass"), st.integers(30, 90)),
        st.tuples(st.just("look")),
        st.tuples(st.just("jump"), st.integers(2, 5000) | st.integers(-5000, -2)),
        st.tuples(st.just("look")),
        st.tuples(st.just("change"), states),
        st.tuples(st.just("flip"), states, st.integers(0, 60)),
        st.tuples(st.just("flip"), states, st.integers(0, 400)),
        st.tuples(st.just("restart"), st.integers(0, 900), st.booleans()),
    ),
    max_size=60,
)


class Second:
    """A second that was watched: where it is in the calendar, and what it was."""

    def __init__(self, label: int, state: State) -> None:
        self.label, self.state = label, state


class World:
    """Both clocks, an account as it is, and every second by itself."""

    def __init__(self) -> None:
        self.wall, self.monotonic = BEGIN, 0
        self.credits: list[Credit] = []
        self.seconds: list[Second] = []
        self._begin()

    def _begin(self) -> None:
        self.account = Account("hk", "here", State.unknown, self.wall, self.monotonic)
        self.watched: list[Second] = []
        self.unseen = 0
        self.looked_at = self.wall
        self.state_until_now = State.unknown

    def act(self, name: str, *arguments: Any) -> None:
        getattr(self, f"_{name}")(*arguments)

    def _pass(self, seconds: int) -> None:
        self.wall += seconds
        self.monotonic += seconds
        self.unseen += seconds

    def _jump(self, seconds: int) -> None:
        self.wall += seconds

    def _look(self) -> None:
        self.credits += self.account.credit(self.wall, self.monotonic)
        self._seen()

    def _change(self, state: State) -> None:
        self.credits += self.account.change(state, self.wall, self.wall, self.monotonic)
        self._seen()

    def _flip(self, state: State, back: int) -> None:
        old, since = self.account.state, self.wall - back
        self.credits += self.account.change(state, since, self.wall, self.monotonic)
        self._seen()
        label = self.wall
        for second in reversed(self.watched):
            if second.state is not old or second.label != label - 1 or second.label < since:
                break
            second.state, label = state, second.label

    def _restart(self, gap: int, orderly: bool) -> None:
        if orderly:
            self._look()
        self.seconds += self.watched
        self.wall += gap
        self._begin()

    def _seen(self) -> None:
        """Time that counts as seen: time without a look is unknown, in the state of then."""
        state = self.state_until_now
        known = min(self.unseen, int(LONGEST_SILENCE))
        self.watched += [Second(self.looked_at + n, state) for n in range(known)]
        self.unseen, self.looked_at = 0, self.wall
        self.state_until_now = self.account.state


def reference(world: World) -> dict[int, Counter[State]]:
    buckets: dict[int, Counter[State]] = defaultdict(Counter)
    for second in [*world.seconds, *world.watched]:
        if second.state is not State.unknown:
            buckets[second.label - second.label % SIZE][second.state] += 1000
    return buckets


def booked(credits: list[Credit]) -> dict[int, Counter[State]]:
    buckets: dict[int, Counter[State]] = defaultdict(Counter)
    for credit in credits:
        for start, milliseconds in credit.by_bucket(SIZE):
            buckets[start][credit.state] += milliseconds
    return buckets


def known(bucket: Counter[State]) -> Known:
    return of_bucket([bucket[state] for state in KNOWN_STATES], SIZE * 1000)


@settings(max_examples=300)
@given(steps)
@example([("change", State.up), ("pass", 25), ("look",), ("flip", State.down, 20)])
@example([("pass", 31), ("flip", State.up, 2)])
@example([("pass", 1), ("change", State.up), ("change", State.unknown), ("flip", State.up, 1)])
@example([("change", State.up), *[("pass", 9), ("look",)] * 5, ("flip", State.down, 20)])
@example([("change", State.up), ("pass", 20), ("jump", -600), ("look",), ("flip", State.down, 9)])
def test_every_second_is_booked_once_and_where_it_belongs(history):
    world = World()
    for step in history:
        world.act(*step)
    world.act("look")
    found, expected = booked(world.credits), reference(world)
    assert {s: +b for s, b in found.items() if +b} == {s: +b for s, b in expected.items() if +b}
    assert min((n for b in found.values() for n in b.values()), default=0) >= 0

    whole = total(known(bucket) for bucket in found.values())
    by_second = [state for b in expected.values() for state in b.elements()]
    counted = Counter(by_second)
    good, bad = counted[State.up] + counted[State.degraded], counted[State.down]
    assert whole.uptime == percent(good, good + bad)
    assert whole.down == bad
    assert 0 <= whole.covered <= whole.total
    calendar = sum(min(sum(b.values()), SIZE * 1000) for b in expected.values())
    assert abs(whole.covered - calendar) <= len(found) * SIZE


@given(st.lists(st.integers(1, 29), min_size=1, max_size=40))
def test_looking_more_often_changes_nothing(pauses):
    def credited(every: list[int]) -> list[tuple[int, Counter[State]]]:
        account, now, credits = Account("hk", "here", State.up, BEGIN, 0), 0, []
        for pause in every:
            now += pause
            credits += account.credit(BEGIN + now, now)
        return sorted(booked(credits).items())

    assert credited(pauses) == credited([1] * sum(pauses))


@given(st.integers(0, 10**15), st.integers(0, 10**15))
@example(999_999_999_999_999, 10**15)
@example(1, 10**15)
def test_a_percentage_is_never_rounded_up(part, whole):
    told = percent(part, whole)
    if whole == 0:
        assert told is None
        return
    exact = Fraction(100 * min(part, whole), whole)
    assert told is not None
    if told == "<0.01":
        assert 0 < exact < Fraction(1, 100)
    else:
        assert Fraction(told) <= exact < Fraction(told) + Fraction(1, 100)
    assert (told == "100") == (part >= whole)
    assert (told == "0") == (part == 0)


@given(st.integers(-1000, 10**8), st.sampled_from([SIZE * 1000, 3_600_000]))
def test_no_bucket_is_covered_more_than_wholly(milliseconds, length):
    assert 0 <= covered(milliseconds, length) <= length
    assert covered(milliseconds, length) >= min(max(milliseconds, 0), length)
    assert covered(milliseconds, length) - max(milliseconds, 0) <= length // 1000
