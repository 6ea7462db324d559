"""Reloads under load: by signal, by command, by itself; no request is lost by any of them."""

import copy
from collections.abc import Iterator

import pytest

from tests.testkit.certs import Authority
from tests.testkit.closed_loop_load import SteadyLoad
from tests.testkit.farm import Farm
from tests.testkit.http_client import OpenStream, ask, chat
from tests.testkit.instance import Config, Instance
from tests.testkit.instance_output import all_up, metric, nodes
from tests.testkit.instance_processes import kill_control, kill_worker
from tests.testkit.wait import wait_until

pytestmark = pytest.mark.e2e

SUCCESSFUL = "mirrorgate_config_last_reload_successful"


@pytest.fixture(scope="module")
def farm(authority: Authority, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Farm]:
    with Farm(tmp_path_factory.mktemp("reload"), authority, {"monitor": {"interval": 1}}) as farm:
        wait_until(lambda: all_up(farm.instance), 30, "all mirrors to be up")
        yield farm


@pytest.fixture
def instance(farm: Farm) -> Iterator[Instance]:
    """The shared instance with the farm's configuration, before and after."""
    yield farm.instance
    farm.instance.reload(farm.config())
    wait_until(lambda: shown(farm.instance) == {"alpha", "beta", "gamma"}, 20, "the page to know")


def without(config: Config, mirror: str) -> Config:
    changed = copy.deepcopy(config)
    changed["mirrors"] = [table for table in config["mirrors"] if table["id"] != mirror]
    return changed


def changed(config: Config, mirror: str, **settings: object) -> Config:
    new = copy.deepcopy(config)
    next(table for table in new["mirrors"] if table["id"] == mirror).update(settings)
    return new


def shown(instance: Instance) -> set[str]:
    return set(nodes(instance))


def test_removing_changing_and_adding_mirrors_loses_no_request(farm: Farm, instance: Instance):
    whole = farm.config()
    without_gamma = without(whole, "gamma")
    with SteadyLoad(instance.base_url) as load:
        told = instance.reload(without_gamma)
        assert (told["removed"], told["added"], told["changed"]) == (["gamma"], [], [])
        load.more(20)
        told = instance.reload(changed(without_gamma, "alpha", weight=3.0, name="A"))
        assert told["changed"] == ["alpha"]
        load.more(20)
        told = instance.reload(whole)
        assert (told["added"], told["changed"]) == (["gamma"], ["alpha"])
        load.more(20)
        wait_until(lambda: {r.mirror for r in load.results[-30:]} == shown(instance), 20, "all")
    assert load.failures == []


def test_a_removed_mirror_gets_nothing_new_but_finishes_its_stream(farm: Farm, instance: Instance):
    with OpenStream(instance.base_url, events=20, delay=0.1) as stream:
        instance.reload(without(farm.config(), stream.mirror))
        wait_until(lambda: stream.mirror not in shown(instance), 20, "the page to know")
        answering = {chat(instance.base_url).headers["x-mirrorgate-mirror"] for _ in range(30)}
        assert stream.mirror not in answering
        assert stream.completes()


def test_a_signal_reloads(farm: Farm, instance: Instance):
    instance.write(without(farm.config(), "beta"))
    instance.reload_by_signal()
    wait_until(lambda: shown(instance) == {"alpha", "gamma"}, 10, "beta to be gone")


def test_a_changed_file_is_noticed_by_itself(farm: Farm, instance: Instance):
    instance.write(without(farm.config(), "alpha"))
    wait_until(lambda: shown(instance) == {"beta", "gamma"}, 10, "alpha to be gone")


def test_a_replaced_worker_begins_with_what_was_reloaded(farm: Farm, instance: Instance):
    instance.reload(without(farm.config(), "alpha"))
    kill_worker(instance, instance.workers()[0].pid)
    answering = {chat(instance.base_url).headers["x-mirrorgate-mirror"] for _ in range(30)}
    assert answering <= {"beta", "gamma"}, "of these whichever is faster"


def test_a_bad_file_changes_nothing_and_stays_visible_until_it_is_mended(
    farm: Farm, instance: Instance
):
    bad = changed(farm.config(), "alpha", url="htp:/x")
    bad["router"]["workrs"] = 3
    instance.write(bad)
    refused = instance.command("reload")
    assert refused.returncode == 2
    faults = [line for line in refused.stderr.splitlines() if "nothing was changed" not in line]
    assert [line.partition(":")[0] for line in sorted(faults)] == [
        "mirrors[0].url",
        "router.workrs",
    ]
    _is_visibly_bad(instance)
    assert chat(instance.base_url).status == 200
    kill_control(instance, lambda: chat(instance.base_url))
    wait_until(lambda: metric(instance, SUCCESSFUL) == 0, 10, "a new control to notice it too")
    _is_visibly_bad(instance)
    instance.write(farm.config())
    wait_until(lambda: metric(instance, SUCCESSFUL) == 1, 10, "the mended file to be taken over")
    assert "not in use" not in instance.command("status").stderr


def _is_visibly_bad(instance: Instance) -> None:
    told = instance.command("status")
    assert told.returncode == 0
    assert "is not in use: " in told.stderr
    assert "htp:/x" in told.stderr
    assert metric(instance, SUCCESSFUL) == 0
    assert metric(instance, "mirrorgate_config_reloads_total", result="failure") >= 1
    assert shown(instance) == {"alpha", "beta", "gamma"}


def test_a_pending_restart_is_reported_even_by_a_new_control(farm: Farm, instance: Instance):
    new = farm.config()
    new["router"] = {**new["router"], "workers": 3}
    instance.write(new)
    told = instance.command("reload")
    assert told.returncode == 0
    assert "router.workers takes effect after a restart" in told.stderr
    assert len(instance.workers()) == 2
    expected = "changed, but only in effect after a restart: router.workers"
    assert expected in instance.command("status").stderr
    kill_control(instance, lambda: None)
    assert expected in instance.command("status").stderr
    instance.reload(farm.config())
    assert "after a restart" not in instance.command("status").stderr


def test_the_access_log_follows_a_reload_and_its_rotation(farm: Farm, instance: Instance):
    file = instance.directory / "access.log"
    instance.reload({**farm.config(), "log": {"access": str(file)}})
    ask(f"{instance.base_url}/v1/models?secret=1")
    wait_until(lambda: file.exists() and "path=/v1/models " in file.read_text(), 20, "a line")
    assert "secret" not in file.read_text()
    file.rename(file.with_suffix(".1"))
    instance.reload()
    wait_until(file.exists, 20, "a new file")
    told = instance.reload(farm.config())
    assert told["settings"] == ["log.access"]
