"""Parts of every proxy under test: a command, a port, and one core."""

import contextlib
import functools
import http.client
import os
import re
import socket
import subprocess
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

from benchmarks.accounting import Usage, usage
from benchmarks.cores import Cores, pinned
from benchmarks.requests import CHAT_PATH, chat_body, headers
from benchmarks.workloads import Workload
from tests.testkit.ports import free_ports
from tests.testkit.processes import Process
from tests.testkit.wait import NotReached, wait_until

_COLOURS = re.compile(r"\x1b\[[0-9;]*m")


class DidNotStart(Exception):
    """A proxy or a pretend mirror did not answer in time."""


@dataclass(frozen=True)
class Setting:
    """Equipment of a proxy: a folder of its own, cores, and the mirror.

    With `ca_file` the mirror speaks TLS as `localhost`, certified by that authority. `more` is
    added to the configuration of mirrorgate.
    """

    directory: Path
    cores: Cores
    upstream_port: int
    ca_file: Path | None = None
    more: Mapping[str, Any] = field(default_factory=dict)

    @property
    def upstream_url(self) -> str:
        return f"{'https' if self.ca_file else 'http'}://localhost:{self.upstream_port}"


@dataclass(frozen=True)
class Running:
    """A proxy at work; `pid` is None if there is none between client and mirror. `started`: the
    seconds until it forwarded."""

    port: int
    pid: int | None
    worker_pids: frozenset[int] = frozenset()
    started: float | None = None

    def usage(self) -> Usage:
        """Return what its processes have used so far."""
        return usage(self.pid, self.worker_pids) if self.pid else Usage(0.0, 0.0, 0, 0)


class Proxy(ABC):
    """One proxy under test."""

    name: ClassVar[str]
    workers: ClassVar[int] = 1
    start_timeout: ClassVar[float] = 30.0

    @abstractmethod
    def command(self, setting: Setting, port: int) -> list[str]:
        """Write what configuration it needs, and return what starts it in the foreground."""

    @abstractmethod
    def version(self) -> str:
        """Return name and number of what is measured."""

    def missing(self) -> str:
        """Say why it cannot be measured here; empty if it can. May install it."""
        return ""

    def serves(self, workload: Workload) -> bool:
        """True if it can do this work."""
        return True

    def environment(self, setting: Setting) -> Mapping[str, str]:
        return os.environ

    def worker_pids(self, pid: int) -> frozenset[int]:
        """Return those of its processes that forward, if there are others too."""
        return frozenset()

    @contextlib.contextmanager
    def running(self, setting: Setting) -> Iterator[Running]:
        """Start it, wait until it forwards, and end it with all its processes."""
        (port,) = free_ports(1)
        command = pinned(self.command(setting, port), setting.cores.for_workers(self.workers))
        log = setting.directory / f"{self.name}.log"
        began = time.monotonic()
        process = Process(command, log, cwd=setting.directory, env=dict(self.environment(setting)))
        try:
            wait_until_it_answers(process, port, self.name, self.start_timeout, forwards)
            took = time.monotonic() - began
            yield Running(port, process.pid, self.worker_pids(process.pid), took)
        finally:
            process.kill()


def wait_until_it_answers(
    process: Process, port: int, name: str, timeout: float, answers: Callable[[int], bool]
) -> None:
    """Wait until `answers` is content with what is at `port`. Raises DidNotStart."""

    def settled() -> bool:
        return process.exit_code() is not None or answers(port)

    try:
        wait_until(settled, timeout, f"{name} to answer")
    except NotReached:
        raise DidNotStart(
            f"{name} did not answer in {timeout:g} s: {_last_line(process)}"
        ) from None
    if process.exit_code() is not None:
        raise DidNotStart(f"{name} ended with {process.exit_code()}: {_last_line(process)}")


def listens(port: int) -> bool:
    """True if a connection is accepted."""
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def forwards(port: int) -> bool:
    """True if a chat request gets a 200."""
    body = chat_body(1_000, max_tokens=1)
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        connection.request("POST", CHAT_PATH, body, headers(port, len(body)))
        return connection.getresponse().status == 200
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def _last_line(process: Process) -> str:
    lines = _COLOURS.sub("", process.logs()).strip().splitlines()
    return lines[-1] if lines else "it said nothing"


@functools.cache
def first_line(*command: str) -> str:
    """Return the first line that a command prints, on stdout or stderr."""
    ran = subprocess.run(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=60
    )
    return next(iter(ran.stdout.strip().splitlines()), "")
