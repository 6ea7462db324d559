"""From what is known to what is shown."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest

from dashboard.common.config import DashboardConfig
from dashboard.common.printable import printable
from dashboard.common.sources import Ejection
from dashboard.common.steps import all_at_once
from dashboard.public.documents import BadCursor, bans_document, page_of_bans
from dashboard.public.plain import table, width
from dashboard.public.privacy import full_network, masked_network, shown_user_agent
from dashboard.public.rows import node, nodes, overview
from monitor.common.bans import Ban
from monitor.common.config import MirrorConfig
from monitor.health.snapshot import HealthSnapshot, MirrorHealth, Override, State
from router.control.ban_service import BansInForce
from tests.testkit.dashboard import HEALTH, MIRRORS, NOW, bans

MIRROR = MirrorConfig("a", "https://a.example.com")
CONFIG = DashboardConfig()
UP = MirrorHealth("a", State.up, NOW - 100, "ok", last_probe=NOW - 5)
DOWN = replace(UP, state=State.down, verdict="tls_reset")
UNKNOWN = MirrorHealth("a")
FAILED_ONCE = replace(DOWN, state=State.unknown)
OFFLINE = replace(FAILED_ONCE, verdict="local_network_down")


def row(health: MirrorHealth):
    return node(MIRROR, health, CONFIG, NOW, 180.0)


def test_mirrors_that_are_not_enabled_are_not_shown():
    snapshot = HealthSnapshot(mirrors={m.id: m for m in HEALTH})
    shown = nodes(MIRRORS, snapshot, CONFIG, NOW, 180.0)
    assert [n.id for n in shown] == ["hk", "jp", "sg", "us-west", "de"]


def test_a_result_that_is_too_old_makes_the_state_unknown_but_remembers_it():
    shown = row(replace(UP, last_probe=NOW - 181))
    assert (shown.state, shown.last_known, shown.verdict) == ("unknown", "up", "unknown")
    assert shown.since == NOW - 181
    assert shown.stale
    assert not row(replace(UP, last_probe=NOW - 180)).stale


def test_the_last_result_counts_while_a_mirror_rests():
    resting = replace(UP, last_probe=NOW - 1000, rests_until=NOW + 800)
    assert (row(resting).state, row(resting).verdict) == ("up", "ok")
    assert not row(replace(resting, rests_until=NOW - 180)).stale
    assert row(replace(resting, rests_until=NOW - 181)).stale


def test_a_mirror_never_probed_has_no_since():
    shown = row(UNKNOWN)
    assert (shown.state, shown.since, shown.last_probe) == ("unknown", None, None)
    assert not shown.stale


def test_the_operators_maintenance_is_the_state_even_without_probes():
    shown = row(replace(UP, wish=Override.maintenance, last_probe=NOW - 9999))
    assert shown.state is State.maintenance
    assert not shown.serving


def test_an_ejected_mirror_does_not_serve_whatever_probes_say_of_it():
    ejection = Ejection("failing", NOW - 1, NOW + 9, 1)
    shown = node(MIRROR, UP, CONFIG, NOW, 180.0, ejection=ejection)
    assert (shown.state, shown.in_rotation, shown.serving) == (State.up, False, False)
    whole = overview([shown, row(UP)])
    assert (whole.kind, whole.serving) == ("some", 1)


def test_hosts_are_hidden_on_request():
    assert node(MIRROR, UP, replace(CONFIG, show_hosts=False), NOW, 180.0).host is None
    assert row(UP).host == "a.example.com"


@pytest.mark.parametrize(
    ("healths", "kind"),
    [
        ([], "empty"),
        ([UP], "ok"),
        ([UP, UP], "ok"),
        ([UP, replace(UP, wish=Override.drain)], "planned"),
        ([UP, replace(UP, state=State.maintenance)], "planned"),
        ([UP, replace(UP, state=State.degraded)], "slow"),
        ([UP, DOWN], "some"),
        ([UP, UNKNOWN], "some"),
        ([UP, replace(DOWN, wish=Override.maintenance)], "planned"),
        ([DOWN, DOWN], "none"),
        ([DOWN, replace(DOWN, verdict="http_diff")], "last"),
        ([DOWN, replace(DOWN, verdict="http_diff", wish=Override.drain)], "none"),
        ([DOWN, replace(UP, wish=Override.drain)], "none"),
        ([UNKNOWN], "blind"),
        ([replace(UP, last_probe=NOW - 9999)] * 2, "blind"),
        ([UNKNOWN, DOWN], "early"),
        ([replace(UP, last_probe=NOW - 9999), DOWN], "lost"),
        ([replace(UP, last_probe=NOW - 9999), UNKNOWN, DOWN], "early"),
        ([replace(UP, last_probe=NOW - 9999), replace(DOWN, wish=Override.drain)], "early"),
        ([FAILED_ONCE], "early"),
        ([OFFLINE, FAILED_ONCE], "early"),
        ([OFFLINE, OFFLINE], "offline"),
        ([replace(OFFLINE, last_probe=NOW - 9999)], "blind"),
    ],
)
def test_the_state_of_the_whole(healths, kind):
    assert overview([row(health) for health in healths]).kind == kind


@pytest.mark.parametrize(
    ("network", "masked", "full"),
    [
        ("124.223.221.187/32", "124.223.221.x", "124.223.221.187"),
        ("124.223.221.128/25", "124.223.221.x", "124.223.221.128/25"),
        ("124.223.221.0/24", "124.223.221.0/24", "124.223.221.0/24"),
        ("10.0.0.0/8", "10.0.0.0/8", "10.0.0.0/8"),
        ("2001:db8:85a3:12::/64", "2001:db8:85a3::x", "2001:db8:85a3:12::/64"),
        ("2001:db8::/48", "2001:db8::/48", "2001:db8::/48"),
    ],
)
def test_a_network_is_masked_to_what_does_not_tell_one_client(network, masked, full):
    assert masked_network(network) == masked
    assert full_network(network) == full


def test_a_user_agent_cannot_carry_a_key_an_address_or_an_escape_sequence():
    agent = "bot/1.0 sk-abcdefghijklmnopqrstuvwxyz0123 from 124.223.221.187\x1b[31m\u202e"
    shown = shown_user_agent(agent)
    assert shown == "bot/1.0 … from 124.223.221.x[31m"
    assert len(shown_user_agent("word " * 100)) == 80
    assert printable("a\nb\tc\u2028d") == "abcd"


def bans_page(known: Sequence[Ban], limit: int, after: str) -> dict[str, Any]:
    page = page_of_bans(BansInForce(known, lambda: NOW), limit, after)
    return all_at_once(bans_document(page, CONFIG))


def test_bans_come_in_pages_that_stay_right_when_new_ones_arrive():
    known = list(bans(30))
    first = bans_page(known, 12, "")
    newer = Ban("bzzz", "192.0.2.1/32", NOW, None, "x", "operator")
    second = bans_page([newer, *known], 12, first["next"])
    third = bans_page([newer, *known], 12, second["next"])
    told = [ban["id"] for page in (first, second, third) for ban in page["bans"]]
    assert told == [ban.id for ban in known]
    assert third["next"] is None


def test_bans_of_one_moment_are_all_told():
    known = [Ban(f"b{i}", f"192.0.2.{i}/32", NOW, None, "x", "operator") for i in range(5)]
    told: list[str] = []
    after: str | None = ""
    while after is not None:
        page = bans_page(known, 2, after)
        told += [ban["id"] for ban in page["bans"]]
        after = page["next"]
    assert sorted(told) == [ban.id for ban in known]


@pytest.mark.parametrize("cursor", ["x", "!!!!", "é", "bm90LWEtbnVtYmVyIGI", "bmFuIGI", "a" * 5000])
def test_a_cursor_that_we_did_not_give_is_refused(cursor):
    with pytest.raises(BadCursor):
        bans_page([], 10, cursor)


def test_columns_line_up_with_wide_characters_and_empty_ones_go():
    lines = table([("A", "B", "C"), ("香港", "", "x"), ("e\u0301", "", "y")])
    assert lines == ["A     C", "香港  x", "e\u0301     y"]
    assert width("香港") == 4


@pytest.mark.parametrize(
    ("health", "until"),
    [
        (DOWN, NOW + 185),
        (UP, None),
        (replace(DOWN, wish=Override.maintenance), None),
        (replace(DOWN, last_probe=NOW - 181), None),
    ],
)
def test_only_a_node_that_is_known_to_be_down_is_said_to_be_left_alone(
    health: MirrorHealth, until: float | None
):
    assert node(MIRROR, health, CONFIG, NOW, 180.0, held_until=NOW + 185).held_until == until
