"""The outputs of `mirrorgate probe` in the documentation are those of the command."""

from __future__ import annotations

import pytest

from tests.scenarios.probe_outputs import CASES, DOCUMENT, Case, offline, output
from tests.testkit.censor.netns import require_namespaces


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
async def test_documented_probe_outputs_are_current(case: Case, tmp_path):
    if case.output is offline:
        require_namespaces()
    found = await output(case, tmp_path)
    renew = "renew it: python -m tests.scenarios.probe_outputs"
    assert found in DOCUMENT.read_text("utf-8"), f"{renew}\n{found}"
