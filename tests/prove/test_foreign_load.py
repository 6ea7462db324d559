"""No client of a running mirrorgate meets an error while a name is blocked, whatever becomes of
control meanwhile, and the main name is in use again soon after the block."""

import json
import sys
from pathlib import Path

import pytest

from tests.prove.conftest import Measure
from tests.scenarios.foreign_load import BACK, BLOCKED_FOR, CASES, NOTICED, PATIENCE, RATE
from tests.testkit.censor.site import at_a_site, require_site
from tests.testkit.processes import REPOSITORY, Process, python_environment

pytestmark = pytest.mark.prove

SLACK = 180.0
"""Seconds that a case may take beside the block and its end."""


@pytest.mark.parametrize("case", CASES)
def test_a_blocked_name_costs_no_request(case: str, tmp_path: Path, measured: Measure):
    require_site()
    command = [sys.executable, "-m", "tests.scenarios.foreign_load", case, str(tmp_path)]
    process = Process(
        [*at_a_site(), *command], tmp_path / "case.log", cwd=REPOSITORY, env=python_environment()
    )
    try:
        assert process.wait(BLOCKED_FOR + NOTICED + PATIENCE + SLACK) == 0, process.logs()
    finally:
        process.kill()
    found = json.loads((tmp_path / "found.json").read_text())
    measured("requests", found["asked"])
    measured("failed", len(found["failed"]))
    measured("back on the main name after, s", round(found["back_after"], 1))
    assert found["asked"] > 0.8 * RATE * BLOCKED_FOR
    assert found["failed"] == []
    assert found["back_after"] <= BACK
