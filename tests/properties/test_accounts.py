"""The account that a key has: the same one whatever else changes."""

from __future__ import annotations

from collections import Counter
from random import Random
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from monitor.common.config import MirrorConfig
from monitor.common.metric_registry import MetricRegistry
from router.balancing.accounts import account_of
from router.forwarding.config import WorkerConfig
from router.forwarding.context import WorkerContext
from router.forwarding.metrics import FAMILIES
from tests.testkit.asked import eligibility, issue

NAMES = st.lists(st.text(max_size=8), min_size=1, max_size=8, unique=True)
KEYS = st.lists(st.binary(max_size=12), min_size=1, max_size=20)


@given(NAMES, KEYS, st.randoms(use_true_random=False))
def test_neither_order_nor_repetition_matters(
    names: list[str], keys: list[bytes], random: Random
) -> None:
    shuffled = names + names
    random.shuffle(shuffled)
    for key in keys:
        assert account_of(key, names) == account_of(key, shuffled)


@given(NAMES, KEYS)
def test_a_name_that_goes_moves_only_its_own_keys(names: list[str], keys: list[bytes]) -> None:
    gone, left = names[0], names[1:]
    for key in keys:
        before, after = account_of(key, names), account_of(key, left)
        assert before in (gone, after)


@given(NAMES, st.text(max_size=8), KEYS)
def test_a_name_that_comes_takes_keys_for_itself_only(
    names: list[str], new: str, keys: list[bytes]
) -> None:
    for key in keys:
        assert account_of(key, [*names, new]) in (account_of(key, names), new)


def test_keys_are_spread_evenly() -> None:
    counts = Counter(account_of(b"%d" % key, "abcd") for key in range(4000))
    assert min(counts.values()) > 900


def test_the_choice_is_the_same_for_ever() -> None:
    """Ids of files and threads that clients keep would be lost by another one."""
    assert [account_of(b"k%d" % key, ["hk", "jp", "us"]) for key in range(8)] == [
        "us", "hk", "hk", "us", "hk", "us", "hk", "hk",
    ]  # fmt: skip
    assert account_of(b"k", []) is None


MIRRORS = st.dictionaries(st.sampled_from("abcdefgh"), st.sampled_from(["", "x", "y", "z"]))


def nobody_comes(*_: object) -> Any:
    raise AssertionError("nothing is handed over")


class Plane:
    """A worker, asked which account keeps what a key makes."""

    def __init__(self) -> None:
        registry = MetricRegistry(FAMILIES)
        self.context = WorkerContext(WorkerConfig(), registry, hand_over=nobody_comes)

    def accounts(self, mirrors: dict[str, str], keys: list[str]) -> list[str | None]:
        """The account of each key with mirrors of these accounts; None: any mirror will do."""
        configs = tuple(
            MirrorConfig(name, f"https://{name}.test", account=account, api_key="sk-own")
            for name, account in mirrors.items()
        )
        self.context.configure(WorkerConfig(mirrors=configs), self.context.snapshot)
        return [self._account(key) for key in keys]

    def _account(self, key: str) -> str | None:
        eligible = eligibility(self.context, b"/v1/files", key=issue(self.context, key))
        found = {u.account for u in self.context.upstreams if eligible.fits(u)}
        if len(found) > 1:
            assert "" not in found
            return None
        return found.pop() if found else "none"


PLANE = Plane()
ISSUED = [f"k{at}" for at in range(30)]


@given(MIRRORS, st.data())
def test_mirrors_that_come_and_go_within_accounts_move_no_key(
    mirrors: dict[str, str], data: st.DataObject
) -> None:
    mirrors["h"] = "x"
    before = PLANE.accounts(mirrors, ISSUED)
    fewer = {"h": "x"}
    for name, account in mirrors.items():
        alone = not account or account not in fewer.values()
        if alone or data.draw(st.booleans(), label=f"{name} stays"):
            fewer[name] = account
    assert PLANE.accounts(fewer, ISSUED) == before


@given(MIRRORS)
def test_an_account_that_goes_moves_its_own_keys_only(mirrors: dict[str, str]) -> None:
    mirrors |= {"g": "y", "h": "x"}
    before = PLANE.accounts(mirrors, ISSUED)
    left = {name: account for name, account in mirrors.items() if account != "y"}
    for was, is_now in zip(before, PLANE.accounts(left, ISSUED), strict=True):
        assert was in ("y", is_now)


def test_any_mirror_will_do_where_none_is_said_to_share_an_account() -> None:
    assert PLANE.accounts({"a": "", "b": ""}, ["k"]) == [None]
