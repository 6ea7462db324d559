"""Goals for mirrorgate's cost, and whether they are met."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from benchmarks.summary import Row

KIB = 1024


@dataclass(frozen=True)
class Goal:
    """A bound on what mirrorgate costs in a workload.

    With `beside` it bounds the ratio to that proxy's CPU time, or with `delay` the µs by which its
    p99 is longer; else the memory of a stream in KiB.
    """

    workload: str
    bound: float
    beside: str = ""
    proxy: str = "mirrorgate"
    delay: bool = False

    @property
    def about(self) -> str:
        if not self.beside:
            return f"{self.workload}: memory per open stream"
        if self.delay:
            return f"{self.workload}: p99 of {self.proxy} − {self.beside}"
        return f"{self.workload}: CPU of {self.proxy} ÷ {self.beside}"

    @property
    def limit(self) -> str:
        return f"≤ {self.bound:g} {self.unit}"

    @property
    def unit(self) -> str:
        if not self.beside:
            return "KiB"
        return "µs" if self.delay else "×"


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
    Goal("cluster", 1.05, beside="mirrorgate-compiled", proxy="mirrorgate-cluster"),
    Goal("cluster-tail", 100, beside="mirrorgate-compiled", proxy="mirrorgate-cluster", delay=True),
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
        digits = 2 if self.goal.unit == "×" else 1
        return f"{self.measured:.{digits}f} {self.goal.unit}"


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
    if goal.delay:
        return _later(rows, goal)
    if goal.beside:
        return ratio(rows, goal.workload, goal.proxy, goal.beside)
    row = rows.get((goal.workload, goal.proxy))
    return None if row is None or row.memory is None else row.memory / KIB


def _later(rows: Mapping[tuple[str, str], Row], goal: Goal) -> float | None:
    mine, theirs = rows.get((goal.workload, goal.proxy)), rows.get((goal.workload, goal.beside))
    if mine is None or theirs is None or mine.p99 is None or theirs.p99 is None:
        return None
    return mine.p99 - theirs.p99
