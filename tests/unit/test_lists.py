"""What mirrors list for their own keys, and which requests that keeps away from them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from types import SimpleNamespace
from typing import Any

import pytest

from monitor.config import MirrorConfig
from monitor.health.board import HealthSnapshot, MirrorHealth, State, Wish
from monitor.totals import Totals
from router.admission.keys import Caller
from router.config import WorkerConfig
from router.eligibility import Eligibility
from router.lists import lacking
from router.metrics import FAMILIES
from router.plane import Plane
from router.upstreams import MOST_OFFERED

UP = MirrorHealth("a", State.up)


@dataclass
class Lister:
    mirror: MirrorConfig
    health: MirrorHealth


def lister(*listed: str, health: MirrorHealth = UP, **mirror: Any) -> Lister:
    settings = {"api_key": "sk-own"} | mirror
    return Lister(MirrorConfig("a", "https://a.test", **settings), replace(health, models=listed))


def test_a_mirror_lacks_what_only_others_list() -> None:
    assert lacking([lister("a", "b"), lister("b", "c")]) == [{"c"}, {"a"}]


def test_a_mirror_without_a_list_lacks_nothing_and_offers_nothing() -> None:
    assert lacking([lister(), lister("a")]) == [frozenset(), frozenset()]


def test_the_operators_list_wins_over_the_mirrors_own() -> None:
    first, second = lister("x", models=("a",)), lister("b")
    assert lacking([first, second]) == [frozenset(), {"a"}]


def test_a_name_that_is_mapped_is_listed_when_its_target_is() -> None:
    mapped = lister("gpt-4-0613", model_map={"gpt-4": "gpt-4-0613", "o1": "o1-preview"})
    assert lacking([mapped, lister("gpt-4", "o1")]) == [{"o1"}, {"gpt-4-0613"}]


def test_models_are_offered_that_the_operator_or_a_mirror_names_or_has_named() -> None:
    first = MirrorConfig("a", "https://a.test", model_map={"alias": "x"})
    second = MirrorConfig("b", "https://b.test", models=("named",))
    plane = Plane(WorkerConfig(mirrors=(first, second)), Totals(FAMILIES), hand_over=nobody_comes)
    for listed in (("x", "y"), ()):  # a list ends with the mirror's health
        plane.learn(HealthSnapshot(mirrors={"a": replace(UP, models=listed, last_probe=1.0)}))
    names = ("alias", "x", "y", "named", "invented")
    assert [plane.metering.recorded("k", name, "2026-11-21") for name in names] == [
        *names[:4],
        "other",
    ]
    plane.configure(
        WorkerConfig(mirrors=(second, replace(first, models=("more",)))), plane.snapshot
    )
    assert plane.metering.recorded("k", "more", "2026-11-21") == "more"


def test_a_mirror_that_lists_other_models_each_time_makes_no_names_without_end() -> None:
    mirrors = (MirrorConfig("a", "https://a.test"),)
    plane = Plane(WorkerConfig(mirrors=mirrors), Totals(FAMILIES), hand_over=nobody_comes)
    for turn in range(12):
        listed = tuple(f"{turn}-{each}" for each in range(1000))
        plane.learn(HealthSnapshot(mirrors={"a": replace(UP, models=listed, last_probe=1.0)}))
        assert len(plane.upstreams.offered) <= MOST_OFFERED
    assert plane.metering.recorded("k", "11-0", "2026-11-21") == "11-0"


def nobody_comes() -> Any:
    raise AssertionError("nothing is handed over")


@pytest.mark.parametrize(
    "nobody",
    [
        lister("b", health=MirrorHealth("b", State.down)),
        lister("b", health=MirrorHealth("b", State.up, wish=Wish.drain)),
        lister("b", health=MirrorHealth("b", State.up, key_refused=True)),
        lister("b", api_key=""),
        lister("b", enabled=False),
        lister("b", paths=("/v1/images",)),
    ],
)
def test_who_cannot_be_asked_keeps_nobody_else_from_being_asked(nobody: Lister) -> None:
    assert lacking([lister("a"), nobody])[0] == frozenset()


@pytest.mark.parametrize(
    ("caller", "model", "fits"),
    [
        (Caller.issued, "b", False),
        (Caller.anonymous, "b", False),
        (Caller.own, "b", True),
        (Caller.issued, "a", True),
        (Caller.issued, "", True),
    ],
)
def test_a_list_counts_for_requests_with_the_mirrors_own_key(
    caller: Caller, model: str, fits: bool
) -> None:
    upstream: Any = SimpleNamespace(
        mirror=lister("a").mirror, lacks=frozenset({"b"}), lends_key=True
    )
    asked: Any = SimpleNamespace(caller=caller, suits=Suits(), target=b"/v1/chat/completions")
    body: Any = SimpleNamespace(collected=True, peek=lambda: b'{"model": "%s"}' % model.encode())
    assert Eligibility(asked, body).fits(upstream) is fits


class Suits:
    """Knows that a mirror takes the key and serves the path."""

    def get(self, upstream: object) -> bool:
        return True
