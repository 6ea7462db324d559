"""Connections and streams to every worker of an instance."""

import http.client
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from tests.testkit.asking import CHAT, ask_on, connection
from tests.testkit.instance import Instance
from tests.testkit.sockets import owner_of
from tests.testkit.streams import OpenStream
from tests.testkit.wait import wait_until

MOST = 200
"""Connections that are tried until every worker has one."""


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
    instance: Instance, source: str, *, status: int = 200
) -> Iterator[list[http.client.HTTPConnection]]:
    """Connections from an address, at least one to each worker, all answered with `status`."""
    with ExitStack() as stack:
        reached: dict[int, http.client.HTTPConnection] = {}
        for _ in range(MOST):
            each = connection(instance.base_url, source)
            stack.callback(each.close)
            each.connect()
            owner = _owner(instance, each.sock.getsockname()[1])
            assert status_on(instance, each) == status
            reached[owner] = each
            if len(reached) == len(instance.workers()):
                break
        else:
            raise AssertionError("one worker takes no connections")
        yield list(reached.values())


def _owner(instance: Instance, port: int) -> int:
    return wait_until(lambda: worker_of(instance, port), 10, "a worker to accept")


def status_on(instance: Instance, each: http.client.HTTPConnection) -> int:
    """Return the status of a chat completion on a kept connection."""
    return ask_on(each, f"{instance.base_url}/v1/chat/completions", CHAT).status
