"""Snapshots: frozen, versioned, and completed from older knowledge."""

from __future__ import annotations

import dataclasses

import pytest

from monitor.health.board import HealthBoard, HealthSnapshot, MirrorHealth, State, Wish


def test_a_new_snapshot_leaves_the_old_one_as_it_was() -> None:
    board = HealthBoard("here")
    first = board.publish({"a": MirrorHealth("a", State.up)}, 1.0)
    second = board.publish({"a": MirrorHealth("a", State.down)}, 2.0)
    assert (first.version, second.version) == (1, 2)
    assert (first.of("a").state, second.of("a").state) == (State.up, State.down)
    assert first is not second
    with pytest.raises(dataclasses.FrozenInstanceError):
        first.version = 3  # type: ignore[misc]


def test_what_has_not_been_probed_yet_is_believed_to_be_as_it_was() -> None:
    older = HealthSnapshot(7, 1.0, "x", {"a": MirrorHealth("a", State.down, last_probe=1.0)})
    young = HealthSnapshot(
        1,
        2.0,
        "x",
        {"a": MirrorHealth("a", wish=Wish.drain), "new": MirrorHealth("new")},
    )
    completed = young.completed_from(older)
    assert (completed.of("a").state, completed.of("a").wish) == (State.down, Wish.drain)
    assert completed.of("new").state is State.unknown
    assert young.of("a").state is State.unknown


def test_what_has_been_probed_is_believed_at_once() -> None:
    older = HealthSnapshot(7, 1.0, "x", {"a": MirrorHealth("a", State.down, last_probe=1.0)})
    newer = HealthSnapshot(1, 2.0, "x", {"a": MirrorHealth("a", State.unknown, last_probe=2.0)})
    assert newer.completed_from(older) is newer
