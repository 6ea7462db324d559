"""Instructions of a request: a change that makes it slower is noticed with it."""

from __future__ import annotations

import pytest

from benchmarks.counting import TOOLS, count, kept, version
from monitor.common.compiled import PURE
from tests.testkit.programs import require

MORE = 1.1
"""Times what was kept."""


@pytest.mark.timeout(
    600
)  # a worker that is counted is fifty times slower, and a machine may be busy
def test_a_request_and_an_event_take_hardly_more_instructions_than_they_did() -> None:
    for tool in TOOLS:
        require(tool)
    allowed = kept().get(version())
    if allowed is None:
        pytest.skip(
            f"no figure for Python {version()} yet; python -m benchmarks.counting --keep makes one"
        )
    counted = count(PURE).ratios
    over = {kind: n for kind, n in counted.items() if n > MORE * allowed[kind]}
    assert over == {}, (
        f"more than {MORE:g} times {allowed}; if that is meant: "
        "`python -m benchmarks.counting --keep`"
    )
