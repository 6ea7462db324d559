"""Diagnoses of each kind of interference and of each innocent fault: one trial of each cell.

`make prove` runs each cell twenty times.
"""

from collections.abc import AsyncIterator
from dataclasses import replace

import pytest

from tests.scenarios.diagnosis_cells import NEGATIVE, SYMPTOMS
from tests.scenarios.diagnosis_matrix import run_all, running_servers
from tests.scenarios.diagnosis_setup import Servers
from tests.testkit.certs import Authority


@pytest.fixture
async def servers(authority: Authority) -> AsyncIterator[Servers]:
    async with running_servers(authority) as servers:
        yield servers


async def test_each_symptom_gets_its_verdict(servers: Servers):
    table = await run_all(servers, SYMPTOMS, 1)
    wrong = [
        f"{cell.name}, {variant}: {dict(tally.verdicts)}"
        for (cell, variant), tally in table.items()
        if not tally.right
    ]
    assert not wrong
    assert sum(tally.improper for tally in table.values()) == 0, "shown to an endpoint on hold"


async def test_an_innocent_fault_is_never_called_a_block(servers: Servers):
    table = await run_all(servers, [replace(cell, episodes=1) for cell in NEGATIVE], 1)
    wrong = [
        f"{cell.name}, {variant}: {dict(tally.verdicts)}"
        for (cell, variant), tally in table.items()
        if tally.confirmed_blocks or not tally.right
    ]
    assert not wrong
    assert sum(tally.improper for tally in table.values()) == 0
