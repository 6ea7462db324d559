"""Promises of the simulation about selection, ejection and recovery, with the real modules."""

from __future__ import annotations

from xml.etree import ElementTree

import pytest

from benchmarks import documents
from benchmarks.plot import svg
from benchmarks.simulation import selection
from benchmarks.simulation.__main__ import main
from benchmarks.simulation.gateway import Gateway
from benchmarks.simulation.scenarios import (
    OURS,
    POLICIES,
    SCENARIOS,
    Figures,
    Policy,
    Scenario,
    figures,
    over_time,
)
from benchmarks.simulation.world import World
from router.balancing.failure import Failure

BY_NAME = {scenario.name: scenario for scenario in SCENARIOS}
COST_ALONE = next(policy for policy in POLICIES if policy.name == "cost alone")
CLASSIC = next(policy for policy in POLICIES if policy.name == "classic peak EWMA")


def _figures(name: str, policy: Policy = OURS, seeds: tuple[int, ...] = (1, 2)) -> Figures:
    scenario = BY_NAME[name]
    return figures(scenario, [scenario.run(policy, seed) for seed in seeds])


@pytest.mark.parametrize("policy", [OURS, COST_ALONE], ids=lambda policy: policy.name)
def test_a_mirror_that_fails_fast_gets_less_than_a_twentieth_after_5_s(policy: Policy) -> None:
    assert _figures("fast failing", policy).share < 0.05
    assert _figures("fast failing", CLASSIC).share > 0.35, "what the classic formula does"


@pytest.mark.parametrize("policy", [OURS, COST_ALONE], ids=lambda policy: policy.name)
def test_a_mirror_that_hangs_gets_less_than_a_hundredth(policy: Policy) -> None:
    for name in ("hung", "hung after head"):
        assert _figures(name, policy).share < 0.01


def test_a_faster_mirror_is_preferred_and_not_flooded() -> None:
    assert 0.3 < _figures("fast").share < 0.5


def test_a_slow_mirror_gets_little() -> None:
    assert _figures("slow").share < 0.1


@pytest.mark.parametrize(
    "name",
    [
        "all well",
        "fast failing",
        "overloaded",
        "flaky",
        "slow",
        "fast",
        "hung",
        "refused",
        "blackhole",
        "reset",
        "error in 200",
        "flapping",
        "limited",
        "two mirrors",
        "outage",
    ],
)
def test_one_bad_mirror_costs_no_request_an_error(name: str) -> None:
    assert _figures(name, seeds=(1,)).failed == 0.0


def _outage() -> list[Gateway]:
    return [BY_NAME["outage"].run(OURS, seed) for seed in range(1, 9)]


def test_a_recovered_mirror_is_used_within_half_a_minute_and_not_stampeded() -> None:
    runs = _outage()
    for run in runs:
        used = [at for job in run.jobs for at, name in job.attempts if name == "m0" and at > 60.0]
        assert min(used) < 90.0
    shares = dict(over_time(runs, lambda job, at, name: name == "m0", 5.0))
    after = [share for at, share in shares.items() if 60.0 <= at < 150.0]
    assert max(after) < 0.25, "never more than its fair share"
    assert after[-1] > 0.1


def test_without_control_the_workers_still_eject() -> None:
    scenario = BY_NAME["fast failing"]
    run = scenario.run(OURS, 1)
    assert all(standing.count for standing in run.leases.standings() if standing.mirror == "m0")
    assert {f for job in run.jobs for f in job.failures} == {Failure.server_error}


def test_the_same_seed_gives_the_same_run() -> None:
    assert _figures("flaky", seeds=(3,)) == _figures("flaky", seeds=(3,))


def test_simultaneous_events_keep_their_order() -> None:
    world, seen = World(), list[str]()
    world.after(1.0, lambda: seen.append("b"))
    world.after(0.5, lambda: world.after(0.5, lambda: seen.append("c")))
    world.after(0.0, lambda: seen.append("a"))
    world.run(0.7)
    assert (seen, world.now) == (["a"], 0.7)
    world.run()
    assert (seen, world.now) == (["a", "b", "c"], 1.0)


def test_the_command_prints_every_policy_and_knows_its_scenarios(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["--scenario", "two mirrors", "--seeds", "1"]) == 0
    printed = capsys.readouterr().out
    assert all(policy.name in printed for policy in POLICIES)
    assert main(["--scenario", "no such thing"]) == 2


def test_the_table_of_the_docs_has_a_row_for_every_scenario_and_policy() -> None:
    inside = documents.read(documents.DOCS / "failover.md", "simulation")
    assert all(f"**{scenario.name}**" in inside for scenario in SCENARIOS)
    assert inside.count("\n| ") == len(SCENARIOS) * len(POLICIES)


def test_a_plot_is_well_formed() -> None:
    drawn = svg("a < b", {"x": [(0.0, 0.1), (60.0, 0.5)]}, seconds=60.0, marks={"now": 30.0})
    assert ElementTree.fromstring(drawn).tag.endswith("svg")


def test_choices_are_measured_in_every_situation(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(selection, "_NUMBER", 1)
    monkeypatch.setattr(selection, "_REPEAT", 1)
    measured = selection.measure()
    assert [(count, out) for count, out, _, _ in measured] == list(selection.SITUATIONS)
    assert all(alone > 0 and whole > 0 for _, _, alone, whole in measured)


def test_scenarios_have_names_of_their_own() -> None:
    assert len(BY_NAME) == len(SCENARIOS)
    assert all(isinstance(scenario, Scenario) for scenario in SCENARIOS)
