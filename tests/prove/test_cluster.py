"""Several instances as one while what they share is frozen, killed and started again."""

import signal
import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing
from functools import partial

import pytest

from tests.prove.conftest import Measure
from tests.testkit.cluster import (
    LIMIT,
    NAMES,
    Cluster,
    connected,
    models,
    race,
    running_cluster,
)
from tests.testkit.instance import Instance
from tests.testkit.postgresql import PostgresqlServer
from tests.testkit.wait import wait_until

pytestmark = pytest.mark.prove


@pytest.fixture(scope="module")
def cluster(
    postgresql: PostgresqlServer, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Cluster]:
    with running_cluster(postgresql.upgraded(), tmp_path_factory.mktemp("cluster")) as running:
        yield running


def _has_a_problem(cluster: Cluster, instance: Instance) -> bool:
    return bool(cluster.state(instance)["problem"])


def _knows(cluster: Cluster, instance: Instance, hosts: int) -> bool:
    return len(cluster.state(instance)["hosts"]) == hosts


def _is_banned(instance: Instance, client: str) -> bool:
    return models(instance, client) == 403


def test_redis_frozen_and_killed_under_load_fails_no_request(cluster: Cluster, measured: Measure):
    stop, counted = threading.Event(), Counter[int]()
    took: list[float] = []

    def load(number: int) -> None:
        instance = cluster.instances[number % 3]
        while not stop.is_set():
            began = time.monotonic()
            counted[models(instance, f"198.51.100.{number}")] += 1
            took.append(time.monotonic() - began)
            stop.wait(0.02)

    with ThreadPoolExecutor(12) as threads:
        for number in range(12):
            threads.submit(load, number)
        try:
            assert cluster.redis.process is not None
            cluster.redis.process.send(signal.SIGSTOP)
            for each in cluster.instances:
                wait_until(partial(_has_a_problem, cluster, each), 20, "the freeze to be noticed")
            time.sleep(20)
            cluster.redis.process.send(signal.SIGCONT)
            for each in cluster.instances:
                wait_until(partial(connected, each), 20, "Redis to be used again")
            cluster.redis.kill()
            time.sleep(20)
            with ExitStack() as stack:
                streams = [
                    stack.enter_context(closing(s)) for s in race(cluster.instances, "192.0.2.5", 8)
                ]
                open_now = sum(stream.status == 200 for stream in streams)
                measured("streams of a client with a limit of 10, without Redis", open_now)
                assert LIMIT <= open_now <= LIMIT + 2 * 4
            cluster.redis.start()
            for each in cluster.instances:
                wait_until(partial(connected, each), 20, "Redis to be used again")
        finally:
            stop.set()
    assert set(counted) == {200}
    measured("requests, none of which failed", counted[200])
    measured("the longest of them, in seconds", max(took))


def test_twenty_clients_that_hammer_all_never_have_more(cluster: Cluster, measured: Measure):
    most: Counter[str] = Counter()
    for _ in range(5):
        with ExitStack() as stack, ThreadPoolExecutor(20) as clients:
            names = [f"203.0.113.{number}" for number in range(20)]
            for name, streams in zip(
                names, clients.map(lambda n: race(cluster.instances, n, 5), names), strict=True
            ):
                for stream in streams:
                    stack.callback(stream.close)
                most[name] = max(most[name], sum(each.status == 200 for each in streams))
    measured("most streams of a client with a limit of 10", max(most.values()))
    assert max(most.values()) <= LIMIT + len(NAMES) - 1


def test_seconds_until_a_ban_is_everywhere(cluster: Cluster, measured: Measure):
    took = []
    for number in range(20):
        client = f"192.0.2.{100 + number}"
        cluster.instances[number % 3].command("bans", "add", client, check=True)
        began = time.monotonic()
        for each in cluster.instances:
            wait_until(partial(_is_banned, each, client), 10, "the ban")
        took.append(time.monotonic() - began)
    measured("seconds until a ban is on all three, at most", max(took))
    assert max(took) <= 1.0


def test_another_one_leads_when_the_leader_is_killed(cluster: Cluster, measured: Measure):
    leader = wait_until(cluster.leader, 40, "one leader")
    others = [each for each in cluster.instances if each is not leader]
    leader.kill()
    began = time.monotonic()
    wait_until(lambda: any(cluster.state(o)["leads"] for o in others), 60, "another leader")
    measured("seconds until another instance led", time.monotonic() - began)
    assert sum(cluster.state(each)["leads"] for each in others) == 1
    for each in others:
        wait_until(partial(_knows, cluster, each, 2), 30, "it to be missed")
        assert models(each, "192.0.2.77") == 200
