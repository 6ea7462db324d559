"""Control's side of ejected mirrors: what it hears, answers, tells all, counts and shows."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from monitor.common.config import MirrorConfig
from monitor.common.ipc import Message
from monitor.common.metric_registry import MetricRegistry
from monitor.engine.metrics import FAMILIES, IN_ROTATION
from monitor.health.snapshot import HealthSnapshot, MirrorHealth, State
from router.balancing.breaker import Lease, Phase, Standing
from router.balancing.breaker_messages import (
    Asked,
    Begun,
    Ended,
    Granted,
    Tripped,
    Word,
    from_message,
    to_message,
)
from router.balancing.config import ClassConfig, TimeoutConfig
from router.balancing.ejection import Cause
from router.control.breaker_coordinator import BreakerCoordinator, lease_seconds
from router.forwarding.config import RouterConfig
from router.forwarding.metrics import EJECTIONS

MIRRORS = tuple(MirrorConfig(name, f"https://{name}.test") for name in ("a", "b", "c"))
UP = HealthSnapshot(mirrors={m.id: MirrorHealth(m.id, State.up) for m in MIRRORS})


class Control:
    """Breakers, what they said, and a clock."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.to_all: list[Word] = []
        self.to_one: list[tuple[str, Word]] = []
        self.totals = MetricRegistry((*FAMILIES, EJECTIONS))
        self.breakers = BreakerCoordinator(
            lambda message: self.to_all.append(from_message(message)),
            lambda process, message: self.to_one.append((process, from_message(message))),
            self.totals,
            clock=lambda: self.now,
            rng=random.Random(1),
        )
        self.breakers.configure(RouterConfig(), MIRRORS)
        self.breakers.see(UP)

    def hear(self, process: str, word: Word) -> None:
        self.breakers.hear({**to_message(word), "process": process})

    def eject(self, mirror: str = "a", cause: Cause = Cause.failing) -> None:
        self.hear("w0", Tripped(mirror, cause, self.now + 10))

    def lease(self, process: str) -> Lease:
        """Return the lease that this worker is granted."""
        self.to_one.clear()
        self.hear(process, Asked("a"))
        to, word = self.to_one[-1]
        assert to == process
        assert isinstance(word, Granted)
        return word.lease

    def number(self, name: str, *labels: str) -> float:
        rows = self.totals.to_json()
        return next((cells for n, at, cells in rows if n == name and tuple(at) == labels), 0.0)

    def standing(self) -> Standing:
        return self.breakers.leases.standing("a")


@pytest.fixture
def control() -> Control:
    return Control()


@pytest.fixture
def on_trial(control: Control) -> Control:
    """A control that has ejected "a", whose time is over."""
    control.eject()
    control.now += 11
    return control


def test_an_ejection_is_told_to_all_counted_once_and_taken_out_of_rotation(control: Control):
    assert control.number(IN_ROTATION, "a") == 1
    control.eject()
    control.hear("w1", Tripped("a", Cause.failing, control.now + 12))
    assert [word.phase for word in control.to_all if isinstance(word, Standing)] == ["open"] * 2
    assert control.number(EJECTIONS.name, "a", "failing") == 1
    assert control.number(IN_ROTATION, "a") == 0
    assert control.number(IN_ROTATION, "b") == 1


def test_a_newer_snapshot_does_not_bring_an_ejected_mirror_back_in_the_metrics(control: Control):
    control.eject()
    control.totals.set(IN_ROTATION, 1.0, ("a",))  # as the monitor does that knows of probes only
    control.breakers.see(UP)
    assert control.number(IN_ROTATION, "a") == 0


def test_pages_are_told_why_and_until_when_and_of_a_trial_that_there_is_no_end(control: Control):
    control.eject(cause=Cause.unanswered)
    ejection = control.breakers.ejections()["a"]
    assert (ejection.cause, ejection.count) == ("unanswered", 1)
    assert ejection.until is not None
    assert ejection.until - ejection.since == pytest.approx(10)
    control.now += 11
    assert control.breakers.ejections()["a"].until is None
    assert "b" not in control.breakers.ejections()


def test_two_leased_successes_bring_it_back_for_all(on_trial: Control):
    for process in ("w0", "w1"):
        lease = on_trial.lease(process)
        on_trial.hear(process, Begun(lease))
        on_trial.hear(process, Ended(lease, True))
    last = on_trial.to_all[-1]
    assert isinstance(last, Standing)
    assert last.phase is Phase.closed
    assert on_trial.number(IN_ROTATION, "a") == 1
    assert on_trial.breakers.ejections() == {}


