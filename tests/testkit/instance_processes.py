"""The processes of a running instance: connections and streams to each worker, and killing them."""

import http.client
import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager

from tests.testkit.http_client import CHAT, OpenStream, ask, ask_on, connection
from tests.testkit.instance import Instance
from tests.testkit.mirror.server import TEST_KEY
from tests.testkit.processes import owner_of
from tests.testkit.wait import wait_until

MOST = 200
"""Connections that are tried until every worker has one."""

Connections = dict[int, http.client.HTTPConnection]
"""By the pid of the worker."""


def worker_of(instance: Instance, client_port: int) -> int | None:
    """Return which worker holds the connection from this port."""
    port = int(instance.config["router"]["listen"].rpartition(":")[2])
    return owner_of(port, client_port, [worker.pid for worker in instance.workers()])


@contextmanager
def streams_on_all_workers(
    instance: Instance, *, each: int = 2, events: int = 60, delay: float = 0.1
) -> Iterator[dict[int, list[OpenStream]]]:
    """Hold streams open so that every worker has at least `each` of them; by the worker's pid."""
    held: dict[int, list[OpenStream]] = {worker.pid: [] for worker in instance.workers()}
    with ExitStack() as stack:
        for _ in range(MOST):
            if all(len(streams) >= each for streams in held.values()):
                break
            stream = stack.enter_context(OpenStream(instance.base_url, events=events, delay=delay))
            owner = worker_of(instance, stream.local_port)
            assert owner is not None
            held[owner].append(stream)
        assert all(held.values()), "one worker takes no connections"
        yield held


@contextmanager
def connections_to_all_workers(
    instance: Instance, source: str = "127.0.0.1", *, status: int | None = 200
) -> Iterator[Connections]:
    """A connection from an address to each worker.

    A request on each was answered with `status`; None: nothing was asked yet.
    """
    with ExitStack() as stack:
        reached: Connections = {}
        for _ in range(MOST):
            each = connection(instance.base_url, source)
            stack.callback(each.close)
            each.connect()
            owner = _owner(instance, each.sock.getsockname()[1])
            assert status is None or status_on(instance, each) == status
            reached[owner] = each
            if len(reached) == len(instance.workers()):
                break
        else:
            raise AssertionError("one worker takes no connections")
        yield reached


def _owner(instance: Instance, port: int) -> int:
    return wait_until(lambda: worker_of(instance, port), 10, "a worker to accept")


def status_on(instance: Instance, each: http.client.HTTPConnection) -> int:
    """Return the status of a chat completion on a kept connection."""
    return ask_on(each, f"{instance.base_url}/v1/chat/completions", CHAT).status


def timed(condition: Callable[[], object], timeout: float, what: str) -> float:
    """Return the seconds until the condition holds."""
    began = time.monotonic()
    wait_until(condition, timeout, what)
    return time.monotonic() - began


def kill_worker(
    instance: Instance, pid: int, number: int = signal.SIGKILL, *, key: str = TEST_KEY
) -> float:
    """Kill a worker; return the seconds until a new one has taken a connection."""
    before = {worker.pid for worker in instance.workers()}
    os.kill(pid, number)

    def a_new_one_serves() -> bool:
        new = {worker.pid for worker in instance.workers()} - before
        return bool(new) and any(_serves(instance, each, key) for each in new)

    return timed(a_new_one_serves, 60, "a new worker to take connections")


def _serves(instance: Instance, pid: int, key: str) -> bool:
    """True if the worker takes one of a few connections."""
    with ExitStack() as stack:
        for _ in range(20):
            stream = stack.enter_context(OpenStream(instance.base_url, events=1, key=key))
            if worker_of(instance, stream.local_port) == pid:
                return True
    return False


def control_pid(instance: Instance) -> int | None:
    """Return the pid of control, or None while it is dead."""
    return next((child.pid for child in instance.children() if child.role == "control"), None)


def kill_control(instance: Instance, meanwhile: Callable[[], object]) -> float:
    """Kill control, call `meanwhile` until there is a new one, return seconds until its page."""
    old, began = control_pid(instance), time.monotonic()
    assert old is not None
    os.kill(old, signal.SIGKILL)
    meanwhile()
    while control_pid(instance) in (None, old):
        meanwhile()
    assert ask(f"{instance.dashboard_url}/api/v1/nodes", key="").status == 200
    return time.monotonic() - began


def seconds_to_start(instance: Instance) -> float:
    """Start an instance; the seconds that it took."""
    began = time.monotonic()
    instance.start()
    return time.monotonic() - began
