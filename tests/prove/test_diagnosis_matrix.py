"""Diagnoses of each kind of interference and of each innocent fault, in twenty trials each."""

from collections.abc import AsyncIterator

import pytest

from tests.prove.conftest import Measure
from tests.scenarios.diagnosis_cells import NEGATIVE, SYMPTOMS, Cell
from tests.scenarios.diagnosis_matrix import run_all, running_servers
from tests.scenarios.diagnosis_setup import Servers
from tests.testkit.certs import Authority

pytestmark = pytest.mark.prove

TRIALS = 20
RIGHT = 0.95


@pytest.fixture
async def servers(authority: Authority) -> AsyncIterator[Servers]:
    async with running_servers(authority) as servers:
        yield servers


@pytest.mark.parametrize("cell", SYMPTOMS, ids=lambda cell: cell.name)
async def test_the_symptom_gets_its_verdict(servers: Servers, cell: Cell, measured: Measure):
    for (_, variant), tally in (await run_all(servers, [cell], TRIALS)).items():
        measured(f"{cell.name}, {variant}", f"{tally.right}/{tally.trials} {dict(tally.verdicts)}")
        assert tally.right >= RIGHT * tally.trials
        assert tally.improper == 0


@pytest.mark.parametrize("cell", NEGATIVE, ids=lambda cell: cell.name)
async def test_an_innocent_fault_is_never_called_a_block(
    servers: Servers, cell: Cell, measured: Measure
):
    for (_, variant), tally in (await run_all(servers, [cell], TRIALS)).items():
        measured(f"{cell.name}, {variant}", f"{tally.right}/{tally.trials} {dict(tally.verdicts)}")
        assert tally.confirmed_blocks == 0
        assert tally.right == tally.trials
        assert tally.improper == 0
