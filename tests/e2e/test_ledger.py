"""The ledger over real processes: keys are charged what the mirrors billed, to the token."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Iterator

import pytest

from tests.scenarios import metered_calls as ledger
from tests.scenarios.metered_calls import Callers
from tests.testkit.instance import Instance
from tests.testkit.mirror.process import MirrorProcess
from tests.testkit.wait import wait_until

pytestmark = pytest.mark.e2e

Farm = tuple[Instance, list[MirrorProcess]]


@pytest.fixture(scope="module")
def farm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Farm]:
    with ledger.farm(tmp_path_factory.mktemp("ledger")) as made:
        yield made


def test_charges_equal_the_bills_of_the_mirrors_and_survive_a_restart(farm: Farm):
    callers = ledger.run_of(*farm, 300, seed=7)
    assert callers.statuses[200] > 100
    assert set(callers.statuses) >= {0, 200, 400}
    instance, _ = farm
    before = ledger.charged(instance)
    assert instance.stop() == 0
    instance.start()
    assert ledger.charged(instance) == before


def test_a_quota_ends_where_it_is_used_up(farm: Farm):
    """Each answer has one token in and five out; requests come one by one."""
    instance, mirrors = farm
    key = ledger.create(instance, "small", "--tokens", "60")
    callers = Callers(instance, [key], random.Random(1), alike=True)
    asyncio.run(callers.ask(40, at_once=1))
    asked = callers.statuses[200]
    assert callers.statuses == Counter({200: asked, 429: 40 - asked})
    line = key.id, "gpt-4o"
    bill = ledger.with_costs(ledger.billed(mirrors))[line]
    wait_until(lambda: ledger.charged(instance).get(line) == bill, 15, "the account to be settled")
    assert bill["requests"] == asked >= 10
