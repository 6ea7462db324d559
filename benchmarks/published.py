"""Results of a run in docs/benchmarks.md and the READMEs: `python -m benchmarks.published JSON`.

All figures of a page come from one run; `python -m benchmarks --publish` puts its own there.
"""

import json
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path

from benchmarks import documents
from benchmarks.goals import KIB
from benchmarks.plot import bars, ranges
from benchmarks.summary import Row

PROXIES = {
    "mirrorgate-compiled": "mirrorgate",
    "mirrorgate": "mirrorgate, from source",
    "nginx": "nginx",
    "haproxy": "HAProxy",
    "vllm-router": "vllm-router (Rust)",
    "litellm": "LiteLLM",
    "floor": "byte relay",
}
"""Names in the tables, in their order."""
CHINESE = {
    "mirrorgate, from source": "mirrorgate（源码运行）",
    "vllm-router (Rust)": "vllm-router（Rust）",
}
BASELINE = "floor"
"""No product: it is left out of the READMEs."""

Rows = Mapping[tuple[str, str], Row]
Cell = Callable[[Rows, str], str]


@dataclass(frozen=True)
class Line:
    """A line of a table: its name in English and Chinese, and what it tells of a proxy."""

    english: str
    chinese: str
    cell: Cell


def number(workload: str, name: str, per: float = 1.0, digits: int = 0) -> Cell:
    """Return what tells a figure of a workload, empty where it was not measured."""

    def cell(rows: Rows, proxy: str) -> str:
        value = _value(rows, workload, proxy, name)
        return "" if value is None else f"{value / per:,.{digits}f}"

    return cell


def added(workload: str, *names: str) -> Cell:
    """Return what tells delays, in µs beyond those without a proxy; less than none is noise."""

    def cell(rows: Rows, proxy: str) -> str:
        found = [_added(rows, workload, proxy, name) for name in names]
        told = ["" if each is None else f"{each:,.0f}" if each > 0 else "≈ 0" for each in found]
        return " / ".join(told).strip(" /")

    return cell


COSTS = (
    Line(
        "POST of 1 KB, answer of 400 B: CPU, µs",
        "POST 1 KB，应答 400 B：CPU，微秒",
        number("chat", "cpu"),
    ),
    Line("event of a stream: CPU, µs", "流中的一个事件：CPU，微秒", number("sse", "cpu")),
    Line(
        "added delay at 2,000 requests/s, 32 connections: p50 / p99, µs",
        "每秒 2,000 个请求、32 个连接时增加的延迟：p50 / p99，微秒",
        added("tail", "p50", "p99"),
    ),
    Line(
        "added delay of a stream's first event: p50, µs",
        "流的首个事件增加的延迟：p50，微秒",
        added("sse", "first_p50"),
    ),
    Line(
        "open silent stream: KiB", "一条打开而沉默的流：KiB", number("idle-streams", "memory", KIB)
    ),
    Line("at rest: MiB", "空闲时占用的内存：MiB", number("idle-streams", "rest", KIB * KIB)),
    Line(
        "one of its workers at rest: MiB",
        "其中一个 worker：MiB",
        number("idle-streams", "worker_rest", KIB * KIB),
    ),
    Line(
        "start until the first forwarded request: s",
        "从启动到转发第一个请求：秒",
        number("idle-streams", "start", digits=1),
    ),
)
DELAYS = (
    ("chat-single", "1 connection, one request after the other"),
    ("tail", "32 connections, 2,000 requests/s"),
    ("tail-many", "256 connections, 2,000 requests/s"),
    ("chat", "32 connections, as fast as it goes"),
    ("chat-many", "256 connections, as fast as it goes"),
)
"""Workloads whose added p50 and p99 are shown."""
LEAST_DELAY = 5.0
"""µs at which the scale of the plot begins."""


