"""Which mirror is chosen."""

from __future__ import annotations

import random
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.balancing.load import Baseline, Kind
from router.balancing.selection import by_priority, cheaper, p2c
from tests.unit.router.balancing.members import PlainMember, anybody


def _members(*weights: float) -> list[PlainMember]:
    return [PlainMember(f"m{number}", weight=w) for number, w in enumerate(weights)]


def _counts(members: list[PlainMember], picks: int = 2000, now: float = 1.0) -> Counter[str]:
    rng, heaviest = random.Random(7), max(m.load.weight for m in members)
    chosen = [p2c(members, anybody, rng, now, heaviest) for _ in range(picks)]
    return Counter(member.id for member in chosen if member is not None)


def test_of_two_the_cheaper_is_chosen() -> None:
    cheap, dear = _members(1.0, 1.0)
    dear.load.failed(1.0, 1.0)
    assert cheaper(dear, cheap, 1.0) is cheaper(cheap, dear, 1.0) is cheap
    assert _counts([dear, cheap]) == {cheap.id: 2000}


def test_of_two_that_cost_nearly_the_same_the_one_with_fewer_waiting_is_chosen() -> None:
    one, other = _members(1.0, 1.0)
    baseline = Baseline(Kind("chat", stream=True), 0.0)
    one.load.begin(baseline, 1.0)
    one.load.weight = 2.0
    assert one.load.cost(1.0) == pytest.approx(other.load.cost(1.0))
    assert cheaper(one, other, 1.0) is cheaper(other, one, 1.0) is other


@pytest.mark.parametrize("count", [1, 2, 3, 20])
def test_equals_are_chosen_equally_often(count: int) -> None:
    counts = _counts(_members(*[1.0] * count))
    assert len(counts) == count
    assert min(counts.values()) > 0.6 * 2000 / count


@pytest.mark.parametrize("light", [1, 3, 9])
def test_a_recovering_mirror_is_drawn_by_its_ramp(light: int) -> None:
    members = _members(*[1.0] * (light + 1))
    members[0].load.recover(1.0)
    fair = 2000 / len(members)
    assert 0.03 * fair < _counts(members, now=1.0)[members[0].id] < 0.25 * fair
    assert 0.3 * fair < _counts(members, now=16.0)[members[0].id] < 0.85 * fair
    assert _counts(members, now=31.0)[members[0].id] > 0.5 * 2000 / len(members)


def test_a_light_mirror_is_drawn_less_often_however_far_apart_the_weights_are() -> None:
    members = _members(1000.0, 1.0, 1.0)
    counts = _counts(members)
    assert counts[members[0].id] > 1900


@given(
    st.lists(st.booleans(), max_size=30),
    st.lists(st.sampled_from([0.1, 1.0, 3.0]), min_size=30, max_size=30),
    st.integers(0, 99),
)
def test_p2c_chooses_an_eligible_one_whenever_there_is_one(
    eligible: list[bool], weights: list[float], seed: int
) -> None:
    members = _members(*weights[: len(eligible)])
    allowed = {m.id for m, yes in zip(members, eligible, strict=True) if yes}
    chosen = p2c(members, lambda m: m.id in allowed, random.Random(seed), 1.0, 3.0)
    assert (chosen is not None) == bool(allowed)
    assert chosen is None or chosen.id in allowed


def test_the_first_priority_that_has_an_eligible_mirror_serves() -> None:
    first, second, third = _members(1.0, 1.0, 1.0)
    tiers, rng = [[first], [second, third]], random.Random(1)
    assert by_priority(tiers, anybody, rng, 1.0) is first
    chosen = {by_priority(tiers, lambda m: m is not first, rng, 1.0) for _ in range(50)}
    assert chosen == {second, third}
    assert by_priority(tiers, lambda m: False, rng, 1.0) is None


def test_the_choice_among_many_looks_at_few_of_them() -> None:
    """The bound that keeps 200 mirrors as cheap as 3: eligibility is asked of a handful."""
    members, asked = _members(*[1.0] * 200), Counter[str]()
    rng = random.Random(3)

    def accept(member: PlainMember) -> bool:
        asked[member.id] += 1
        return int(member.id[1:]) % 2 == 0

    for _ in range(200):
        p2c(members, accept, rng, 1.0)
    assert asked.total() < 200 * 14
