"""Ejected mirrors over several workers: one leased attempt at a time, granted by control."""

from __future__ import annotations

import json
import random

import pytest

from router.balancing.breaker import Lease, Phase, Standing
from router.balancing.breaker_messages import (
    Asked,
    Begun,
    Ended,
    Failed,
    Granted,
    Recalled,
    Tripped,
    Word,
    from_message,
    to_message,
)
from router.balancing.config import BalanceConfig, EjectionConfig
from router.balancing.ejection import Cause
from router.balancing.failure import Failure
from router.balancing.load import Kind, network_terms
from router.balancing.pool import Attempt, Pool
from router.balancing.trial_leases import Leases
from router.forwarding.config import RouterConfig
from tests.unit.router.balancing.members import PlainMember

NAMES = ("a", "b", "c", "d")


class Machine:
    """Workers and control whose messages arrive when the test says so."""

    def __init__(self, workers: int = 2, config: RouterConfig | None = None) -> None:
        self.config = config or RouterConfig()
        self.now = 1000.0
        self.leases = self.young_control()
        self.said: list[tuple[str, Word]] = []
        self.heard: list[tuple[str, Word]] = []
        self.pools: dict[str, Pool[PlainMember]] = {}
        self.members: dict[str, dict[str, PlainMember]] = {}
        for number in range(workers):
            self.add(f"w{number}")

    def add(self, worker: str) -> None:
        def tell(word: Word) -> None:
            self.said.append((worker, word))

        pool: Pool[PlainMember] = Pool(self.config, random.Random(1), tell)
        members = {name: PlainMember(name, self.config, now=self.now) for name in NAMES}
        pool.members(members.values())
        self.pools[worker], self.members[worker] = pool, members

    def young_control(self) -> Leases:
        leases = Leases(self.config.ejection, 10.0, random.Random(1))
        leases.mirrors(dict.fromkeys(NAMES, "https://one.test"), NAMES)
        return leases

    def deliver(self) -> None:
        """Let everything that was said arrive, as the feed carries it."""
        while self.said:
            worker, word = self.said.pop(0)
            word = from_message(to_message(word))
            for to, answer in self.leases.hear(worker, word, self.now):
                for pool in [self.pools[to]] if to else self.pools.values():
                    self.heard.append((to or "all", answer))
                    pool.hear(from_message(to_message(answer)), self.now)

    def ask(
        self, worker: str, *, only: str = "abcd", repeatable: bool = True, again: bool = False
    ) -> Attempt[PlainMember] | None:
        pool = self.pools[worker]
        return pool.choose(
            lambda m: m.id in only,
            pool.baselines.of(Kind("chat", stream=True), self.now),
            self.now,
            repeatable=repeatable,
            again=again,
        )

    def fail(self, worker: str, name: str, failure: Failure, times: int) -> None:
        for _ in range(times):
            attempt = self.ask(worker, only=name)
            assert attempt is not None
            attempt.failed(failure, self.now)

    def phase(self, worker: str, name: str) -> Phase:
        return self.members[worker][name].breaker.standing.phase

    def end_ejection(self, name: str) -> None:
        self.now = self.standing(name).until + 0.1

    def standing(self, name: str) -> Standing:
        return next(s for s in self.leases.standings() if s.mirror == name)


@pytest.fixture
def machine() -> Machine:
    return Machine()


@pytest.fixture
def ejected(machine: Machine) -> Machine:
    """A machine where "a" was ejected for failing, and its time is over."""
    machine.fail("w0", "a", Failure.server_error, 5)
    machine.deliver()
    machine.end_ejection("a")
    machine.heard.clear()
    return machine


def test_a_worker_ejects_at_once_and_the_others_when_they_hear_of_it(machine: Machine) -> None:
    machine.fail("w0", "a", Failure.server_error, 5)
    assert machine.phase("w0", "a") is Phase.open
    assert machine.phase("w1", "a") is Phase.closed
    machine.deliver()
    assert machine.phase("w1", "a") is Phase.open
    chosen = {machine.ask("w1").member.id for _ in range(100)}  # type: ignore[union-attr]
    assert chosen == {"b", "c", "d"}


def test_many_workers_that_say_so_count_as_one_ejection_with_the_later_deadline(
    machine: Machine,
) -> None:
    for worker in machine.pools:
        machine.fail(worker, "a", Failure.connect, 3)
    machine.deliver()
    standing = machine.standing("a")
    assert (standing.count, standing.cause) == (1, Cause.unreachable)
    deadlines = {m["a"].breaker.standing.until for m in machine.members.values()}
    assert deadlines == {standing.until}


