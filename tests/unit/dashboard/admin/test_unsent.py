"""Forms that are kept for the operator while he signs in again."""

import pytest

from dashboard.admin.unsent import HOME, Unsent, carried, own_address, posted


@pytest.mark.parametrize("name", ["", "../../x", "reload?x", "a" * 90, "<script>", "reload/../x"])
def test_a_carried_form_is_only_ever_one_of_the_desk(name):
    form = {"unsent": [name], "unsent.back": ["/admin/keys"], "unsent:name": ["x"]}
    assert carried(form) == Unsent()


def test_a_form_comes_back_as_it_was_posted_but_for_secrets_and_confirmations():
    form = {
        "back": ["/admin/bans"],
        "network": ["a"],
        "password": ["p"],
        "sure": ["yes"],
        "x": [""],
    }
    kept = posted("/admin/do/ban", form)
    assert kept == Unsent("ban", "/admin/bans", {"network": ["a"]})
    again: dict[str, list[str]] = {}
    for name, value in kept.carried:
        again.setdefault(name, []).append(value)
    assert carried(again) == kept


@pytest.mark.parametrize(
    ("values", "fits"),
    [(["长"] * 300, True), (["x"] * 301, False), (["x" * 48_000], True), (["长" * 5_334], False)],
)
def test_a_form_is_kept_whole_or_not_at_all(values, fits):
    kept = posted("/admin/do/plan", {"mirrors": values})
    assert kept.fields == ({"mirrors": values} if fits else {})


@pytest.mark.parametrize(
    "back", ["/admin/do/ban", "/admin/do", "/admin/sign-out", "//x", "/admin//x", "/admin/a?b", ""]
)
def test_it_leads_back_to_pages_of_the_desk_only(back):
    assert own_address(back) == HOME
    assert own_address("/admin/nodes/sg") == "/admin/nodes/sg"