def test_a_failed_trial_is_another_ejection(on_trial: Control):
    lease = on_trial.lease("w0")
    on_trial.hear("w0", Begun(lease))
    on_trial.hear("w0", Ended(lease, False))
    assert on_trial.number(EJECTIONS.name, "a", "failing") == 2
    assert on_trial.standing().count == 2


@pytest.mark.parametrize("used", [False, True])
def test_the_lease_of_an_ended_worker_goes_to_another(on_trial: Control, used: bool):
    lease = on_trial.lease("w0")
    if used:
        on_trial.hear("w0", Begun(lease))
    on_trial.breakers.left("w0")
    assert on_trial.lease("w1").token != lease.token


def test_a_lease_in_use_is_over_when_no_attempt_can_last_that_long(on_trial: Control):
    lease = on_trial.lease("w0")
    on_trial.hear("w0", Begun(lease))
    on_trial.now += lease_seconds(RouterConfig())
    on_trial.breakers.leases.expire(on_trial.now)
    assert on_trial.lease("w1").token != lease.token


def test_a_lease_lasts_longer_than_the_most_patient_class_of_requests():
    patient = RouterConfig(classes=(ClassConfig(model="slow", first_content=5000.0),))
    assert lease_seconds(patient) > 5000
    hasty = RouterConfig(timeouts=TimeoutConfig(first_byte=10, first_content=10, stream_head=10))
    assert lease_seconds(hasty) > 900  # models that reason have a class of their own


@pytest.mark.parametrize(
    ("cause", "back"),
    [(Cause.unreachable, True), (Cause.failing, False), (Cause.unanswered, False)],
)
def test_probes_bring_back_only_who_could_not_be_reached(
    control: Control, cause: Cause, back: bool
):
    control.eject(cause=cause)
    control.breakers.probed("a", True)
    assert control.standing().phase is Phase.open  # its time is not over
    control.now += 11
    for _ in range(2):
        control.breakers.probed("a", True)
    assert (control.standing().phase is Phase.closed) is back
    assert control.number(IN_ROTATION, "a") == back


def test_a_probe_that_fails_after_the_time_is_another_ejection(control: Control):
    control.eject(cause=Cause.unreachable)
    control.now += 11
    control.breakers.probed("a", False)
    assert control.number(EJECTIONS.name, "a", "unreachable") == 2


def test_a_young_control_takes_what_a_worker_knows_and_tells_it_to_all(control: Control):
    known = Standing("a", Phase.open, since=900.0, until=1005.0, count=3, cause=Cause.failing)
    control.hear("w0", known)
    assert control.to_all == [known]
    assert control.number(IN_ROTATION, "a") == 0
    assert control.number(EJECTIONS.name, "a", "failing") == 0  # its predecessor has counted it
    control.hear("w1", replace(known, until=1000.0))
    assert control.to_all == [known]


def test_a_young_control_tells_newcomers_nothing_of_mirrors_that_it_knows_nothing_of(
    control: Control,
):
    assert control.breakers.state() == []
    control.eject()
    (told,) = control.breakers.state()
    assert from_message(told) == control.standing()


def test_two_control_processes_never_give_out_the_same_lease(on_trial: Control):
    successor = Control()
    successor.eject()
    successor.now += 11
    assert successor.lease("w0").token > on_trial.lease("w0").token


def _moved(mirror: MirrorConfig) -> MirrorConfig:
    return replace(mirror, url="https://elsewhere.test")


def _renamed(mirror: MirrorConfig) -> MirrorConfig:
    return replace(mirror, name="other")


@pytest.mark.parametrize(("change", "stays"), [(_moved, False), (_renamed, True)])
def test_a_mirror_that_has_moved_begins_anew_and_one_that_was_renamed_does_not(
    control: Control, change: Callable[[MirrorConfig], MirrorConfig], stays: bool
):
    control.eject()
    control.breakers.configure(RouterConfig(), (change(MIRRORS[0]), *MIRRORS[1:]))
    assert ("a" in control.breakers.ejections()) is stays
    assert control.number(IN_ROTATION, "a") == (not stays)


def test_the_last_one_that_probes_allow_is_never_ejected(control: Control):
    down = {name: replace(UP.of(name), state=State.down) for name in ("b", "c")}
    control.breakers.see(replace(UP, mirrors={**UP.mirrors, **down}))
    control.eject()
    (word,) = control.to_all
    assert word == Standing("a")
    assert control.number(EJECTIONS.name, "a", "failing") == 0


def test_messages_are_read_from_their_envelope(control: Control):
    envelope: dict[str, Any] = {"process": "w0", "to": "w1"}
    message: Message = {**to_message(Asked("a")), **envelope}
    assert from_message(message) == Asked("a")
