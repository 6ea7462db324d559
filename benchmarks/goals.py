"""Goals for mirrorgate's cost, and whether they are met."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from benchmarks.summary import Row

KIB = 1024


@dataclass(frozen=True)
class Goal:
    """A bound on what mirrorgate costs in a workload.

    With `beside` it bounds the ratio to that proxy's cost, else the cost itself in KiB.
    """

    workload: str
    bound: float
    beside: str = ""
    proxy: str = "mirrorgate"

    @property
    def about(self) -> str:
        if not self.beside:
            return f"{self.workload}: memory per open stream"
        return f"{self.workload}: CPU of {self.proxy} ÷ {self.beside}"

    @property
    def limit(self) -> str:
        return f"≤ {self.bound:g} ×" if self.beside else f"≤ {self.bound:g} KiB"


GOALS = (
    Goal("chat", 2.6, beside="nginx"),
    Goal("chat", 0.55, beside="vllm-router"),
    Goal("sse", 1.4, beside="floor"),
    Goal("chat", 2.2, beside="nginx", proxy="mirrorgate-compiled"),
    Goal("chat", 0.45, beside="vllm-router", proxy="mirrorgate-compiled"),
    Goal("sse", 1.25, beside="floor", proxy="mirrorgate-compiled"),
    Goal("idle-streams", 20),
    Goal("idle-streams-tls", 80),
    Goal("two-workers", 1.15, beside="mirrorgate", proxy="mirrorgate-2"),
)


@dataclass(frozen=True)
class Outcome:
    """A goal and what was measured; `reached` is None if it could not be."""

    goal: Goal
    measured: float | None

    @property
    def reached(self) -> bool | None:
        return None if self.measured is None else self.measured <= self.goal.bound

    @property
    def told(self) -> str:
        if self.measured is None:
            return "not measured"
        return f"{self.measured:.2f} ×" if self.goal.beside else f"{self.measured:.1f} KiB"


def outcomes(rows: Iterable[Row], goals: Iterable[Goal] = GOALS) -> list[Outcome]:
    """Return what became of each goal."""
    found = {(row.workload, row.proxy): row for row in rows}
    return [Outcome(goal, _measured(goal, found)) for goal in goals]


def ratio(rows: Mapping[tuple[str, str], Row], workload: str, proxy: str, to: str) -> float | None:
    """Return the CPU of one proxy over that of another; None unless both were measured."""
    mine, theirs = rows.get((workload, proxy)), rows.get((workload, to))
    if mine is None or theirs is None or mine.cpu is None or not theirs.cpu:
        return None
    return mine.cpu / theirs.cpu


def _measured(goal: Goal, rows: Mapping[tuple[str, str], Row]) -> float | None:
    if goal.beside:
        return ratio(rows, goal.workload, goal.proxy, goal.beside)
    row = rows.get((goal.workload, goal.proxy))
    return None if row is None or row.memory is None else row.memory / KIB
