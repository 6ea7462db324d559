"""Instances that share limits through Sentinels or a cluster, while servers of these are killed."""

from __future__ import annotations

import random
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing
from functools import partial
from pathlib import Path

import pytest

from router.cluster.leases import CONNECTIONS, Ask, Name
from router.cluster.valkey import Unreachable, Valkey, connect
from tests.prove.conftest import Measure
from tests.testkit.cluster import LIMIT, NAMES, connected, models, race, running_instances
from tests.testkit.instance import Instance
from tests.testkit.instance_output import metric
from tests.testkit.postgresql import PostgresqlServer
from tests.testkit.valkey import Board, ClusterServers, RedisServer, WatchedServers
from tests.testkit.wait import wait_until, wait_until_async

pytestmark = [pytest.mark.prove, pytest.mark.timeout(600)]


def _apart(instance: Instance) -> bool:
    return metric(instance, "mirrorgate_cluster_connected") == 0


def _hammer_while_killed(
    instances: list[Instance], server: RedisServer, measured: Measure
) -> Counter[int]:
    """Statuses of requests while this server is killed and another one takes its place."""
    stop, counted = threading.Event(), Counter[int]()

    def load(number: int) -> None:
        while not stop.is_set():
            counted[models(instances[number % 3], f"198.51.100.{number}")] += 1
            stop.wait(0.02)

    with ThreadPoolExecutor(6) as threads:
        for number in range(6):
            threads.submit(load, number)
        try:
            server.kill()
            began = time.monotonic()
            for each in instances:
                wait_until(partial(_apart, each), 30, "the loss to be noticed")
            for each in instances:
                wait_until(partial(connected, each), 60, "the other server to be used")
            measured("seconds until the limits were shared again", time.monotonic() - began)
        finally:
            stop.set()
    return counted


def _most_streams(instances: list[Instance], client: str) -> int:
    with ExitStack() as stack:
        streams = [stack.enter_context(closing(s)) for s in race(instances, client, 6)]
        return sum(stream.status == 200 for stream in streams)


@pytest.mark.parametrize("kind", ["sentinels", "cluster"])
async def test_a_limit_holds_again_when_another_server_has_taken_over(
    kind: str, postgresql: PostgresqlServer, tmp_path: Path, measured: Measure
):
    with ExitStack() as stack:
        servers = (WatchedServers if kind == "sentinels" else ClusterServers)(tmp_path)
        stack.enter_context(servers)
        probe = connect(servers.url, "mirrorgate", "probe", 0)
        place = await probe.reach()
        await probe.close()
        (asked,) = [each for each in servers.servers if place.endswith(f":{each.port}")]
        running = running_instances(postgresql.upgraded(), servers.url, tmp_path)
        instances = stack.enter_context(running)
        assert LIMIT <= _most_streams(instances, "192.0.2.1") <= LIMIT + len(NAMES) - 1
        counted = _hammer_while_killed(instances, asked, measured)
        measured(f"requests meanwhile ({kind}), none of which failed", counted[200])
        assert set(counted) == {200}
        most = _most_streams(instances, "192.0.2.2")
        measured("streams of a client with a limit of 10 afterwards", most)
        assert LIMIT <= most <= LIMIT + len(NAMES) - 1


def _ask_of(rng: random.Random) -> Ask:
    name = Name(CONNECTIONS, bytes([rng.randrange(2)]))
    units, held = rng.randrange(12), rng.randrange(4)
    return Ask(name, 10, 0.0, rng.randrange(12), max(units, held), held, rng.random() < 0.5)


async def _decides_as_the_board_does(clients: dict[str, Valkey], rng: random.Random) -> None:
    board = Board()
    for host, client in clients.items():
        await client.beat()
        board.beats[host] = board.now
    for _ in range(200):
        host = rng.choice([*clients])
        asks = [_ask_of(rng) for _ in range(rng.randrange(1, 4))]
        assert await clients[host].exchange(asks) == [board.exchange(host, a) for a in asks]


async def test_a_cluster_decides_as_one_server_does_and_news_reach_all(tmp_path: Path):
    with ClusterServers(tmp_path) as servers:
        clients = {host: connect(servers.url, "decides", host, 0) for host in ("a", "b")}
        await _decides_as_the_board_does(clients, random.Random(20261129))
        async with clients["a"].listening() as messages:
            await clients["b"].tell({"type": "hello"})
            async for message in messages:
                if message["type"] == "hello":
                    break
        for client in clients.values():
            await client.close()


async def test_sentinels_that_know_no_master_are_told(tmp_path: Path):
    with WatchedServers(tmp_path) as servers:
        client = connect(servers.url.replace("mymaster", "other"), "x", "a", 0)
        with pytest.raises(Unreachable, match='knows a master "other"'):
            await client.beat()
        await client.close()
        client = connect(servers.url, "x", "a", 0)
        assert await client.beat() == ["a"]
        servers.servers[0].kill()

        async def answers() -> bool:
            try:
                return await client.beat() == ["a"]
            except Unreachable:
                client.forget()
                return False

        await wait_until_async(answers, 60)
        assert (await client.reach()).endswith(f":{servers.servers[1].port}")
        await client.close()
