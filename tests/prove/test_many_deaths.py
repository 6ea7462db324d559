"""Workers, control and supervisors killed again and again."""

import http.client
import os
import signal
import statistics
import time
from collections.abc import Iterator

import pytest

from tests.prove.conftest import Measure
from tests.testkit.certs import Authority
from tests.testkit.closed_loop_load import SteadyLoad
from tests.testkit.farm import Farm
from tests.testkit.http_client import chat
from tests.testkit.instance import Instance
from tests.testkit.instance_output import metric
from tests.testkit.instance_processes import (
    connections_to_all_workers,
    kill_control,
    kill_worker,
    status_on,
    streams_on_all_workers,
    timed,
)
from tests.testkit.processes import can_bind, runs

pytestmark = pytest.mark.prove

KILLS = 20
BANNED = "127.0.0.9"
REQUESTS = "mirrorgate_requests_total"


@pytest.fixture(scope="module")
def instance(authority: Authority, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Instance]:
    with Farm(tmp_path_factory.mktemp("deaths"), authority, {"limits": {"allow": []}}) as farm:
        yield farm.instance


def test_killed_workers_lose_their_own_connections_only(instance: Instance, measured: Measure):
    took = []
    for _ in range(KILLS):
        with streams_on_all_workers(instance, events=30, delay=0.2) as held:
            victim, *others = held
            took.append(kill_worker(instance, victim))
            assert not any(stream.completes() for stream in held[victim])
            assert all(stream.completes() for other in others for stream in held[other])
    measured("seconds until a killed worker was replaced, median", statistics.median(took))
    measured("seconds until a killed worker was replaced, longest", max(took))


def test_nothing_is_lost_however_often_control_dies(instance: Instance, measured: Measure):
    instance.command("bans", "add", BANNED, check=True)
    took, refused = [], []
    with SteadyLoad(instance.base_url) as load:
        for _ in range(KILLS):
            answered = metric(instance, REQUESTS)
            took.append(
                kill_control(
                    instance, lambda: refused.append(chat(instance.base_url, source=BANNED).status)
                )
            )
            refused.append(chat(instance.base_url, source=BANNED).status)
            load.more(20)
            _wait_for_more_than(instance, answered)
    instance.command("bans", "remove", BANNED, check=True)
    measured("requests while control was killed", len(load.results))
    measured("seconds until a killed control's page was back, median", statistics.median(took))
    measured("seconds until a killed control's page was back, longest", max(took))
    assert load.failures == []
    assert set(refused) == {403}


def test_nothing_is_left_of_killed_supervisors(instance: Instance, measured: Measure):
    listeners = [instance.config[name]["listen"] for name in ("router", "dashboard", "admin")]
    gone, ready = [], []
    for _ in range(KILLS):
        children = [child.pid for child in instance.children()]
        with streams_on_all_workers(instance, each=1):
            os.kill(instance.pid, signal.SIGKILL)
            gone.append(_seconds_until_gone(children, listeners))
        instance.kill()
        began = time.monotonic()
        instance.start()
        ready.append(time.monotonic() - began)
    measured("seconds until nothing was left of a killed supervisor, longest", max(gone))
    measured("seconds of a start, median", statistics.median(ready))


def test_bans_hold_on_every_worker_at_once(instance: Instance, measured: Measure):
    took = []
    for _ in range(KILLS):
        with connections_to_all_workers(instance, BANNED) as kept:
            instance.command("bans", "add", BANNED, check=True)
            took.append(_seconds_until_refused(instance, [*kept.values()]))
        instance.command("bans", "remove", BANNED, check=True)
        timed(lambda: chat(instance.base_url, source=BANNED).status == 200, 5, "ban lifted")
    measured("seconds from `bans add` ending to 403 on all workers, longest", max(took))
    assert max(took) < 0.3


def _wait_for_more_than(instance: Instance, count: float) -> None:
    timed(lambda: metric(instance, REQUESTS) > count, 10, "counters to go on")


def _seconds_until_gone(pids: list[int], listeners: list[str]) -> float:
    began = time.monotonic()
    timed(lambda: not any(map(runs, pids)), 10, "all of it to be gone")
    timed(lambda: all(map(can_bind, listeners)), 10, "its ports to be free")
    return time.monotonic() - began


def _seconds_until_refused(instance: Instance, kept: list[http.client.HTTPConnection]) -> float:
    return timed(
        lambda: all(status_on(instance, each) == 403 for each in kept), 5, "the ban to hold"
    )
