"""Results of the runs, as tables and plots, on the terminal and in docs/failover.md."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from benchmarks import documents
from benchmarks.plot import svg
from benchmarks.simulation.gateway import Gateway
from benchmarks.simulation.scenarios import (
    BAD_FROM,
    OURS,
    POLICIES,
    Figures,
    Policy,
    Scenario,
    figures,
    over_time,
)
from router.balancing.config import BalanceConfig
from router.forwarding.config import RouterConfig

WITHOUT_RAMP = Policy("without slow start", config=RouterConfig(balance=BalanceConfig(ramp=0.001)))
_MANY = 50
"""Above so many mirrors one seed will do."""

Say = Callable[[str], None]


@dataclass(frozen=True)
class Shown:
    """One scenario's figures, by policy."""

    scenario: Scenario
    figures: Sequence[tuple[Policy, Figures]]


def runs_of(scenario: Scenario, policy: Policy, seeds: int) -> list[Gateway]:
    """The runs with as many seeds."""
    count = 1 if scenario.mirrors > _MANY else seeds
    return [scenario.run(policy, seed) for seed in range(1, count + 1)]


def show(scenario: Scenario, seeds: int) -> Shown:
    """Every policy in this scenario."""
    return Shown(scenario, [(p, figures(scenario, runs_of(scenario, p, seeds))) for p in POLICIES])


def table(shown: Sequence[Shown]) -> str:
    """All scenarios in Markdown."""
    lines = [
        "| scenario | policy | share of the changed | p50 | p99 | failed | wasted | twice |",
        "|---|---|---:|---:|---:|---:|---:|---:|",
    ]
    for one in shown:
        for policy, f in one.figures:
            first = f"**{one.scenario.name}**: {one.scenario.what}" if policy is OURS else ""
            lines.append(
                f"| {first} | {policy.name} | {f.share:.1%} | {f.p50:.2f} s | {f.p99:.2f} s "
                f"| {f.failed:.2%} | {f.wasted:.2%} | {f.ambiguous:.2%} |"
            )
    return "\n".join(lines) + "\n"


def terminal(shown: Shown) -> str:
    """One scenario as text."""
    lines = [f"{shown.scenario.name}: {shown.scenario.what}"]
    for policy, f in shown.figures:
        lines.append(
            f"  {policy.name:18} share {f.share:6.1%}  p50 {f.p50:5.2f} s  p99 {f.p99:6.2f} s  "
            f"failed {f.failed:6.2%}  wasted {f.wasted:6.2%}  twice {f.ambiguous:6.2%}"
        )
    return "\n".join(lines)


def plots(scenarios: Sequence[Scenario], seeds: int) -> dict[str, str]:
    """The plots of docs/failover.md by file name."""
    by_name = {scenario.name: scenario for scenario in scenarios}
    failing, outage = by_name["fast failing"], by_name["outage"]
    return {
        "failover-fast-failing.svg": _plot(
            "Share of a mirror that answers 500 after 5 ms",
            failing,
            POLICIES,
            seeds,
            {"it fails": BAD_FROM},
        ),
        "failover-recovery.svg": _plot(
            "Share of a mirror that fails for 30 s and recovers",
            outage,
            (OURS, WITHOUT_RAMP),
            seeds * 4,
            {"it fails": BAD_FROM, "it is well": 60.0},
        ),
    }


def _plot(
    title: str,
    scenario: Scenario,
    policies: Sequence[Policy],
    seeds: int,
    marks: dict[str, float],
) -> str:
    lines = {
        policy.name: over_time(
            runs_of(scenario, policy, seeds), lambda job, at, name: name == "m0", 2.5
        )
        for policy in policies
    }
    shown = {
        name: [(x, y) for x, y in points if x < scenario.seconds] for name, points in lines.items()
    }
    return svg(title, shown, seconds=scenario.seconds, marks=marks)


def write(shown: Sequence[Shown], drawn: dict[str, str]) -> None:
    """Put the tables into docs/failover.md, the plots beside it."""
    documents.put(documents.DOCS / "failover.md", "simulation", table(shown))
    for name, picture in drawn.items():
        (documents.DOCS / name).write_text(picture, "utf-8")
