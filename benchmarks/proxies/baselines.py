"""Baselines: no proxy at all, and the cheapest one on this event loop."""

import contextlib
import importlib.metadata
import sys
from collections.abc import Iterator, Mapping
from typing import ClassVar

from benchmarks.proxies.base import Proxy, Running, Setting
from benchmarks.workloads import Workload
from tests.testkit.processes import python_environment


class Direct(Proxy):
    """The client asks the mirror itself."""

    name: ClassVar[str] = "direct"

    def version(self) -> str:
        return ""

    def serves(self, workload: Workload) -> bool:
        return not workload.tls and not workload.of_memory

    def command(self, setting: Setting, port: int) -> list[str]:
        raise NotImplementedError("there is nothing to start")

    @contextlib.contextmanager
    def running(self, setting: Setting) -> Iterator[Running]:
        yield Running(setting.upstream_port, None)


class Floor(Proxy):
    """A byte relay on uvloop."""

    name: ClassVar[str] = "floor"

    def version(self) -> str:
        return f"byte relay on uvloop {importlib.metadata.version('uvloop')}"

    def command(self, setting: Setting, port: int) -> list[str]:
        command = [sys.executable, "-m", "benchmarks.relay", f"--port={port}"]
        command.append(f"--upstream-port={setting.upstream_port}")
        return [*command, f"--ca-file={setting.ca_file}"] if setting.ca_file else command

    def environment(self, setting: Setting) -> Mapping[str, str]:
        return python_environment()
