"""Instances on hosts of their own that act as one, and all that they share on another."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from tests.testkit.certs import Authority
from tests.testkit.cluster import LIMIT, NAMES, Cluster
from tests.testkit.hook import Hook
from tests.testkit.hosts import HUB, Hosts
from tests.testkit.instance import Instance
from tests.testkit.instance_output import all_up
from tests.testkit.mirror.process import MirrorProcess
from tests.testkit.mirror.server import TEST_KEY
from tests.testkit.ports import HOST
from tests.testkit.postgresql import PostgresqlServer
from tests.testkit.valkey import RedisServer
from tests.testkit.wait import wait_until

BLOCKED = "gamma.mirror.test"
"""The name of the mirror that speaks TLS."""
INTERVAL = 2.0


class Sites(Cluster):
    """A cluster, its network, and what is beside it."""

    def __init__(
        self,
        hosts: Hosts,
        redis: RedisServer,
        postgresql: PostgresqlServer,
        mirrors: dict[str, MirrorProcess],
        hook: Hook,
        instances: list[Instance],
    ) -> None:
        super().__init__(redis, instances)
        self.hosts, self.postgresql = hosts, postgresql
        self.mirrors, self.hook = mirrors, hook

    def sees_all(self, instance: Instance, hosts: int = len(NAMES)) -> bool:
        state = self.state(instance)
        return not state["problem"] and len(state["hosts"]) == hosts


@contextmanager
def running_sites(folder: Path, authority: Authority) -> Iterator[Sites]:
    """Three instances, each on a host, with a PostgreSQL, a Redis and mirrors of their own."""
    with ExitStack() as stack:
        hosts = stack.enter_context(Hosts(folder, len(NAMES)))
        redis = stack.enter_context(RedisServer(folder))
        postgresql = stack.enter_context(PostgresqlServer())
        hook = stack.enter_context(Hook())
        leaf = authority.issue(BLOCKED)
        mirrors = {
            name: stack.enter_context(MirrorProcess(name, folder, keys=[TEST_KEY], leaf=its))
            for name, its in (("alpha", None), ("beta", None), ("gamma", leaf))
        }
        store = postgresql.upgraded()
        common: dict[str, Any] = {
            "limits": {"connections": LIMIT, "requests_per_second": 0},
            "store": {"url": store.replace(HOST, HUB)},
            "cluster": {"url": redis.url.replace(HOST, HUB), "hosts": len(NAMES)},
            "notify": [{"url": hook.url.replace(HOST, HUB), "group": 0, "quiet": 0}],
            "mirrors": [_mirror(mirror, authority) for mirror in mirrors.values()],
        }
        instances = []
        for number, name in enumerate(NAMES):
            address = Hosts.address(number)
            config = {
                **common,
                "router": {
                    "listen": f"{address}:8080",
                    "workers": 1,
                    "trusted_proxies": [f"{HUB}/32"],
                    "callers": ["own", "issued"],
                },
                "dashboard": {"listen": f"{address}:8081", "languages": ["en", "zh"]},
                "admin": {"listen": f"{address}:8082"},
                "monitor": {
                    "vantage": name,
                    "interval": INTERVAL,
                    "sni": {"control": ["control.mirror.test"]},
                },
            }
            instance = Instance(config, folder / name, inside=hosts.inside(number))
            stack.callback(instance.close)
            instance.launch()
            instances.append(instance)
        running = Sites(hosts, redis, postgresql, mirrors, hook, instances)
        for instance in instances:
            instance.wait_ready()
            wait_until(partial(all_up, instance), 60, "all mirrors to be up")
            wait_until(partial(running.sees_all, instance), 30, "all to share the limits")
        yield running


def _mirror(mirror: MirrorProcess, authority: Authority) -> dict[str, Any]:
    common = {"id": mirror.name, "allow_private": True, "api_key": TEST_KEY}
    if mirror.base_url.startswith("http:"):
        return {**common, "url": f"http://{HUB}:{mirror.port}"}
    url = f"https://{BLOCKED}:{mirror.port}"
    return {**common, "url": url, "addresses": [HUB], "ca_file": str(authority.ca_file)}
