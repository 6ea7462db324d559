"""Killing the processes of an instance, and watching what becomes of the rest."""

import os
import signal
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

from tests.testkit.asking import ask
from tests.testkit.instance import Instance
from tests.testkit.mirror import TEST_KEY
from tests.testkit.streams import OpenStream
from tests.testkit.wait import wait_until
from tests.testkit.workers import worker_of


def runs(pid: int) -> bool:
    """True if a process exists and is no zombie."""
    try:
        return ") Z " not in Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return False


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
