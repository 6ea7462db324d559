"""Diagnoses of each kind of interference and of each innocent fault: one trial of each cell.

`make prove` runs each cell twenty times.
"""

from collections.abc import AsyncIterator
from dataclasses import replace

import pytest

from tests.testkit.censor.cells import NEGATIVE, SYMPTOMS
from tests.testkit.censor.matrix import run_all, world_of
from tests.testkit.censor.scene import World
from tests.testkit.certs import Authority


@pytest.fixture
async def world(authority: Authority) -> AsyncIterator[World]:
    async with world_of(authority) as world:
        yield world


async def test_each_symptom_gets_its_verdict(world: World):
    table = await run_all(world, SYMPTOMS, 1)
    wrong = [
        f"{cell.name}, {variant}: {dict(tally.verdicts)}"
        for (cell, variant), tally in table.items()
        if not tally.right
    ]
    assert not wrong
    assert sum(tally.improper for tally in table.values()) == 0, "shown to an endpoint on hold"


async def test_an_innocent_fault_is_never_called_a_block(world: World):
    table = await run_all(world, [replace(cell, episodes=1) for cell in NEGATIVE], 1)
    wrong = [
        f"{cell.name}, {variant}: {dict(tally.verdicts)}"
        for (cell, variant), tally in table.items()
        if tally.confirmed_blocks or not tally.right
    ]
    assert not wrong
    assert sum(tally.improper for tally in table.values()) == 0
