"""The long runs print what they measured in a table at the end, run by run in their order, and
write it with all results to a report."""

import os
import platform
import subprocess
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from monitor.common import compiled

REPORT = Path(f"prove-report{'-compiled' if compiled.form.name == compiled.COMPILED else ''}.md")
"""In the folder that the runs are started in."""

Measure = Callable[[str, object], None]
"""Called with what was measured, and how much."""
MEASURED = pytest.StashKey[dict[str, list[tuple[str, str]]]]()
"""By test, in the order of the tests."""


@pytest.fixture
def measured(request: pytest.FixtureRequest) -> Measure:
    """Note a measurement for the table: what, and how much."""
    tests = request.config.stash.setdefault(MEASURED, {})
    table = tests.setdefault(request.node.name, [])

    def note(what: str, value: object) -> None:
        table.append((what, f"{value:.2f}" if isinstance(value, float) else str(value)))

    return note


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print the table."""
    tests = terminalreporter.config.stash.get(MEASURED, {})
    if not any(tests.values()):
        return
    terminalreporter.section("measured")
    failed = {report.nodeid.rpartition("::")[2] for report in terminalreporter.getreports("failed")}
    width = max(len(what) for table in tests.values() for what, _ in table)
    for name, table in tests.items():
        sentence = name.removeprefix("test_").replace("_", " ")
        terminalreporter.write_line(f"{sentence}{': FAILED' if name in failed else ''}")
        for what, value in table:
            terminalreporter.write_line(f"  {what:<{width}}  {value}")
    if terminalreporter.config.option.markexpr == "prove":
        REPORT.write_text("\n".join((*_report(terminalreporter, tests), "")), "utf-8")
        terminalreporter.write_line(f"all of it is in {REPORT}")


def _report(
    terminalreporter: pytest.TerminalReporter, tests: dict[str, list[tuple[str, str]]]
) -> Iterator[str]:
    head = ["git", "rev-parse", "--short", "HEAD"]
    commit = subprocess.run(head, capture_output=True, text=True, check=False).stdout.strip()
    yield f"# The long runs of {datetime.now(UTC):%Y-%m-%d %H:%M} UTC\n"
    yield f"{commit or 'no commit'}, Python {platform.python_version()}, {os.cpu_count()} cores\n"
    yield "| run | seconds | result |"
    yield "|---|---:|---|"
    for result in ("passed", "failed", "error", "skipped"):
        for report in terminalreporter.getreports(result):
            if report.when == "call" or result != "passed":
                why = f": {report.longrepr[2]}" if result == "skipped" else ""
                yield f"| {report.nodeid} | {report.duration:.0f} | {result}{why} |"
    for name, table in tests.items():
        if table:
            yield f"\n## {name.removeprefix('test_').replace('_', ' ')}\n"
            yield "| measured | |"
            yield "|---|---|"
            yield from (f"| {what} | {value} |" for what, value in table)