def test_two_workers_at_once_cannot_eject_more_than_half(machine: Machine) -> None:
    machine.fail("w0", "a", Failure.connect, 3)
    machine.fail("w0", "b", Failure.connect, 3)
    machine.fail("w1", "c", Failure.connect, 3)
    machine.fail("w1", "d", Failure.connect, 3)
    assert sum(m.breaker.closed for m in machine.members["w1"].values()) == 2
    machine.deliver()
    for members in machine.members.values():
        assert [name for name, m in members.items() if not m.breaker.closed] == ["a", "b"]


def test_a_refused_ejection_forgives_nothing(machine: Machine) -> None:
    machine.fail("w0", "a", Failure.connect, 3)
    machine.fail("w0", "b", Failure.connect, 3)
    machine.fail("w1", "c", Failure.connect, 3)
    machine.deliver()
    load = machine.members["w1"]["c"].load
    assert load.share(machine.now) == 1.0
    assert load.terms(machine.now).success < 0.3


def test_when_all_mirrors_fail_nobody_else_is_ejected(machine: Machine) -> None:
    for name in NAMES:
        machine.fail("w0", name, Failure.connect, 2)
    for name in NAMES:
        machine.fail("w0", name, Failure.connect, 3)
    assert all(member.breaker.closed for member in machine.members["w0"].values())


def test_only_one_attempt_tries_a_mirror_whose_time_is_over(ejected: Machine) -> None:
    for worker in ejected.pools:
        assert ejected.ask(worker).member.id != "a"  # type: ignore[union-attr]
    ejected.deliver()
    trials = [ejected.ask(worker) for worker in ejected.pools for _ in range(20)]
    assert [a.member.id for a in trials if a is not None and a.on_trial] == ["a"]
    assert [a.member.id for a in trials if a is not None].count("a") == 1
    assert ejected.leases.held == 1


def test_a_request_that_must_not_be_repeated_tries_nobody(ejected: Machine) -> None:
    ejected.ask("w0")
    ejected.deliver()
    never = [ejected.ask("w0", repeatable=False) for _ in range(20)]
    assert "a" not in [attempt.member.id for attempt in never if attempt is not None]
    assert ejected.ask("w0").member.id == "a"  # type: ignore[union-attr]


def _trial(machine: Machine, worker: str = "w0") -> Attempt[PlainMember]:
    machine.now += 1.0
    machine.ask(worker)
    machine.deliver()
    attempt = machine.ask(worker)
    assert attempt is not None
    assert attempt.on_trial
    machine.deliver()
    return attempt


def test_two_successes_bring_it_back_with_a_tenth_of_the_traffic(ejected: Machine) -> None:
    _trial(ejected).content(ejected.now)
    ejected.deliver()
    assert ejected.phase("w1", "a") is not Phase.closed
    _trial(ejected, "w1").succeeded(ejected.now)
    ejected.deliver()
    for worker in ejected.pools:
        assert ejected.phase(worker, "a") is Phase.closed
        assert ejected.members[worker]["a"].load.share(ejected.now) == pytest.approx(0.1)
    assert ejected.leases.held == 0


def test_one_failure_ejects_it_again_for_twice_as_long(ejected: Machine) -> None:
    _trial(ejected).content(ejected.now)
    ejected.deliver()
    _trial(ejected).failed(Failure.server_error, ejected.now)
    ejected.deliver()
    standing = ejected.standing("a")
    assert (standing.phase, standing.count) == (Phase.open, 2)
    assert 16.0 <= standing.until - ejected.now <= 24.0


def test_a_client_who_leaves_shows_nothing_and_gives_the_lease_back(ejected: Machine) -> None:
    _trial(ejected).passed_on()
    ejected.deliver()
    assert ejected.leases.held == 0
    assert ejected.standing("a").phase is Phase.trial
    assert _trial(ejected).on_trial


def test_a_result_after_the_lease_is_over_is_ignored(ejected: Machine) -> None:
    attempt = _trial(ejected)
    ejected.now += 11.0
    ejected.leases.expire(ejected.now)
    attempt.failed(Failure.timeout, ejected.now)
    ejected.deliver()
    assert ejected.standing("a").count == 1
    assert ejected.leases.held == 0


def test_a_dead_workers_lease_is_free(ejected: Machine) -> None:
    _trial(ejected)
    ejected.leases.worker_left("w0")
    assert ejected.leases.held == 0
    assert _trial(ejected, "w1").on_trial


def test_an_unused_lease_is_recalled_for_a_worker_that_has_traffic(ejected: Machine) -> None:
    ejected.ask("w0")
    ejected.deliver()
    ejected.now += 60.0
    ejected.ask("w1")
    ejected.deliver()
    assert ("w0", Recalled(Lease("a", 1))) in ejected.heard
    assert not ejected.members["w0"]["a"].breaker.leased
    assert _trial(ejected, "w1").on_trial


