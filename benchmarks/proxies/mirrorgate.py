"""mirrorgate itself, as `python -m router run` starts it."""

import importlib.metadata
import sys
from collections.abc import Mapping
from typing import Any, ClassVar

from benchmarks.proxies.base import Proxy, Setting
from monitor.common import compiled
from tests.testkit.instance import filled, to_toml
from tests.testkit.ports import HOST, free_ports
from tests.testkit.processes import children_of, python_environment


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


class MirrorgateTwo(Mirrorgate):
    """Two workers, each with a core if the machine has a third one."""

    name: ClassVar[str] = "mirrorgate-2"
    workers: ClassVar[int] = 2
