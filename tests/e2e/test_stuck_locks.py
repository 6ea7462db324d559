"""A worker that is stopped while it holds a lock of the table: the others serve; it is replaced."""

import http.client
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import cycle
from pathlib import Path

import pytest

from router.admission import shared_table as tables
from tests.testkit.instance import Instance
from tests.testkit.instance_output import all_up
from tests.testkit.instance_processes import connections_to_all_workers, status_on, worker_of
from tests.testkit.mirror.process import MirrorProcess
from tests.testkit.mirror.server import TEST_KEY
from tests.testkit.processes import descriptors_of, python_environment, status_of
from tests.testkit.wait import wait_until

pytestmark = pytest.mark.e2e

LIMIT = 10
FLOODER, OTHER = "127.0.0.2", "127.0.0.3"


@pytest.fixture
def instance(tmp_path: Path) -> Iterator[Instance]:
    with MirrorProcess("alpha", tmp_path, keys=[TEST_KEY]) as mirror:
        alpha = {"url": mirror.base_url, "addresses": ["127.0.0.1"], "allow_private": True}
        config = {
            "router": {"workers": 2},
            "limits": {"connections": LIMIT, "requests_per_second": 0},
            "mirrors": [{"id": "alpha", **alpha}],
        }
        with Instance(config, tmp_path) as instance:
            wait_until(lambda: all_up(instance), 30, "the mirror to be up")
            yield instance


@contextmanager
def _flood(instance: Instance) -> Iterator[None]:
    """One address asks as fast as it can, on connections to all workers."""
    port = instance.base_url.rpartition(":")[2]
    command = [sys.executable, "-m", "tests.testkit.http_flood", port, FLOODER, "8"]
    with subprocess.Popen(
        [*command, "--pipelined", "16"],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        env=python_environment(),
    ) as flood:
        assert flood.stdin is not None
        flood.stdin.write(b"\n")
        flood.stdin.flush()
        try:
            yield
        finally:
            flood.kill()


def _table_of(pid: int) -> int:
    """A descriptor of the table that this process maps."""
    name = next(fd for fd, link in descriptors_of(pid).items() if "mirrorgate-table" in link)
    return os.open(name, os.O_RDONLY)


def _stop_with_a_lock(pids: list[int]) -> int:
    """Stop busy processes again and again until one is stopped where it holds a lock: its pid."""
    fd = _table_of(pids[0])

    try:
        deadline = time.monotonic() + 60
        for pid in cycle(pids):
            assert time.monotonic() < deadline, "none was stopped with a lock"
            os.kill(pid, signal.SIGSTOP)
            while (status := status_of(pid)) is None or status.state != "T":
                pass
            if pid in (tables.holder_of_lock(fd, lock) for lock in range(tables.STRIPES)):
                break
            os.kill(pid, signal.SIGCONT)
    finally:
        os.close(fd)
    return pid


def test_a_stopped_worker_with_a_lock_hinders_nobody_and_is_replaced(instance: Instance):
    with (
        connections_to_all_workers(instance, OTHER) as others,
        connections_to_all_workers(instance, FLOODER) as its_own,
        _flood(instance),
    ):
        owners = {each: _owner(instance, each) for each in (*others.values(), *its_own.values())}
        victim = _stop_with_a_lock([worker.pid for worker in instance.workers()])
        answers = []
        while any(worker.pid == victim for worker in instance.workers()):
            for each, owner in owners.items():
                if owner != victim:
                    answers.append(status_on(instance, each))
        assert set(answers) == {200}
    wait_until(lambda: "it does not release a lock" in instance.logs(), 20, "the log")


def _owner(instance: Instance, connection: http.client.HTTPConnection) -> int | None:
    return worker_of(instance, connection.sock.getsockname()[1])
