"""The results as tables for a terminal and as Markdown. Pure."""

from collections.abc import Iterable, Mapping, Sequence

from benchmarks.goals import KIB, Outcome, ratio
from benchmarks.summary import Row
from benchmarks.workloads import Workload, by_name

BASELINES = ("nginx", "vllm-router", "floor")
"""To whose CPU time that of the others is set in relation."""

Cells = Sequence[str]


def terminal(rows: Sequence[Row], outcomes: Iterable[Outcome], skipped: Mapping[str, str]) -> str:
    """Return the results in columns."""
    parts = []
    for workload, own in _by_workload(rows):
        parts.append(f"{workload.name}: {workload.about}\n{columns(_table(workload, own))}")
    parts.append(columns(_goals(outcomes)))
    parts += [f"not measured: {name}: {reason}" for name, reason in skipped.items()]
    return "\n\n".join(parts)


def markdown(
    rows: Sequence[Row],
    outcomes: Iterable[Outcome],
    skipped: Mapping[str, str],
    facts: Mapping[str, str],
    how: str,
) -> str:
    """Return the results as a page."""
    parts = ["# What forwarding costs", how, "## Goals", _pipes(_goals(outcomes))]
    for workload, own in _by_workload(rows):
        parts += [f"## {workload.name}", f"{workload.about}.", _pipes(_table(workload, own))]
    parts += ["## Measured on", _pipes([("what", "value"), *facts.items()])]
    parts += [f"Not measured: {name}: {reason}" for name, reason in skipped.items()]
    return "\n\n".join(parts) + "\n"


def columns(table: Sequence[Cells]) -> str:
    """Return cells padded to columns; the first is aligned left, the others right."""
    widths = [max(len(row[i]) for row in table) for i in range(len(table[0]))]
    lines = []
    for row in table:
        cells = [row[0].ljust(widths[0])]
        cells += [cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True)]
        lines.append("  ".join(cells).rstrip())
    return "\n".join(lines)


def _pipes(table: Sequence[Cells]) -> str:
    lines = [f"| {' | '.join(cell.replace('|', '/') for cell in row)} |" for row in table]
    rule = "|".join(["---", *("---:" for _ in table[0][1:])])
    return "\n".join([lines[0], f"|{rule}|", *lines[1:]])


def _by_workload(rows: Sequence[Row]) -> list[tuple[Workload, list[Row]]]:
    names = dict.fromkeys(row.workload for row in rows)
    return [(by_name(name), [row for row in rows if row.workload == name]) for name in names]


def _goals(outcomes: Iterable[Outcome]) -> list[Cells]:
    marks = {True: "reached", False: "MISSED", None: "–"}
    table: list[Cells] = [("goal", "bound", "measured", "")]
    for outcome in outcomes:
        goal = outcome.goal
        table.append((goal.about, goal.limit, outcome.told, marks[outcome.reached]))
    return table


def _table(workload: Workload, rows: Sequence[Row]) -> list[Cells]:
    if workload.of_memory:
        rest = ("at rest MiB", "worker at rest MiB", "peak MiB", "start s")
        head: Cells = ("proxy", f"KiB/{workload.unit}", *rest, "")
        return [head, *(_memory_cells(row) for row in rows)]
    costs = (f"CPU µs/{workload.unit}", "of the worker", *(f"÷ {to}" for to in BASELINES))
    delays = ("p50 µs", "p99 µs", "added p50", "added p99", "first event p50", "p99")
    head = ("proxy", *costs, f"{workload.unit}/s", *delays, "peak MiB", "")
    found = {(row.workload, row.proxy): row for row in rows}
    return [head, *(_cpu_cells(row, found) for row in rows)]


def _memory_cells(row: Row) -> Cells:
    mib = (_number(size, KIB * KIB) for size in (row.rest, row.worker_rest, row.peak))
    return (row.proxy, _number(row.memory, KIB), *mib, _number(row.start), row.failure)


def _cpu_cells(row: Row, found: Mapping[tuple[str, str], Row]) -> Cells:
    ratios = [ratio(found, row.workload, row.proxy, to) for to in BASELINES]
    delays = (row.p50, row.p99, row.added_p50, row.added_p99, row.first_p50, row.first_p99)
    return (
        row.proxy,
        _number(row.cpu),
        _number(row.worker_cpu),
        *("–" if value is None else f"{value:.2f}" for value in ratios),
        _number(row.rate, digits=0),
        *(_number(value, digits=0) for value in delays),
        _number(row.peak, KIB * KIB),
        row.failure,
    )


def _number(value: float | None, per: float = 1.0, digits: int = 1) -> str:
    return "–" if value is None else f"{value / per:,.{digits}f}"
