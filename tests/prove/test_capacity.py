"""Memory, descriptors and time that an instance takes: the figures of docs/operations.md."""

from __future__ import annotations

import asyncio
import json
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from pathlib import Path

import pytest

from router.admission.capacity import raise_descriptor_limit
from tests.prove.conftest import Measure
from tests.testkit.certs import Authority, trusting_anybody
from tests.testkit.http_client import CHAT
from tests.testkit.instance import Instance
from tests.testkit.instance_output import all_up
from tests.testkit.instance_processes import kill_worker, seconds_to_start
from tests.testkit.mirror.process import MirrorProcess
from tests.testkit.mirror.server import TEST_KEY
from tests.testkit.processes import open_files, resident_bytes
from tests.testkit.wait import wait_until_async

pytestmark = pytest.mark.prove

PER_ADDRESS = 200
"""Connections of one client address; more than 256 idle ones would be closed."""
AT_ONCE = 100
"""Connections that begin together: a stream's head waits for its first event."""
FEW = 3
"""Descriptors that a worker may have more than at its start: a connection that is kept."""
IDLE, STREAMS = 2000, 500
MOST_KIB = {"idle": 12.0, "stream": 25.0, "idle, TLS": 60.0}
"""Twice what was measured: beyond that the table in docs/operations.md is wrong."""
HEAD = f"HTTP/1.1\r\nhost: a\r\nauthorization: Bearer {TEST_KEY}\r\n"
MODELS = f"GET /v1/models {HEAD}\r\n".encode()

Begin = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


async def ask_once(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """A request and its whole answer; then the connection is idle."""
    writer.write(MODELS)
    head = await reader.readuntil(b"\r\n\r\n")
    assert b" 200 " in head.splitlines()[0], head
    length = next(line for line in head.lower().splitlines() if line.startswith(b"content-length"))
    await reader.readexactly(int(length.partition(b":")[2]))


async def begin_stream(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """A stream up to its head; it goes on for longer than the test takes."""
    body = json.dumps({**CHAT, "stream": True})
    behaviour = json.dumps({"events": 1000, "event_delay": 5})
    writer.write(
        f"POST /v1/chat/completions {HEAD}x-test-behaviour: {behaviour}\r\n"
        f"content-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n{body}".encode()
    )
    head = await reader.readuntil(b"\r\n\r\n")
    assert b" 200 " in head.splitlines()[0], head


@asynccontextmanager
async def held(
    instance: Instance, count: int, begin: Begin, tls: ssl.SSLContext | None
) -> AsyncIterator[None]:
    """So many connections, from as many addresses as that takes."""
    host, _, port = instance.config["router"]["listen"].rpartition(":")
    writers: list[asyncio.StreamWriter] = []

    async def one(number: int) -> None:
        source = (f"127.0.1.{1 + number // PER_ADDRESS}", 0)
        reader, writer = await asyncio.open_connection(host, int(port), local_addr=source, ssl=tls)
        writers.append(writer)
        await begin(reader, writer)

    try:
        for first in range(0, count, AT_ONCE):
            await asyncio.gather(*map(one, range(first, min(first + AT_ONCE, count))))
        yield
    finally:
        for writer in writers:
            writer.transport.abort()


async def measure(
    instance: Instance, name: str, count: int, begin: Begin, tls: ssl.SSLContext | None = None
) -> tuple[float, float]:
    """KiB and descriptors of the worker for each of so many connections."""
    (worker,) = instance.workers()
    at_rest = open_files(worker.pid)
    async with held(instance, AT_ONCE, begin, tls):
        pass  # what is allocated once is there
    await wait_until_async(
        lambda: open_files(worker.pid) <= at_rest + FEW, 120, "connections to be closed"
    )
    memory, files = resident_bytes(worker.pid), open_files(worker.pid)
    async with held(instance, count, begin, tls):
        kib = (resident_bytes(worker.pid) - memory) / count / 1024
        descriptors = (open_files(worker.pid) - files) / count
    assert kib < MOST_KIB[name], name
    return kib, descriptors


async def test_memory_and_descriptors_of_processes_and_connections_are_measured(
    tmp_path: Path, authority: Authority, measured: Measure
) -> None:
    raise_descriptor_limit()
    leaf = authority.issue("gate.test")
    async with AsyncExitStack() as stack:
        mirror = MirrorProcess("a", tmp_path, keys=[TEST_KEY])
        await asyncio.to_thread(mirror.__enter__)
        stack.push_async_callback(asyncio.to_thread, mirror.__exit__)
        config = {
            "router": {"workers": 1},
            "mirrors": [{"id": "a", "url": mirror.base_url}],
        }
        tls = {"tls_cert": str(leaf.cert_file), "tls_key": str(leaf.key_file)}
        plain = Instance(config, tmp_path / "plain")
        secure = Instance({**config, "router": {"workers": 1, **tls}}, tmp_path / "secure")
        for instance in (plain, secure):
            stack.callback(instance.close)
            seconds = await asyncio.to_thread(seconds_to_start, instance)
            await wait_until_async(partial(all_up, instance), 60, "the mirror to be up")
            if instance is plain:
                measured("seconds to start", seconds)
        roles = {"worker": plain.workers()[0].pid, "control": plain.control().pid}
        for role, pid in {**roles, "supervisor": plain.pid}.items():
            measured(f"{role} at rest: MiB", resident_bytes(pid) / 2**20)
            measured(f"{role} at rest: descriptors", open_files(pid))
        for instance, name, count, begin, context in (
            (plain, "idle", IDLE, ask_once, None),
            (plain, "stream", STREAMS, begin_stream, None),
            (secure, "idle, TLS", IDLE, ask_once, trusting_anybody()),
        ):
            kib, descriptors = await measure(instance, name, count, begin, context)
            measured(f"{name}: KiB for each connection", kib)
            measured(f"{name}: descriptors for each connection", descriptors)
            if instance is plain:  # what was freed would count for nothing
                await asyncio.to_thread(kill_worker, instance, instance.workers()[0].pid)
