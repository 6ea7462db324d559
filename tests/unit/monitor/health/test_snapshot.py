"""Snapshots: frozen, versioned, and completed from older knowledge."""

from __future__ import annotations

import dataclasses
import json

import pytest

from monitor.diagnosis.evidence import Code
from monitor.health.snapshot import (
    HealthBoard,
    HealthSnapshot,
    MirrorHealth,
    Override,
    PathHealth,
    Standing,
    State,
    endpoint_of,
)


def test_a_new_snapshot_leaves_the_old_one_as_it_was() -> None:
    board = HealthBoard("here")
    first = board.publish({"a": MirrorHealth("a", State.up)}, 1.0)
    second = board.publish({"a": MirrorHealth("a", State.down)}, 2.0)
    assert (first.version, second.version) == (1, 2)
    assert (first.of("a").state, second.of("a").state) == (State.up, State.down)
    assert first is not second
    with pytest.raises(dataclasses.FrozenInstanceError):
        first.version = 3  # type: ignore[misc]


def test_an_unprobed_mirror_keeps_its_former_state() -> None:
    older = HealthSnapshot(7, 1.0, "x", {"a": MirrorHealth("a", State.down, last_probe=1.0)})
    young = HealthSnapshot(
        1,
        2.0,
        "x",
        {"a": MirrorHealth("a", wish=Override.drain), "new": MirrorHealth("new")},
    )
    completed = young.completed_from(older)
    assert (completed.of("a").state, completed.of("a").wish) == (State.down, Override.drain)
    assert completed.of("new").state is State.unknown
    assert young.of("a").state is State.unknown


def test_the_state_of_a_probed_mirror_replaces_the_former_one() -> None:
    older = HealthSnapshot(7, 1.0, "x", {"a": MirrorHealth("a", State.down, last_probe=1.0)})
    newer = HealthSnapshot(1, 2.0, "x", {"a": MirrorHealth("a", State.unknown, last_probe=2.0)})
    assert newer.completed_from(older) is newer


def test_a_snapshot_survives_the_way_to_a_worker() -> None:
    cut = Code.sent_no_name(end=Code.end_cut_after(how=Code.cut_reset(), ms=12.5))
    path = PathHealth(
        "a.test", "192.0.2.1", Standing.held, False, "tls_reset", until=9.0, evidence=(cut,)
    )
    mirror = MirrorHealth(
        "a", State.up, paths=(path,), weight=0.2, freezes_streams=True, evidence=(cut, cut)
    )
    snapshot = HealthSnapshot(3, 1.0, "x", {"a": mirror}, {"192.0.2.1:443": 9.0})
    assert HealthSnapshot.from_json(json.loads(json.dumps(snapshot.to_json()))) == snapshot


def test_news_bring_an_older_snapshot_up_to_date_and_leave_the_rest_alone() -> None:
    board = HealthBoard("here")
    same, gone = MirrorHealth("same", State.up), MirrorHealth("gone")
    old = board.publish({"same": same, "gone": gone, "a": MirrorHealth("a")}, 1.0)
    new = board.publish({"same": same, "a": MirrorHealth("a", State.up)}, 2.0, {"[::1]:1": 5.0})
    news = json.loads(json.dumps(new.news_since(old)))
    assert [m["id"] for m in news["mirrors"]] == ["a"]
    updated = old.with_news(news)
    assert updated == new
    assert updated.of("same") is same


def test_an_endpoint_is_named_as_in_a_url() -> None:
    assert endpoint_of("192.0.2.1", 443) == "192.0.2.1:443"
    assert endpoint_of("2001:db8::1", 8443) == "[2001:db8::1]:8443"


@pytest.mark.parametrize(
    ("quarantine", "until"),
    [
        ({"192.0.2.1:8443": 130.0, "[2001:db8::1]:8443": 120.0}, 120.0),
        ({"192.0.2.1:8443": 130.0}, None),
        ({"192.0.2.1:8443": 130.0, "[2001:db8::1]:8443": 100.0}, None),
        ({"192.0.2.1:443": 130.0, "[2001:db8::1]:443": 120.0}, None),
    ],
)
def test_a_mirror_is_left_alone_until_its_first_address_is_free(
    quarantine: dict[str, float], until: float | None
) -> None:
    paths = (PathHealth("a.test", "192.0.2.1"), PathHealth("a.test", "2001:db8::1"))
    mirrors = {"a": MirrorHealth("a", paths=paths), "new": MirrorHealth("new")}
    snapshot = HealthSnapshot(mirrors=mirrors, quarantine=quarantine)
    assert snapshot.left_alone_until("a", 8443, 100.0) == until
    assert snapshot.left_alone_until("new", 8443, 100.0) is None


def test_a_mirror_is_left_alone_for_as_long_as_its_name_would_shut_out_others() -> None:
    held = PathHealth("a.test", "192.0.2.1", Standing.held, verdict="sni_block_rst", until=1900.0)
    told = []
    for path in (
        held,
        dataclasses.replace(held, usable=True),
        dataclasses.replace(held, until=None),
    ):
        snapshot = HealthSnapshot(mirrors={"a": MirrorHealth("a", paths=(path,))})
        told.append(snapshot.left_alone_until("a", 8443, 100.0))
    assert told == [1900.0, None, None]
