"""Which mirror is chosen."""

from __future__ import annotations

import random
from collections import Counter
from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.choice.selection import least_in_flight, select


@dataclass
class Candidate:
    """A mirror as a policy sees it."""

    name: str
    weight: float = 1.0
    in_flight: int = 0


def _choose(candidates: list[Candidate], seed: int = 0) -> str | None:
    chosen = select(candidates, lambda c: True, least_in_flight, random.Random(seed))
    return chosen.name if chosen else None


def test_the_least_loaded_is_chosen() -> None:
    assert _choose([Candidate("a", in_flight=3), Candidate("b", in_flight=2)]) == "b"


def test_load_counts_for_its_weight() -> None:
    assert _choose([Candidate("a", 1.0, 2), Candidate("b", 10.0, 9)]) == "b"
    assert _choose([Candidate("light", 1.0, 0), Candidate("heavy", 2.0, 0)]) == "heavy"


def test_equals_are_chosen_by_chance_and_each_of_them() -> None:
    names = Counter(_choose([Candidate("a"), Candidate("b")], seed) for seed in range(200))
    assert min(names["a"], names["b"]) > 50


def test_only_accepted_candidates_are_chosen() -> None:
    candidates = [Candidate("a"), Candidate("b", in_flight=9)]
    chosen = select(candidates, lambda c: c.name == "b", least_in_flight, random.Random(0))
    assert chosen is candidates[1]


@pytest.mark.parametrize("candidates", [[], [Candidate("a")]])
def test_without_an_accepted_candidate_there_is_none(candidates: list[Candidate]) -> None:
    assert select(candidates, lambda c: False, least_in_flight, random.Random(0)) is None


@given(st.lists(st.sampled_from([0.5, 1.0, 2.0, 4.0]), min_size=2, max_size=5), st.integers(0, 99))
def test_requests_that_stay_open_spread_by_weight(weights: list[float], seed: int) -> None:
    candidates = [Candidate(str(i), weight) for i, weight in enumerate(weights)]
    rng = random.Random(seed)
    for _ in range(400):
        chosen = select(candidates, lambda c: True, least_in_flight, rng)
        assert chosen is not None
        chosen.in_flight += 1
    for candidate in candidates:
        share = 400 * candidate.weight / sum(weights)
        assert abs(candidate.in_flight - share) <= len(weights) + 1
