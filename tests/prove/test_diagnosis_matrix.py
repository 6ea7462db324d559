"""Diagnoses of each kind of interference and of each innocent fault, in twenty trials each."""

from collections.abc import AsyncIterator

import pytest

from tests.testkit.censor.cells import NEGATIVE, SYMPTOMS, Cell
from tests.testkit.censor.matrix import run_all, world_of
from tests.testkit.censor.scene import World
from tests.testkit.certs import Authority
from tests.testkit.measure import Measure

pytestmark = pytest.mark.prove

TRIALS = 20
RIGHT = 0.95


@pytest.fixture
async def world(authority: Authority) -> AsyncIterator[World]:
    async with world_of(authority) as world:
        yield world


@pytest.mark.parametrize("cell", SYMPTOMS, ids=lambda cell: cell.name)
async def test_the_symptom_gets_its_verdict(world: World, cell: Cell, measured: Measure):
    for (_, variant), tally in (await run_all(world, [cell], TRIALS)).items():
        measured(f"{cell.name}, {variant}", f"{tally.right}/{tally.trials} {dict(tally.verdicts)}")
        assert tally.right >= RIGHT * tally.trials
        assert tally.improper == 0


@pytest.mark.parametrize("cell", NEGATIVE, ids=lambda cell: cell.name)
async def test_an_innocent_fault_is_never_called_a_block(
    world: World, cell: Cell, measured: Measure
):
    for (_, variant), tally in (await run_all(world, [cell], TRIALS)).items():
        measured(f"{cell.name}, {variant}", f"{tally.right}/{tally.trials} {dict(tally.verdicts)}")
        assert tally.confirmed_blocks == 0
        assert tally.right == tally.trials
        assert tally.improper == 0
