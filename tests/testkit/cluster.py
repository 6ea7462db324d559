"""Three instances as one, with a real PostgreSQL and a real Redis."""

import json
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from router.cli.client import Client
from tests.testkit.http_client import CHAT, ask, connection
from tests.testkit.instance import Instance
from tests.testkit.instance_output import all_up, metric
from tests.testkit.mirror.process import MirrorProcess
from tests.testkit.mirror.server import TEST_KEY
from tests.testkit.valkey import RedisServer
from tests.testkit.wait import wait_until

LIMIT = 10
"""Open requests of a client, over all instances."""
NAMES = ("tokyo", "shanghai", "paris")


class Cluster:
    """Running instances and what they share."""

    def __init__(self, redis: RedisServer, instances: Sequence[Instance]) -> None:
        self.redis, self.instances = redis, instances

    def state(self, instance: Instance) -> dict[str, Any]:
        """The cluster as an instance sees it."""
        told = Client(Path(instance.config["admin"]["socket"])).call("GET", "/api/admin/status")
        state: dict[str, Any] = told["cluster"]
        return state

    def leader(self) -> Instance | None:
        """The instance that leads, if exactly one does."""
        leaders = [each for each in self.instances if self.state(each)["leads"]]
        return leaders[0] if len(leaders) == 1 else None


@contextmanager
def running_cluster(store: str, folder: Path) -> Iterator[Cluster]:
    """Instances that use this PostgreSQL database, and a Redis of their own."""
    with RedisServer(folder) as redis, running_instances(store, redis.url, folder) as instances:
        yield Cluster(redis, instances)


@contextmanager
def running_instances(store: str, valkey: str, folder: Path) -> Iterator[list[Instance]]:
    """Instances that use this PostgreSQL database and this `cluster.url`."""
    with ExitStack() as stack:
        mirror = stack.enter_context(MirrorProcess("alpha", folder, keys=[TEST_KEY]))
        made = {"id": "alpha", "url": mirror.base_url, "addresses": ["127.0.0.1"]}
        instances = []
        for name in NAMES:
            config = {
                "router": {"workers": 1, "trusted_proxies": ["127.0.0.1/32"]},
                "limits": {"connections": LIMIT, "requests_per_second": 0},
                "monitor": {"vantage": name},
                "store": {"url": store},
                "cluster": {"url": valkey, "hosts": len(NAMES)},
                "mirrors": [{**made, "allow_private": True, "api_key": TEST_KEY}],
            }
            instance = Instance(config, folder / name)
            stack.callback(instance.close)
            instance.launch()
            instances.append(instance)
        for instance in instances:
            instance.wait_ready()
        for instance in instances:
            wait_until(partial(all_up, instance), 30, "the mirror to be up")
            wait_until(partial(connected, instance), 30, "all to share the limits")
        yield instances
        for instance in instances:
            if instance.exit_code() is None:
                instance.stop()


def connected(instance: Instance, hosts: int = len(NAMES)) -> bool:
    reached = metric(instance, "mirrorgate_cluster_connected") == 1
    return reached and metric(instance, "mirrorgate_cluster_hosts") == hosts


class Stream:
    """A long stream of a client, or its refusal."""

    def __init__(self, instance: Instance, client: str) -> None:
        self._connection = connection(instance.base_url)
        headers = {
            "Authorization": f"Bearer {TEST_KEY}",
            "Content-Type": "application/json",
            "X-Forwarded-For": client,
            "x-test-behaviour": json.dumps({"events": 4000, "event_delay": 0.05}),
        }
        body = json.dumps({**CHAT, "stream": True})
        self._connection.request("POST", "/v1/chat/completions", body, headers)
        self.response = self._connection.getresponse()
        self.status = self.response.status

    def close(self) -> None:
        self.response.close()
        self._connection.close()


def models(instance: Instance, client: str, key: str = TEST_KEY) -> int:
    url = f"{instance.base_url}/v1/models"
    return ask(url, key=key, headers={"X-Forwarded-For": client}).status


def race(instances: Sequence[Instance], client: str, count: int) -> list[Stream]:
    """Open so many streams at the same moment on each instance."""
    places = [*instances] * count
    barrier = threading.Barrier(len(places))

    def open_one(instance: Instance) -> Stream:
        barrier.wait()
        return Stream(instance, client)

    with ThreadPoolExecutor(len(places)) as threads:
        return list(threads.map(open_one, places))
