"""Paths that are left alone, from one start to the next."""

from __future__ import annotations

from dataclasses import replace

import pytest

from monitor.common.config import MirrorConfig
from monitor.diagnosis.evidence import Code
from monitor.diagnosis.timing import NORMAL
from monitor.engine.mirror_state import MirrorState
from monitor.engine.paths import MirrorPaths
from monitor.health.aside import KNOWN_FOR, Aside, read_aside
from monitor.health.paths import in_order, usable_ones
from monitor.health.snapshot import MirrorHealth, PathHealth, Standing, State
from monitor.health.vantages import view_of
from monitor.probes.results import Way

OWN, ALT, NEAR = "own.test", "alt.test", "192.0.2.1"
MIRROR = MirrorConfig("a", f"https://{OWN}", hostnames=(ALT,))
PINNED = replace(MIRROR, addresses=(NEAR,))
NOW, WALL = 1000.0, 1.8e9
EVIDENCE = (Code.not_shown_again(name=OWN),)
ASIDE = Aside(OWN, NEAR, "sni_block_rst", "suspected", WALL + 900, EVIDENCE)
HELD = PathHealth(OWN, NEAR, Standing.held, False, "sni_block_rst", "suspected", None, WALL + 900)


def test_paths_left_alone_for_their_name_are_known_until_an_hour_after_their_time() -> None:
    paths = (
        replace(HELD, evidence=EVIDENCE),
        PathHealth(ALT, NEAR, Standing.ok, True, "ok"),
        replace(HELD, address="192.0.2.2", verdict="connection_refused"),
        replace(HELD, address="192.0.2.3", standing=Standing.suspected, until=None),
    )
    text = view_of(MirrorHealth("a", State.degraded, paths=paths))
    assert read_aside(text, WALL) == (ASIDE,)
    assert read_aside(text, WALL + 900 + KNOWN_FOR - 1) == (ASIDE,)
    assert read_aside(text, WALL + 900 + KNOWN_FOR) == ()


@pytest.mark.parametrize(
    "text", ["", "nonsense", "[]", "{}", '{"aside": [["a"]]}', '{"aside": [[1, 2, 3, 4, "x", []]]}']
)
def test_a_text_of_another_version_tells_nothing(text: str) -> None:
    assert read_aside(text, WALL) == ()


@pytest.mark.parametrize("mirror", [MIRROR, PINNED], ids=["resolved later", "pinned"])
def test_a_path_is_left_alone_after_a_restart_and_another_name_comes_first(
    mirror: MirrorConfig,
) -> None:
    paths = MirrorPaths(mirror, NORMAL, NOW)
    paths.recall((ASIDE,), WALL, NOW)
    for name in (OWN, ALT):
        paths.resolved(name, [NEAR], NOW)
    path = paths.path(Way(OWN, NEAR))
    assert path is not None
    assert path.is_held(NOW + 899)
    assert (path.verdict, path.level, path.evidence) == ("sni_block_rst", "suspected", EVIDENCE)
    (usable,) = usable_ones(in_order(paths), lambda path: False)
    assert usable.hostname == ALT
    plan = paths.plan(NOW, lambda path: False, lambda path: False, 30.0)
    assert plan.ask == (Way(ALT, NEAR),)
    assert plan.check == ()


def test_paths_left_alone_are_shown_before_the_first_probe() -> None:
    watch = MirrorState(PINNED, 1, 1, NOW)
    assert watch.health().paths == ()
    watch.paths.recall((ASIDE,), WALL, NOW)
    shown = watch.health().paths
    assert [(path.hostname, path.usable) for path in shown] == [(ALT, True), (OWN, False)]


def test_a_path_whose_time_ended_during_the_start_is_left_alone_until_others_are_known() -> None:
    paths = MirrorPaths(PINNED, NORMAL, NOW)
    paths.recall((ASIDE,), ASIDE.until + 10, NOW)
    path = paths.path(Way(OWN, NEAR))
    assert path is not None
    assert path.verdict == ASIDE.verdict
    assert path.is_held(NOW + NORMAL.residual_hold - 1)
    assert not path.is_held(NOW + NORMAL.residual_hold)