def test_a_lease_in_use_is_not_given_back(ejected: Machine) -> None:
    attempt = _trial(ejected)
    ejected.pools["w0"].hear(Recalled(Lease("a", 1)), ejected.now)
    assert ejected.said == []
    attempt.content(ejected.now)
    assert ejected.said == [("w0", Ended(Lease("a", 1), True))]


def test_a_lease_waits_for_traffic_however_little_there_is(ejected: Machine) -> None:
    ejected.ask("w0")
    ejected.deliver()
    ejected.now += 3600.0
    ejected.leases.expire(ejected.now)
    assert ejected.ask("w0").on_trial  # type: ignore[union-attr]


def test_probes_bring_back_only_who_could_not_be_reached(machine: Machine) -> None:
    machine.fail("w0", "a", Failure.connect, 3)
    machine.fail("w0", "b", Failure.timeout, 3)
    machine.deliver()
    for name in "ab":
        assert machine.leases.probed(name, True, machine.now) is None, "its time is not over"
    machine.end_ejection("a")
    machine.end_ejection("b")
    words = [machine.leases.probed(name, True, machine.now) for name in "abab"]
    assert [word.phase for word in words if word] == [Phase.trial, Phase.closed]
    assert machine.standing("b").phase is Phase.trial, "only its traffic can show that"


def test_a_probe_that_fails_no_more_ends_the_wait_for_a_trial(machine: Machine) -> None:
    machine.fail("w0", "a", Failure.connect, 3)
    machine.fail("w0", "b", Failure.server_error, 5)
    machine.deliver()
    for name in "ab":
        assert machine.leases.probed(name, False, machine.now) is None
    words = [machine.leases.probed(name, True, machine.now) for name in "aabb"]
    told = [word and word.phase for word in words]
    assert told == [Phase.trial, Phase.closed, Phase.trial, None], "b needs a request"


def test_a_failed_probe_ejects_the_unreachable_again(machine: Machine) -> None:
    machine.fail("w0", "a", Failure.connect, 3)
    machine.deliver()
    machine.end_ejection("a")
    word = machine.leases.probed("a", False, machine.now)
    assert word is not None
    assert (word.phase, word.count) == (Phase.open, 2)


def test_failures_of_attempts_from_before_the_ejection_count_no_more(machine: Machine) -> None:
    late = [machine.ask("w0", only="a") for _ in range(20)]
    machine.now += 1.0
    machine.fail("w0", "a", Failure.server_error, 5)
    machine.deliver()
    machine.end_ejection("a")
    for _ in range(2):
        _trial(machine).content(machine.now)
        machine.deliver()
    assert machine.phase("w0", "a") is Phase.closed
    for attempt in late:
        assert attempt is not None
        attempt.failed(Failure.timeout, machine.now)
    machine.deliver()
    assert machine.phase("w0", "a") is Phase.closed


def test_without_any_other_mirror_an_ejected_one_is_asked(machine: Machine) -> None:
    machine.fail("w0", "a", Failure.timeout, 3)
    machine.fail("w0", "b", Failure.server_error, 5)
    assert machine.ask("w0", only="ab").member.id == "b"  # type: ignore[union-attr]
    assert machine.ask("w0", only="a").member.id == "a"  # type: ignore[union-attr]
    assert machine.ask("w0", only="a", again=True) is None, "where nothing answers, not again"


def test_young_control_learns_from_the_workers_what_was_ejected(ejected: Machine) -> None:
    ejected.leases = ejected.young_control()
    for worker, pool in ejected.pools.items():
        ejected.said += [(worker, standing) for standing in pool.standings()]
    ejected.deliver()
    assert ejected.leases.ejected == ["a"]
    assert _trial(ejected).on_trial


def test_control_that_knows_of_no_ejection_frees_whoever_asks(ejected: Machine) -> None:
    ejected.leases = ejected.young_control()
    ejected.ask("w0")
    ejected.deliver()
    assert ejected.phase("w0", "a") is Phase.closed


def test_a_lease_for_a_mirror_that_is_back_is_given_back(machine: Machine) -> None:
    machine.pools["w0"].hear(Granted(Lease("a", 7)), machine.now)
    machine.pools["w0"].hear(Granted(Lease("removed", 8)), machine.now)
    assert [word for _, word in machine.said] == [
        Ended(Lease("a", 7), None),
        Ended(Lease("removed", 8), None),
    ]


