"""Changes that operators are told of."""

from collections.abc import Mapping
from typing import Any

import pytest

from monitor.common.bans import Ban
from monitor.common.config import MirrorConfig
from monitor.common.keys import KeyAccount, KeyRecord, Spent
from monitor.health.snapshot import (
    HealthSnapshot,
    MirrorHealth,
    Override,
    PathHealth,
    State,
    VantageHealth,
)
from monitor.notify.conditions import DAY, SPIKE_BANS, SPIKE_WITHIN, Conditions
from monitor.notify.notice import Notice

MIRRORS = [
    MirrorConfig(id="hk", url="https://hk.example.com", name="香港"),
    MirrorConfig(id="jp", url="https://jp.example.com"),
]


def snapshot(**mirrors: Any) -> HealthSnapshot:
    """Mirrors by id: a state, or fields."""
    told = {
        name: MirrorHealth(name, **given)
        if isinstance(given, Mapping)
        else MirrorHealth(name, given)
        for name, given in mirrors.items()
    }
    return HealthSnapshot(1, 0.0, "here", told)


def kinds(notices: list[Notice]) -> list[tuple[str, str]]:
    return [(notice.kind.value, notice.subject) for notice in notices]


def see(conditions: Conditions, now: float = 0.0, /, **mirrors: Any) -> list[Notice]:
    return conditions.see(snapshot(**mirrors), MIRRORS, now)


DOWN = {"state": State.down, "verdict": "connection_refused", "since": 100.0}


def test_a_mirror_that_goes_down_and_comes_back_is_told_once_each():
    conditions = Conditions()
    assert see(conditions, hk=State.up, jp=State.up) == []
    (told,) = see(conditions, hk=DOWN, jp=State.up)
    assert (told.kind, told.subject, told.ended) == ("down", "hk", False)
    assert told.said.en == "香港 is down: the connection is refused. 1 other serves."
    assert see(conditions, hk=DOWN, jp=State.up) == []
    back = {"state": State.up, "since": 400.0}
    (told,) = see(conditions, hk=back, jp=State.up)
    assert (told.kind, told.ended, told.said.en) == ("up", True, "香港 is up again after 5 min.")
    assert see(conditions, hk=back, jp=State.up) == []


@pytest.mark.parametrize(
    "given",
    [
        {"state": State.unknown},
        {"state": State.maintenance},
        {**DOWN, "wish": Override.drain},
        {**DOWN, "wish": Override.maintenance},
    ],
)
def test_unknown_and_maintenance_states_change_no_condition(given: Any):
    conditions = Conditions()
    see(conditions, hk=DOWN, jp=State.up)
    assert see(conditions, hk=given, jp=State.up) == []
    assert conditions.told == {("down", "hk"): "down"}
    assert see(Conditions(), hk=given, jp=State.up) == []


def test_a_restarted_process_neither_repeats_nor_forgets():
    before = Conditions()
    see(before, hk=DOWN, jp=State.up)
    after = Conditions(before.told)
    assert see(after, hk={"state": State.unknown}, jp={"state": State.unknown}) == []
    assert see(after, hk=DOWN, jp=State.up) == []
    assert kinds(see(after, hk=State.up, jp=State.up)) == [("up", "hk")]


def test_that_nothing_serves_is_told_beside_the_mirrors_and_its_end_too():
    conditions = Conditions()
    told = see(conditions, hk=DOWN, jp=DOWN)
    assert kinds(told) == [("down", "hk"), ("down", "jp"), ("nothing_serves", "")]
    told = see(conditions, hk=State.up, jp=DOWN)
    assert kinds(told) == [("up", "hk"), ("nothing_serves", "")]
    assert told[-1].ended


def from_tokyo(state: State, here: State = State.up, lasts: bool = True) -> dict[str, Any]:
    seen = VantageHealth("tokyo", state, "sni_block_rst", lasts=lasts)
    return {"state": here, "vantages": (seen,)}


def test_a_mirror_that_is_down_for_another_instance_alone_is_told_once_it_lasts():
    conditions = Conditions()
    assert see(conditions, 0.0, hk=from_tokyo(State.down)) == []
    assert see(conditions, 29.0, hk=from_tokyo(State.down)) == []
    (told,) = see(conditions, 30.0, hk=from_tokyo(State.down))
    assert kinds([told]) == [("down", "hk@tokyo")]
    assert told.said.en.startswith("香港 is down from tokyo, and works from here: ")
    assert see(conditions, 31.0, hk=from_tokyo(State.down)) == []
    assert see(conditions, 32.0, hk=from_tokyo(State.unknown)) == []
    (ended,) = see(conditions, 33.0, hk=from_tokyo(State.up))
    assert (kinds([ended]), ended.ended) == ([("up", "hk@tokyo")], True)
    see(conditions, 40.0, hk=from_tokyo(State.down))
    see(conditions, 80.0, hk=from_tokyo(State.down))
    assert see(conditions, 81.0, jp=State.up) == []


def test_an_outage_everywhere_is_one_condition_not_one_for_each_vantage():
    conditions = Conditions()
    for now in (0.0, 40.0, 80.0):
        told = see(conditions, now, hk=from_tokyo(State.down, State.down))
        assert kinds(told) == ([("down", "hk"), ("nothing_serves", "")] if not now else [])
        assert see(Conditions(), now, hk=from_tokyo(State.down, lasts=False)) == []


