"""One worker, as a program, in front of a scripted mirror, and crowds of raw clients before it."""

from __future__ import annotations

import asyncio
import contextlib
import resource
import socket
from collections.abc import AsyncIterator
from pathlib import Path

from tests.testkit.instance import Instance
from tests.testkit.road import RawClient, ScriptedMirror
from tests.testkit.wait import wait_until_async


@contextlib.asynccontextmanager
async def running(
    mirror: ScriptedMirror, directory: Path, descriptors: int | None = None
) -> AsyncIterator[Instance]:
    """An instance with one worker in front of this mirror."""
    config = {
        "router": {"workers": 1},
        "monitor": {"interval": "1h"},
        "mirrors": [mirror.table(allow_private=True)],
    }
    instance = Instance(config, directory)
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if descriptors is not None:
        resource.setrlimit(resource.RLIMIT_NOFILE, (descriptors, hard))
    try:
        instance.launch()
        if descriptors is not None:
            for child in await _family(instance):
                resource.prlimit(child, resource.RLIMIT_NOFILE, (descriptors, descriptors))
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 16384), hard))
    try:
        await asyncio.to_thread(instance.wait_ready)
        yield instance
    finally:
        await asyncio.to_thread(instance.kill)


async def _family(instance: Instance) -> list[int]:
    await wait_until_async(lambda: len(instance.workers()) == 1, what="the worker's process")
    return [instance.pid, *(child.pid for child in instance.children())]


def port_of(instance: Instance) -> int:
    """Where its clients connect to."""
    return int(instance.base_url.rpartition(":")[2])


@contextlib.asynccontextmanager
async def clients(port: int, count: int, receive: int = 0) -> AsyncIterator[list[RawClient]]:
    """So many clients; whatever happens, they are gone in the end."""
    those: list[RawClient] = []
    try:
        for _ in range(count):
            those.append(await _connect(port, receive))  # noqa: PERF401 — a half-made list counts
        yield those
    finally:
        for client in those:
            client.writer.transport.abort()
        for client in those:
            await client.close()


async def _connect(port: int, receive: int) -> RawClient:
    sock = socket.socket()
    if receive:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive)
    sock.setblocking(False)
    await asyncio.get_running_loop().sock_connect(sock, ("127.0.0.1", port))
    return RawClient(*await asyncio.open_connection(sock=sock, limit=4096))