def test_probing_and_asking_of_a_removed_mirror_do_nothing(machine: Machine) -> None:
    for word in (Asked("x"), Tripped("x", Cause.failing, 1.0), Begun(Lease("x", 1))):
        assert machine.leases.hear("w0", word, machine.now) == []
    assert machine.leases.probed("x", True, machine.now) is None


def test_priority_is_a_policy_of_the_pool() -> None:
    config = RouterConfig(balance=BalanceConfig(policy="priority"))
    machine = Machine(config=config)
    for name, member in machine.members["w0"].items():
        member.priority = 0 if name == "c" else 1
    machine.pools["w0"].members(machine.members["w0"].values())
    assert {machine.ask("w0").member.id for _ in range(20)} == {"c"}  # type: ignore[union-attr]


@pytest.mark.parametrize(
    "word",
    [
        Failed("a", Failure.cut, 0.5, 3),
        Tripped("a", Cause.failing, 1.0),
        Ended(Lease("a", 3), None),
        Standing("a"),
        Standing("a", Phase.open, 1.0, 2.0, 3, Cause.unreachable),
    ],
)
def test_words_travel_as_plain_values(word: Word) -> None:
    assert from_message(json.loads(json.dumps(to_message(word)))) == word


def test_failures_too_rare_in_each_worker_eject_by_their_sum() -> None:
    machine = Machine(workers=5)
    for worker in machine.pools:
        assert machine.phase(worker, "a") is Phase.closed
        machine.fail(worker, "a", Failure.server_error, 1)
        machine.deliver()
    assert {machine.phase(worker, "a") for worker in machine.pools} == {Phase.open}


def test_successes_of_the_workers_that_report_failures_are_counted_too() -> None:
    machine = Machine(workers=5)
    for _ in range(20):
        for worker in machine.pools:
            for _ in range(3):
                attempt = machine.ask(worker, only="a")
                assert attempt is not None
                attempt.succeeded(machine.now)
            machine.fail(worker, "a", Failure.server_error, 1)
            machine.deliver()
    assert {machine.phase(worker, "a") for worker in machine.pools} == {Phase.closed}


def test_when_all_mirrors_fail_in_all_workers_control_ejects_nobody() -> None:
    machine = Machine(workers=5)
    for name in NAMES:
        for worker in list(machine.pools)[:2]:
            machine.fail(worker, name, Failure.connect, 1)
            machine.deliver()
    for name in NAMES:
        for worker in machine.pools:
            machine.fail(worker, name, Failure.connect, 1)
            machine.deliver()
    assert machine.leases.ejected == []


def test_a_mirror_that_has_moved_is_a_new_one(ejected: Machine) -> None:
    places = {"a": "https://elsewhere.test", "b": "https://one.test"}
    ejected.leases.mirrors(places, places)
    assert ejected.leases.ejected == []
    ejected.leases.mirrors(places, [])
    assert ejected.leases.hear("w0", Tripped("b", Cause.failing, 1.0), ejected.now) == [
        (None, Standing("b"))
    ], "the only one left is not ejected"


def test_a_reload_changes_what_is_counted_from_then_on(machine: Machine) -> None:
    config = RouterConfig(ejection=EjectionConfig(consecutive_local=1))
    machine.pools["w0"].configure(config)
    machine.fail("w0", "a", Failure.connect, 1)
    assert machine.phase("w0", "a") is Phase.open
    machine.leases.configure(config.ejection, 5.0)
    assert machine.leases.lease_seconds == 5.0


def test_every_mirror_is_explained(ejected: Machine) -> None:
    ejected.fail("w0", "b", Failure.server_error, 2)
    rows = {row.mirror: row for row in ejected.pools["w0"].explain(ejected.now)}
    assert list(rows) == list(NAMES)
    assert rows["a"].standing.cause is Cause.failing
    assert rows["b"].terms.success < 0.5
    assert rows["c"].terms.cost == pytest.approx(1.0)
    assert rows["c"].failing == 0.0


@pytest.mark.parametrize(
    ("tls_ms", "terms"),
    [
        ({}, {}),
        ({"a": None}, {"a": 0.0}),
        ({"a": 0.0}, {"a": 0.0}),
        ({"a": 50.0, "b": 100.0, "c": 200.0}, {"a": 0.0, "b": 0.0, "c": 0.25}),
        ({"a": 10.0, "b": 10.0, "c": 5000.0, "d": None}, {"a": 0, "b": 0, "c": 2.0, "d": 0}),
    ],
)
def test_a_slow_way_to_a_mirror_makes_it_dearer(
    tls_ms: dict[str, float | None], terms: dict[str, float]
) -> None:
    assert network_terms(tls_ms) == pytest.approx(terms)