@dataclass(frozen=True)
class Published:
    """One run as it is published."""

    stem: str
    commit: str
    day: str
    rows: Rows

    @classmethod
    def read(cls, file: Path) -> "Published":
        """Read the JSON of a run."""
        data = json.loads(file.read_text("utf-8"))
        names = [field.name for field in fields(Row)]
        found = [Row(**{name: row.get(name) for name in names}) for row in data["rows"]]
        rows = {(row.workload, row.proxy): row for row in found}
        return cls(file.stem, data["facts"]["commit"], data["began"][:10], rows)

    def summary(self, *, chinese: bool = False) -> str:
        """The table of a README."""
        table = self._table(COSTS, chinese=chinese, products=True)
        page = f"benchmarks/results/{self.stem}.md"
        if chinese:
            return f"{table}\n\n{self.day}，提交 {self.commit}：[全部结果与所用机器]({page})。"
        return (
            f"{table}\n\n{self.day}, commit {self.commit}: [all of it, with the machine]({page})."
        )

    def page(self) -> str:
        """The part of docs/benchmarks.md."""
        results = f"../benchmarks/results/{self.stem}.md"
        parts = [f"{self.day}, commit {self.commit} ([all figures, with the machine]({results})):"]
        parts.append(self._table(COSTS))
        delays = [Line(about, "", added(name, "p50", "p99")) for name, about in DELAYS]
        if any(row.added_p50 is not None for row in self.rows.values()):
            parts += ["Added delay, p50 / p99 in µs:", self._table(delays)]
        parts += [f"![{name}]({name})" for name in self.plots()]
        return "\n\n".join(parts)

    def plots(self) -> dict[str, str]:
        """The plots by file name."""
        drawn = {}
        costs = {"a request": "chat", "an event of a stream": "sse"}
        if found := _groups({name: self._costs(workload) for name, workload in costs.items()}):
            drawn["benchmarks-cpu.svg"] = bars("CPU time in µs", found, told="{:.0f}")
        if found := _groups({about: self._delays(name) for name, about in DELAYS}):
            title = "Added delay in µs, logarithmic: p50 (dot) to p99 (ring)"
            drawn["benchmarks-delay.svg"] = ranges(title, found, told="{:,.0f}", least=LEAST_DELAY)
        return drawn

    def write(self) -> None:
        """Put it into the pages."""
        documents.put(documents.PAGE, "results", self.page())
        documents.put(documents.ROOT / "README.md", "benchmarks", self.summary())
        chinese = self.summary(chinese=True)
        documents.put(documents.ROOT / "README.zh.md", "benchmarks", chinese)
        for name, picture in self.plots().items():
            (documents.DOCS / name).write_text(picture, "utf-8")

    def _table(
        self, lines: Sequence[Line], *, chinese: bool = False, products: bool = False
    ) -> str:
        cells = {
            proxy: [line.cell(self.rows, proxy) for line in lines]
            for proxy in PROXIES
            if not (products and proxy == BASELINE)
        }
        shown = [proxy for proxy, told in cells.items() if any(told)]
        names = [PROXIES[proxy] for proxy in shown]
        if chinese:
            names = [CHINESE.get(name, name) for name in names]
        rule = "|".join(["---", *("---:" for _ in shown)])
        table = [f"| | {' | '.join(names)} |", f"|{rule}|"]
        for number, line in enumerate(lines):
            if any(cells[proxy][number] for proxy in shown):
                told = (cells[proxy][number] or "–" for proxy in shown)
                table.append(
                    f"| {line.chinese if chinese else line.english} | {' | '.join(told)} |"
                )
        return "\n".join(table)

    def _costs(self, workload: str) -> dict[str, tuple[float, float]]:
        found = {PROXIES[proxy]: _value(self.rows, workload, proxy, "cpu") for proxy in PROXIES}
        return {name: (0.0, value) for name, value in found.items() if value is not None}

    def _delays(self, workload: str) -> dict[str, tuple[float, float]]:
        found = {}
        for proxy, name in PROXIES.items():
            p50 = _added(self.rows, workload, proxy, "p50")
            p99 = _added(self.rows, workload, proxy, "p99")
            if p50 is not None and p99 is not None:
                found[name] = (p50, p99)
        return found


def _value(rows: Rows, workload: str, proxy: str, name: str) -> float | None:
    row = rows.get((workload, proxy))
    value: float | None = getattr(row, name) if row is not None else None
    return value


def _added(rows: Rows, workload: str, proxy: str, name: str) -> float | None:
    mine, without = (_value(rows, workload, each, name) for each in (proxy, "direct"))
    return None if mine is None or without is None else mine - without


def _groups(
    found: Mapping[str, dict[str, tuple[float, float]]],
) -> dict[str, dict[str, tuple[float, float]]]:
    return {name: group for name, group in found.items() if group}


def main(arguments: Sequence[str]) -> int:
    """Publish the run of this file. Returns the exit code."""
    if len(arguments) != 1:
        print("usage: python -m benchmarks.published benchmarks/results/RUN.json", file=sys.stderr)
        return 2
    Published.read(Path(arguments[0])).write()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
