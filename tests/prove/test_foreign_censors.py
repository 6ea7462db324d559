"""A running mirrorgate before censors and troubles that programs of others make, in namespaces.

Each row gets ten trials, or `MIRRORGATE_FOREIGN_TRIALS`. A run of all rows renews the table in
docs/diagnosis.md.
"""

import os

import pytest

from tests.prove.conftest import Measure
from tests.scenarios.foreign_matrix import DOCUMENT, HEADER, Tally, renew, run_all
from tests.scenarios.foreign_rows import ROWS
from tests.testkit.censor.site import require_site

pytestmark = pytest.mark.prove

TRIALS = int(os.environ.get("MIRRORGATE_FOREIGN_TRIALS", "10"))
RIGHT = 0.99


@pytest.fixture(scope="module")
def tallies(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, Tally]:
    """The trials of all rows that are asked for, run side by side."""
    require_site()
    asked = {
        item.callspec.params["row"]
        for item in request.session.items
        if isinstance(item, pytest.Function) and item.module is request.module
    }
    rows = [row for name, row in ROWS.items() if name in asked]
    found = run_all(rows, TRIALS, tmp_path_factory.mktemp("foreign"))
    if len(rows) == len(ROWS):
        renew(DOCUMENT, found)
    return found


@pytest.mark.parametrize("row", ROWS)
def test_a_foreign_censor_gets_its_verdict(tallies: dict[str, Tally], row: str, measured: Measure):
    tally = tallies[row]
    for what, value in list(zip(HEADER, tally.cells(), strict=True))[2:]:
        measured(what, value)
    assert not tally.broken
    assert tally.falsely_sure == 0
    assert not [failed for trial in tally.trials for failed in trial.failed]
    assert tally.right >= RIGHT * len(tally.trials)