def test_a_start_that_knows_nothing_yet_tells_nothing():
    unknown = {"state": State.unknown}
    conditions = Conditions({("nothing_serves", ""): "all"})
    assert see(conditions, hk=unknown, jp=unknown) == []
    assert conditions.told == {("nothing_serves", ""): "all"}


def path(verdict: str, level: str = "suspected", **more: Any) -> PathHealth:
    return PathHealth("api.example.com", "192.0.2.1", verdict=verdict, level=level, **more)


def test_a_blocked_name_is_told_when_suspected_and_when_confirmed_and_does_not_fall_back():
    conditions = Conditions()
    other = PathHealth("b.example.com", "192.0.2.2", verdict="ok", usable=True)
    for level, count in (("suspected", 1), ("suspected", 0), ("confirmed", 1), ("suspected", 0)):
        paths = (path("sni_block_rst", level), other)
        told = see(conditions, hk={"state": State.up, "paths": paths}, jp=State.up)
        assert kinds(told) == [("sni_block", "hk")] * count
        for notice in told:
            assert notice.level == level
            assert "Its traffic takes another path." in notice.said.en
    (told_end,) = see(conditions, hk={"state": State.up, "paths": (path("ok"), other)})
    assert told_end.ended


@pytest.mark.parametrize("verdict", ["ok", "dns_blocked", "throttled", "tls_reset", "http_timeout"])
def test_other_verdicts_are_no_block(verdict: str):
    health = {"state": State.up, "paths": (path(verdict),)}
    assert see(Conditions(), hk=health) == []


def test_a_certificate_is_spoken_of_at_each_threshold_once():
    conditions, ends = Conditions(), 100 * DAY
    health = {"state": State.up, "paths": (path("ok", "none", not_after=ends),)}
    said = []
    for day in range(80, 102):
        said += [(day, notice.level) for notice in see(conditions, day * DAY, hk=health)]
    assert said == [(86, "14"), (93, "7"), (97, "3"), (99, "1"), (100, "0")]
    renewed = {"state": State.up, "paths": (path("ok", "none", not_after=ends + 90 * DAY),)}
    (told,) = see(conditions, 101 * DAY, hk=renewed)
    assert (told.kind, told.ended) == ("certificate", True)


def test_a_removed_mirror_is_forgotten_silently():
    conditions = Conditions()
    see(conditions, hk=DOWN, jp=State.up)
    assert conditions.see(snapshot(hk=DOWN, jp=State.up), MIRRORS[1:], 0.0) == []
    assert conditions.told == {}


def test_each_new_fault_of_the_file_is_told_and_that_it_is_mended():
    conditions = Conditions()
    assert conditions.reloaded("", 0.0) == []
    assert kinds(conditions.reloaded("mirrors[0].url: bad", 1.0)) == [("reload_failed", "")]
    assert conditions.reloaded("mirrors[0].url: bad", 2.0) == []
    assert len(conditions.reloaded("mirrors[1].url: bad", 3.0)) == 1
    (mended,) = conditions.reloaded("", 4.0)
    assert mended.ended


def ban(number: int) -> Ban:
    return Ban(f"b{number}", f"192.0.2.{number}", 0.0, 60.0, "rate", "automatic")


def test_many_bans_at_once_are_told_and_no_more_until_it_has_been_a_while():
    conditions = Conditions()
    for number in range(SPIKE_BANS - 1):
        assert conditions.banned([ban(number)], 0.0) == []
    assert conditions.banned([], 0.0) == []
    (told,) = conditions.banned([ban(99)], SPIKE_WITHIN)
    assert told.said.en.startswith(f"{SPIKE_BANS} clients were banned within 5 minutes")
    assert conditions.banned([ban(n) for n in range(50)], SPIKE_WITHIN + 1.0) == []
    assert len(conditions.banned([ban(n) for n in range(50)], 3 * SPIKE_WITHIN)) == 1


def test_bans_that_come_slowly_are_no_spike():
    conditions = Conditions()
    step = SPIKE_WITHIN / (SPIKE_BANS - 2)
    assert not any(conditions.banned([ban(n)], n * step) for n in range(200))


def account(cost: int, quota: int | None = 1000, tokens: int | None = None) -> KeyAccount:
    record = KeyRecord(
        "k1", "lab", "d", 0.0, "me", None, None, "", 0.0, (), quota, tokens
    )  # fmt: skip
    return KeyAccount(record, Spent(cost, 0))


def test_a_key_is_spoken_of_when_little_and_when_nothing_is_left():
    conditions = Conditions()
    levels = []
    for cost in (0, 500, 799, 800, 900, 999, 1000, 1500):
        levels += [notice.level for notice in conditions.charged([account(cost)], 0.0)]
    assert levels == ["80", "100"]
    assert conditions.charged([account(1500, 1700)], 0.0) == []
    assert conditions.told == {("key_quota", "k1"): "80"}
    (topped,) = conditions.charged([account(1500, 5000)], 0.0)
    assert topped.ended


def test_a_key_without_quota_is_never_spoken_of():
    assert Conditions().charged([account(10**12, None)], 0.0) == []
