"""mirrorgate itself, as `python -m router run` starts it."""

import contextlib
import importlib.metadata
import sys
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any, ClassVar

from benchmarks.proxies.base import Proxy, Running, Setting
from monitor.common import compiled
from tests.testkit.instance import filled, to_toml
from tests.testkit.ports import HOST, free_ports
from tests.testkit.postgresql import PostgresqlServer
from tests.testkit.processes import children_of, python_environment
from tests.testkit.programs import DEBIAN_PACKAGES, INSTALL, find
from tests.testkit.valkey import RedisServer


class Mirrorgate(Proxy):
    """One worker, run from its sources, and no probe while it is measured."""

    name: ClassVar[str] = "mirrorgate"
    form: ClassVar[str] = compiled.PURE

    def version(self) -> str:
        return f"{importlib.metadata.version('mirrorgate')}, {self.form}, {self.workers} worker(s)"

    def command(self, setting: Setting, port: int) -> list[str]:
        config = setting.directory / "config.toml"
        config.write_text(to_toml(self._config(setting, port)))
        return [sys.executable, "-m", "router", "run", "--config", str(config)]

    def environment(self, setting: Setting) -> Mapping[str, str]:
        return python_environment(**{compiled.FORM: self.form})

    def worker_pids(self, pid: int) -> frozenset[int]:
        return frozenset(child.pid for child in children_of(pid) if child.role == "worker")

    def _config(self, setting: Setting, port: int) -> dict[str, Any]:
        mirror: dict[str, Any] = {
            "id": "mirror",
            "url": setting.upstream_url,
            "addresses": [HOST],
            "allow_private": True,
        }
        if setting.ca_file:
            mirror["ca_file"] = str(setting.ca_file)
        config = {
            "router": {"listen": f"{HOST}:{port}", "workers": self.workers},
            # All the load comes from one address: counted like everybody, and never refused.
            "limits": {"connections": 65535, "requests_per_second": 1e6, "burst": 1_000_000},
            "monitor": {"interval": "1h"},
            "log": {"level": "warning"},
            "mirrors": [mirror],
        }
        config |= setting.more
        return filled(config, [port, *free_ports(2)], setting.directory, setting.directory)


class MirrorgateCompiled(Mirrorgate):
    """The same, compiled."""

    name: ClassVar[str] = "mirrorgate-compiled"
    form: ClassVar[str] = compiled.COMPILED

    def missing(self) -> str:
        try:
            compiled.usable(compiled.folder())
        except compiled.CannotUse as error:
            return f"the compiled form cannot be used: {error}"
        return ""


class MirrorgateCluster(MirrorgateCompiled):
    """The compiled form as one of three hosts; Redis and PostgreSQL have the core of the load."""

    name: ClassVar[str] = "mirrorgate-cluster"

    def missing(self) -> str:
        for program in ("redis-server", "initdb"):
            if find(program) is None:
                return f"get {program} with: {INSTALL} {DEBIAN_PACKAGES[program]}"
        return super().missing()

    @contextlib.contextmanager
    def running(self, setting: Setting) -> Iterator[Running]:
        with RedisServer(setting.directory) as redis, PostgresqlServer() as postgresql:
            cluster = {"url": redis.url, "hosts": 3}
            more = {"cluster": cluster, "store": {"url": postgresql.upgraded()}}
            with super().running(replace(setting, more=more)) as running:
                yield running


class MirrorgateTwo(Mirrorgate):
    """Two workers, each with a core if the machine has a third one."""

    name: ClassVar[str] = "mirrorgate-2"
    workers: ClassVar[int] = 2
