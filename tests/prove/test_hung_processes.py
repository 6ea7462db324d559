"""Processes that hang instead of dying, and an instance that slept as a whole."""

import os
import signal
import time
from collections.abc import Iterator

import pytest

from tests.prove.conftest import Measure
from tests.testkit.certs import Authority
from tests.testkit.farm import Farm
from tests.testkit.http_client import chat
from tests.testkit.instance import Instance
from tests.testkit.instance_processes import control_pid, kill_worker, streams_on_all_workers
from tests.testkit.processes import can_bind, runs
from tests.testkit.wait import wait_until

pytestmark = pytest.mark.prove

LONGER_THAN_HUNG = 12.0


@pytest.fixture(scope="module")
def instance(authority: Authority, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Instance]:
    with Farm(tmp_path_factory.mktemp("hung"), authority) as farm:
        yield farm.instance


def test_a_hung_worker_is_replaced_and_the_other_one_serves_meanwhile(
    instance: Instance, measured: Measure
):
    with streams_on_all_workers(instance, events=300) as held:
        victim, other = held
        seconds = kill_worker(instance, victim, signal.SIGSTOP)
        measured("seconds until a hung worker was replaced", seconds)
        assert all(stream.completes() for stream in held[other])
    assert 8 < seconds < 30


def test_a_hung_control_is_replaced(instance: Instance, measured: Measure):
    old, began = control_pid(instance), time.monotonic()
    assert old is not None
    os.kill(old, signal.SIGSTOP)
    while control_pid(instance) in (None, old):
        assert chat(instance.base_url).status == 200
    measured("seconds until a hung control was replaced", time.monotonic() - began)


def test_nobody_is_blamed_for_the_suspension_of_the_whole_instance(instance: Instance):
    """As by `docker pause`: everybody was silent for long, and nobody hung."""
    processes = {instance.pid, *(child.pid for child in instance.children())}
    for pid in processes:
        os.kill(pid, signal.SIGSTOP)
    time.sleep(LONGER_THAN_HUNG)  # what is tested is the passing of time itself
    for pid in processes:
        os.kill(pid, signal.SIGCONT)
    for turn in range(1, 4):
        instance.reload_by_signal()
        _wait_for_reloads(instance, turn)
    assert processes == {instance.pid, *(child.pid for child in instance.children())}


def test_a_hung_worker_does_not_outlive_its_supervisor(instance: Instance):
    children = [child.pid for child in instance.children()]
    os.kill(instance.workers()[0].pid, signal.SIGSTOP)
    os.kill(instance.pid, signal.SIGKILL)
    wait_until(lambda: not any(map(runs, children)), 5, "all of it to be gone")
    wait_until(lambda: can_bind(instance.config["router"]["listen"]), 5, "its port to be free")
    instance.kill()


def _wait_for_reloads(instance: Instance, number: int) -> None:
    wait_until(lambda: instance.logs().count("(SIGHUP)") >= number, 20, "turns to be made")
