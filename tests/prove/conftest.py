"""The long runs print what they measured in a table at the end, run by run in their order."""

from collections.abc import Callable

import pytest

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
