"""Twenty mirrors killed under load, one after another."""

import random
import statistics

import pytest

from tests.prove.conftest import Measure
from tests.scenarios.mirror_kills import INTERVAL, kill_and_revive
from tests.testkit.certs import Authority
from tests.testkit.closed_loop_load import SteadyLoad
from tests.testkit.farm import Farm
from tests.testkit.instance_output import all_up
from tests.testkit.wait import wait_until

pytestmark = pytest.mark.prove

KILLS = 20


def test_twenty_kills_cost_only_what_the_killed_had_been_sent(
    authority: Authority, tmp_path_factory: pytest.TempPathFactory, measured: Measure
):
    rng = random.Random(1)
    config = {"monitor": {"interval": INTERVAL}}
    with Farm(tmp_path_factory.mktemp("failovers"), authority, config) as farm:
        wait_until(lambda: all_up(farm.instance), 30, "all mirrors to be up")
        with SteadyLoad(farm.base_url, clients=8) as load:
            cycles = [kill_and_revive(farm, rng.choice(farm.mirrors), load) for _ in range(KILLS)]
    downs = [cycle.seconds_until_shown_down for cycle in cycles]
    ups = [cycle.seconds_until_shown_up for cycle in cycles]
    failures = [result for cycle in cycles for result in cycle.failures]
    measured("kills of a mirror under load", KILLS)
    measured("requests", len(load.results))
    measured("failed, all sent to the killed mirror", len(failures))
    measured("seconds until shown down, median", statistics.median(downs))
    measured("seconds until shown down, longest", max(downs))
    measured("seconds until shown up again, longest", max(ups))
    assert [result for cycle in cycles for result in cycle.unexplained] == []
    assert [result for cycle in cycles for result in cycle.failures_when_known] == []
    assert max(downs) < 3 * INTERVAL
