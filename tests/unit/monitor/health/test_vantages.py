"""Views of other instances: whose are believed, and what they prove. The clock is the test's."""

import json
from collections.abc import Mapping

import pytest

from monitor.diagnosis.evidence import Code
from monitor.health.snapshot import (
    HealthSnapshot,
    Latency,
    MirrorHealth,
    PathHealth,
    Standing,
    State,
)
from monitor.health.vantages import (
    GONE_AFTER,
    INTERRUPTED_AFTER,
    SETTLED_AFTER,
    SILENT_AFTER,
    Elsewhere,
    Instances,
    view_of,
)

NAME, ADDRESS = "a.example", "192.0.2.1"
RENEWED = 5.0
"""Seconds between two renewals of a lease."""


def seen(standing: Standing, successes: int = 0, **more) -> MirrorHealth:
    path = PathHealth(NAME, ADDRESS, standing, verdict="ok", successes=successes)
    return MirrorHealth("hk", paths=(path,), **more)


class Tokyo:
    """An instance elsewhere, and this one, on a common clock."""

    def __init__(self) -> None:
        self.here = Instances()
        self.now = 100.0
        self.beat = 0
        self.batch = 0
        self.successes = 0
        self.standing = Standing.ok

    def pass_by(self, seconds: float, **mirror) -> None:
        """Time in which it lives and probes every few seconds."""
        for _ in range(round(seconds / RENEWED)):
            self.now += RENEWED
            self.beat += 1
            self.successes += self.standing is Standing.ok
            self.tell(mirror)

    def tell(self, mirror: Mapping[str, object] | None = None) -> None:
        self.batch += 1
        state = State.up if self.standing is Standing.ok else State.down
        view = view_of(seen(self.standing, self.successes, **{"state": state, **(mirror or {})}))
        self.here.hear("tokyo", "process 1", self.beat, self.batch, {"hk": view}, self.now)

    def fails_here(self, standing: Standing = Standing.suspected) -> None:
        self.here.see_here(HealthSnapshot(mirrors={"hk": seen(standing)}), self.now)

    def told(self) -> Elsewhere:
        return self.here.told(self.now, 0.0)["tokyo"]["hk"]

    def proof(self) -> int:
        """Times in a row that the path works there while it fails here; 0: nothing is said."""
        return sum(path.times for path in self.told().paths if path.alive)


@pytest.fixture
def tokyo() -> Tokyo:
    made = Tokyo()
    made.pass_by(30)
    return made


def test_a_view_arrives_as_it_was_told(tokyo: Tokyo):
    detail = Code.works_from(vantage="x", name="y", address="z")
    tokyo.pass_by(
        RENEWED, state=State.degraded, verdict="slow", detail=detail, latency=Latency(1.4, tls=64.2)
    )
    health = tokyo.told().health
    assert (health.state, health.verdict, health.detail) == (State.degraded, "slow", detail)
    assert health.latency == {"resolve": 1, "tls": 64}
    assert health.lasts


def test_an_instance_that_falls_silent_is_unknown_and_then_forgotten(tokyo: Tokyo):
    tokyo.now += SILENT_AFTER - 1
    assert tokyo.told().health.state is State.up
    tokyo.now += 1
    assert tokyo.told().health.state is State.unknown
    tokyo.pass_by(RENEWED)
    assert tokyo.told().health.state is State.up
    tokyo.now += GONE_AFTER
    assert not tokyo.here.told(tokyo.now, 0.0)


def test_an_instance_that_was_dead_before_we_looked_is_not_spoken_of():
    tokyo = Tokyo()
    tokyo.tell()
    for _ in range(5):
        tokyo.now += RENEWED
        tokyo.tell()
    assert not tokyo.here.told(tokyo.now, 0.0)
    tokyo.pass_by(RENEWED)
    assert tokyo.told().health.state is State.up


def test_an_instance_that_was_stopped_is_gone_at_once(tokyo: Tokyo):
    tokyo.here.keep([])
    assert not tokyo.here.told(tokyo.now, 0.0)


def test_a_mirror_that_is_no_longer_watched_there_is_not_shown(tokyo: Tokyo):
    tokyo.here.hear("tokyo", "process 1", tokyo.beat + 1, 99, {"hk": ""}, tokyo.now)
    assert tokyo.here.told(tokyo.now, 0.0) == {"tokyo": {}}


@pytest.mark.parametrize(
    "text", ["", "[]", "{}", "x", json.dumps({"state": "new", "verdict": "ok"}), "3"]
)
def test_a_view_that_is_not_understood_says_nothing(tokyo: Tokyo, text: str):
    tokyo.here.hear("tokyo", "process 1", tokyo.beat + 1, 99, {"hk": text}, tokyo.now)
    assert tokyo.here.told(tokyo.now, 0.0) == {"tokyo": {}}


def test_only_successes_after_the_path_has_failed_here_prove_anything(tokyo: Tokyo):
    tokyo.fails_here()
    assert tokyo.proof() == 0
    tokyo.pass_by(SETTLED_AFTER - RENEWED)
    assert tokyo.proof() == 0
    tokyo.pass_by(RENEWED)
    assert tokyo.proof() == 1
    tokyo.pass_by(60)
    assert tokyo.proof() == 2  # more is not surer


def test_a_view_without_a_new_success_proves_nothing(tokyo: Tokyo):
    tokyo.fails_here()
    for _ in range(9):
        tokyo.now += RENEWED
        tokyo.beat += 1
        tokyo.tell({"verdict": f"of beat {tokyo.beat}"})
    assert tokyo.proof() == 0


def test_a_path_that_works_here_again_begins_anew(tokyo: Tokyo):
    tokyo.fails_here()
    tokyo.pass_by(30)
    tokyo.fails_here(Standing.ok)
    tokyo.fails_here()
    assert tokyo.proof() == 0


def test_a_path_that_fails_there_as_well_is_told_as_failing(tokyo: Tokyo):
    tokyo.fails_here()
    tokyo.pass_by(30)
    tokyo.standing = Standing.held
    tokyo.pass_by(RENEWED)
    (path,) = tokyo.told().paths
    assert (path.alive, path.hostname, path.address) == (False, NAME, ADDRESS)
    tokyo.standing = Standing.ok
    tokyo.pass_by(RENEWED)
    assert tokyo.proof() == 1


def test_views_that_waited_to_be_written_prove_nothing(tokyo: Tokyo):
    tokyo.fails_here()
    tokyo.now += max(INTERRUPTED_AFTER, SETTLED_AFTER)
    tokyo.pass_by(RENEWED)
    assert tokyo.proof() == 0
    tokyo.pass_by(SETTLED_AFTER)
    assert tokyo.proof() == 1


def test_a_mirror_is_not_shown_anew_for_each_latency(tokyo: Tokyo):
    first = tokyo.told()
    tokyo.pass_by(RENEWED, latency=Latency(1, 2, 3, 4))
    assert tokyo.told() is first
    tokyo.pass_by(RENEWED, verdict="slow")
    assert tokyo.told() is not first
