"""The long runs print what they measured in a table at the end."""

import pytest

from tests.support.measure import Measure

MEASURED = pytest.StashKey[list[tuple[str, str]]]()


@pytest.fixture
def measured(request: pytest.FixtureRequest) -> Measure:
    """Note a measurement for the table: what, and how much."""
    table = request.config.stash.setdefault(MEASURED, [])

    def note(what: str, value: object) -> None:
        table.append((what, f"{value:.2f}" if isinstance(value, float) else str(value)))

    return note


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print the table."""
    table = terminalreporter.config.stash.get(MEASURED, [])
    if not table:
        return
    terminalreporter.section("measured")
    width = max(len(what) for what, _ in table)
    for what, value in table:
        terminalreporter.write_line(f"{what:<{width}}  {value}")
