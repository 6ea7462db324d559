"""A mirror dies by `kill -9` under load: nothing is lost that it had not been sent; it returns."""

from collections.abc import Iterator

import pytest

from tests.scenarios.mirror_kills import INTERVAL, kill_and_revive
from tests.testkit.certs import Authority
from tests.testkit.closed_loop_load import SteadyLoad
from tests.testkit.farm import Farm
from tests.testkit.http_client import chat
from tests.testkit.instance_output import all_up, states
from tests.testkit.wait import wait_until

pytestmark = pytest.mark.e2e


@pytest.fixture(scope="module")
def farm(authority: Authority, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Farm]:
    config = {"monitor": {"interval": INTERVAL}}
    with Farm(tmp_path_factory.mktemp("failover"), authority, config) as farm:
        wait_until(lambda: all_up(farm.instance), 30, "all mirrors to be up")
        yield farm


def test_a_killed_mirror_costs_only_what_it_was_sent_and_returns_by_itself(farm: Farm):
    with SteadyLoad(farm.base_url) as load:
        cycle = kill_and_revive(farm, farm.mirrors[1], load)
    assert cycle.unexplained == []
    assert cycle.failures_when_known == []
    assert cycle.seconds_until_shown_down < 3 * INTERVAL


def test_with_every_mirror_killed_callers_are_told_and_served_again_afterwards(farm: Farm):
    for mirror in farm.mirrors:
        mirror.front.kill()
    wait_until(lambda: set(states(farm.instance).values()) == {"down"}, 30, "all to be down")
    answer = chat(farm.base_url)
    assert (answer.status, answer.error["code"]) == (503, "no_mirror_available")
    assert int(answer.headers["retry-after"]) > 0
    farm.mirrors[0].front.start()
    wait_until(lambda: chat(farm.base_url).status == 200, 30, "an answer again")
    for mirror in farm.mirrors[1:]:
        mirror.front.start()
    wait_until(lambda: all_up(farm.instance), 30, "all mirrors to be up")
