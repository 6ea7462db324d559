"""Lists of models for mirrors' own keys, and the requests that they keep away."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import pytest

from monitor.common.config import MirrorConfig
from monitor.common.metric_registry import MetricRegistry
from monitor.health.snapshot import HealthSnapshot, MirrorHealth, Override, State
from router.admission.credentials import Caller
from router.forwarding.config import WorkerConfig
from router.forwarding.context import WorkerContext
from router.forwarding.metrics import FAMILIES
from router.upstream.model_lists import lacking
from router.upstream.upstream import MOST_OFFERED
from tests.testkit.asked import eligibility, issue

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
    context = WorkerContext(
        WorkerConfig(mirrors=(first, second)), MetricRegistry(FAMILIES), hand_over=nobody_comes
    )
    for listed in (("x", "y"), ()):  # a list ends with the mirror's health
        context.learn(HealthSnapshot(mirrors={"a": replace(UP, models=listed, last_probe=1.0)}))
    names = ("alias", "x", "y", "named", "invented")
    assert [context.metering.recorded("k", name, "2026-11-21") for name in names] == [
        *names[:4],
        "other",
    ]
    context.configure(
        WorkerConfig(mirrors=(second, replace(first, models=("more",)))), context.snapshot
    )
    assert context.metering.recorded("k", "more", "2026-11-21") == "more"


def test_a_mirror_that_lists_other_models_each_time_makes_no_names_without_end() -> None:
    mirrors = (MirrorConfig("a", "https://a.test"),)
    context = WorkerContext(
        WorkerConfig(mirrors=mirrors), MetricRegistry(FAMILIES), hand_over=nobody_comes
    )
    for turn in range(12):
        listed = tuple(f"{turn}-{each}" for each in range(1000))
        context.learn(HealthSnapshot(mirrors={"a": replace(UP, models=listed, last_probe=1.0)}))
        assert len(context.upstreams.offered) <= MOST_OFFERED
    assert context.metering.recorded("k", "11-0", "2026-11-21") == "11-0"


def nobody_comes(*_: object) -> Any:
    raise AssertionError("nothing is handed over")


@pytest.mark.parametrize(
    "nobody",
    [
        lister("b", health=MirrorHealth("b", State.down)),
        lister("b", health=MirrorHealth("b", State.up, wish=Override.drain)),
        lister("b", health=MirrorHealth("b", State.up, key_refused=True)),
        lister("b", api_key=""),
        lister("b", enabled=False),
        lister("b", paths=("/v1/images",)),
    ],
)
def test_a_mirror_that_cannot_be_asked_does_not_keep_others_from_being_asked(
    nobody: Lister,
) -> None:
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
    mirrors = tuple(
        MirrorConfig(name, f"https://{name}.test", api_key="sk-lent", client_keys=("*",))
        for name in ("a", "b")
    )
    context = WorkerContext(
        WorkerConfig(mirrors=mirrors), MetricRegistry(FAMILIES), hand_over=nobody_comes
    )
    health = {name: MirrorHealth(name, State.up, models=(name,)) for name in ("a", "b")}
    context.learn(HealthSnapshot(mirrors=health))
    upstream = next(each for each in context.upstreams if each.id == "a")
    keys = {Caller.issued: issue(context, "k1"), Caller.own: b"sk-own", Caller.anonymous: b""}
    content = b'{"model": "%s"}' % model.encode()
    found = eligibility(context, b"/v1/chat/completions", key=keys[caller], content=content)
    assert found.fits(upstream) is fits
