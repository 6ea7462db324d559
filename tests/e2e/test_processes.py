"""Processes die by `kill -9`: what is lost is what they held, and they are replaced."""

import json
import os
import signal
import time
from collections.abc import Iterator

import pytest

from tests.testkit.certs import Authority
from tests.testkit.closed_loop_load import SteadyLoad
from tests.testkit.farm import Farm
from tests.testkit.http_client import ask, chat
from tests.testkit.instance import Instance
from tests.testkit.instance_output import counters, metric
from tests.testkit.instance_processes import (
    connections_to_all_workers,
    kill_control,
    kill_worker,
    streams_on_all_workers,
)
from tests.testkit.processes import can_bind, runs
from tests.testkit.wait import wait_until

pytestmark = pytest.mark.e2e

BANNED = "127.0.0.9"
REQUESTS = "mirrorgate_requests_total"
LONG = 100
"""Events of a stream that goes on for ten seconds: something must have happened before its end."""


@pytest.fixture(scope="module")
def farm(authority: Authority, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Farm]:
    config = {"limits": {"allow": []}, "monitor": {"interval": 1}}
    with Farm(tmp_path_factory.mktemp("processes"), authority, config) as farm:
        yield farm


@pytest.fixture
def instance(farm: Farm) -> Instance:
    return farm.instance


def uptime(instance: Instance) -> float:
    status = json.loads(instance.command("status", "--json", check=True).stdout)
    return float(status["uptime_seconds"])


def test_a_killed_worker_loses_its_own_connections_only_and_is_replaced(instance: Instance):
    instance.command("bans", "add", BANNED, check=True)
    with streams_on_all_workers(instance, events=LONG) as held:
        victim, *others = held
        seconds = kill_worker(instance, victim)
        assert not any(stream.completes() for stream in held[victim])
        assert all(stream.completes() for other in others for stream in held[other])
    assert seconds < 15
    with connections_to_all_workers(instance, BANNED, status=403):
        assert len(instance.workers()) == 2


def test_nothing_is_lost_while_control_is_dead_and_bans_and_counters_survive(instance: Instance):
    instance.command("bans", "add", BANNED, check=True)
    instance.command("maintenance", "alpha", "--for", "1h", check=True)
    up = uptime(instance)
    with SteadyLoad(instance.base_url) as load:
        wait_until(lambda: metric(instance, REQUESTS) >= 10, 10, "workers to report")
        before, refused = metric(instance, REQUESTS), []
        kill_control(instance, lambda: refused.append(chat(instance.base_url, source=BANNED)))
        wait_until(lambda: metric(instance, REQUESTS) > before, 10, "counters to go on")
        refused.append(chat(instance.base_url, source=BANNED))
        load.more(30)
    assert load.failures == []
    assert len(refused) > 1
    assert {answer.status for answer in refused} == {403}
    instance.command("bans", "remove", BANNED, check=True)
    assert uptime(instance) > up, "the instance has not begun anew"
    assert "no (maintenance, for " in instance.command("status", check=True).stdout
    instance.command("enable", "alpha", check=True)


def test_no_counter_falls_or_goes_whichever_process_is_replaced(instance: Instance):
    """Prometheus takes a counter that falls for a new one, and counts all of it again."""
    with SteadyLoad(instance.base_url) as load:
        load.more(30)
    wait_until(lambda: metric(instance, "mirrorgate_requests_in_flight") == 0, 10, "the end of it")
    before = counters(instance)
    restarted = before['mirrorgate_process_restarts_total{process="control"}']

    def kill_again() -> None:
        nonlocal before
        kill_control(instance, lambda: None)
        after = counters(instance)
        assert {name: before[name] for name in before if after.get(name, -1) < before[name]} == {}
        before = after

    kill_again()
    with streams_on_all_workers(instance, events=30) as held:
        kill_worker(instance, next(iter(held)))
    kill_again()  # which knows the killed worker from its predecessor only
    kill_again()
    assert before['mirrorgate_process_restarts_total{process="control"}'] == restarted + 3
    assert before['mirrorgate_process_restarts_total{process="worker"}'] >= 1


def test_nothing_is_left_of_a_killed_supervisor_and_a_new_one_starts(instance: Instance):
    children = [child.pid for child in instance.children()]
    listeners = [instance.config[name]["listen"] for name in ("router", "dashboard", "admin")]
    with streams_on_all_workers(instance):
        os.kill(instance.pid, signal.SIGKILL)
        wait_until(lambda: not any(map(runs, children)), 10, "its children to be gone")
        wait_until(lambda: all(map(can_bind, listeners)), 20, "its ports to be free")
    instance.kill()
    assert os.path.exists(instance.config["admin"]["socket"])
    instance.start()
    assert chat(instance.base_url).status == 200


def test_a_stop_lets_a_stream_finish_refuses_newcomers_and_ends_with_0(instance: Instance):
    with streams_on_all_workers(instance, each=1, events=LONG) as held:
        streams = [stream for streams in held.values() for stream in streams]
        instance.send(signal.SIGTERM)
        wait_until(lambda: not _accepts(instance), 20, "newcomers to be refused")
        assert instance.exit_code() is None
        assert all(stream.completes() for stream in streams)
        finished = time.monotonic()
        wait_until(lambda: instance.exit_code() is not None, 15, "the end")
        assert time.monotonic() - finished < 10, "it waited for connections with nothing on them"
    assert instance.exit_code() == 0
    assert not os.path.exists(instance.config["admin"]["socket"])
    instance.start()


def test_a_second_signal_ends_at_once_and_leaves_nothing(instance: Instance):
    children = [child.pid for child in instance.children()]
    with streams_on_all_workers(instance, each=1, events=600) as held:
        instance.send(signal.SIGTERM)
        wait_until(lambda: not _accepts(instance), 20, "newcomers to be refused")
        instance.send(signal.SIGINT)
        wait_until(lambda: instance.exit_code() is not None, 10, "the end")
        assert not any(map(runs, children))
        assert not any(stream.completes() for streams in held.values() for stream in streams)
    assert not os.path.exists(instance.config["admin"]["socket"])
    instance.start()


def _accepts(instance: Instance) -> bool:
    try:
        return ask(f"{instance.base_url}/healthz").status == 200
    except OSError:
        return False
