"""The models of all mirrors as one list."""

from __future__ import annotations

import json

import pytest

from monitor.health.snapshot import MirrorHealth, State
from router.admission.key_index import IssuedKey
from router.metering.metered_request import ANONYMOUS
from router.upstream import offered_models
from router.upstream.offered_models import MOST_BODIES, MOST_LISTED, OfferedModels
from tests.unit.router.upstream.test_model_lists import Lister, lister


def offered(*mirrors: Lister) -> OfferedModels:
    models = OfferedModels()
    models.take(mirrors)
    return models


def names(models: OfferedModels, *patterns: str) -> list[str]:
    body = json.loads(models.listed(ANONYMOUS._replace(models=patterns)))
    assert body["object"] == "list"
    return [each["id"] for each in body["data"]]


def test_the_list_is_sorted_and_has_each_name_once() -> None:
    models = offered(lister("b", "a"), lister("a", "c"), lister())
    assert names(models) == ["a", "b", "c"]
    assert "a" in models
    assert "d" not in models


@pytest.mark.parametrize(
    "mirror",
    [
        lister("x", health=MirrorHealth("a", State.down)),
        lister("x", health=MirrorHealth("a", State.up, key_refused=True)),
        lister("x", api_key=""),
        lister("x", enabled=False),
    ],
)
def test_mirrors_that_serve_no_such_caller_add_nothing(mirror: Lister) -> None:
    assert not offered(mirror)


def test_a_mirror_for_some_paths_only_adds_its_models() -> None:
    assert names(offered(lister("x", paths=("/v1/messages",)))) == ["x"]


def test_names_are_the_clients_own() -> None:
    mapped = lister("there", model_map={"here": "there", "gone": "nowhere"})
    assert names(offered(mapped)) == ["here", "there"]
    settled = lister("there", models=("a",), model_map={"b": "there"})
    assert names(offered(settled)) == ["a", "b"]


def test_a_key_has_the_part_that_it_may_use_and_a_new_list_counts_at_once() -> None:
    models = offered(lister("gpt-4o", "o3", "o4"))
    assert names(models, "o*", "x") == ["o3", "o4"]
    models.take([lister("o5")])
    assert names(models, "o*", "x") == ["o5"]


def test_the_list_and_what_is_kept_of_it_are_bounded() -> None:
    many = [lister(*(f"{at}-{each}" for each in range(1000))) for at in range(12)]
    models = offered(*many)
    assert len(names(models)) == MOST_LISTED
    for at in range(3 * MOST_BODIES):
        names(models, f"{at}-*")
        assert len(models._bodies) <= MOST_BODIES


def test_the_nearest_names_are_those_that_differ_least() -> None:
    models = offered(lister("gpt-4o", "gpt-4o-mini", "o3", "claude-3-5-sonnet", "whisper-1"))
    assert models.nearest("gpt4o", ANONYMOUS)[0] == "gpt-4o"
    assert models.nearest("claude-3.5-sonnet", ANONYMOUS) == ["claude-3-5-sonnet"]
    assert models.nearest("zzz", ANONYMOUS) == []
    assert models.nearest("gpt4o", key_for("o3")) == []


def key_for(*patterns: str) -> IssuedKey:
    return ANONYMOUS._replace(models=patterns)


def test_an_unknown_name_is_compared_with_few(monkeypatch: pytest.MonkeyPatch) -> None:
    compared: list[int] = []

    def close(word: str, others: list[str], n: int) -> list[str]:
        compared.extend((len(word), len(others)))
        return []

    monkeypatch.setattr(offered_models, "get_close_matches", close)
    models = offered(*(lister(*(f"{at}-{each}" for each in range(1000))) for at in range(10)))
    models.nearest("x" * 10_000, ANONYMOUS)
    assert compared == [offered_models.LONGEST_COMPARED, offered_models.MOST_COMPARED]
