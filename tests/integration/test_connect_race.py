"""A connection that several paths compete for is never lost, whenever its request is cancelled."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import os
import ssl
from pathlib import Path

import pytest

from router.upstream.connection import UpstreamConnection
from router.upstream.connector import Limits, connect
from router.upstream.paths import Route
from router.wire.fields import response_rules
from router.wire.write_batch import WriteBatch
from tests.testkit.certs import Authority
from tests.testkit.event_loops import loop_test
from tests.testkit.listener import unanswered_port
from tests.testkit.wait import wait_until_async as wait_until


@pytest.mark.parametrize("turns", range(12))
@loop_test
async def test_a_cancelled_race_leaves_no_connection(turns: int) -> None:
    made: list[UpstreamConnection] = []
    seen_off: list[asyncio.StreamWriter] = []

    async def mirror(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError):
            await reader.read()
        writer.close()
        seen_off.append(writer)

    def factory() -> UpstreamConnection:
        made.append(UpstreamConnection(memoryview(bytearray(1024)), response_rules(), WriteBatch()))
        return made[-1]

    with unanswered_port() as slow_port:
        server = await asyncio.start_server(mirror, "127.0.0.2", 0)
        port = server.sockets[0].getsockname()[1]
        routes = [
            Route("a.test", "127.0.0.1", slow_port, b"a.test", patience=0.001),
            Route("a.test", "127.0.0.2", port, b"a.test"),
        ]
        opening = asyncio.create_task(connect(routes, factory, Limits(5, 5, None)))
        while all(each.is_closed() for each in made):  # noqa: ASYNC110 — turn by turn, which is what is tested
            await asyncio.sleep(0)
        for _ in range(turns):
            await asyncio.sleep(0)
        opening.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            ready = await opening
            ready.connection.leave()  # it was not too late: the caller's own
        await wait_until(lambda: all(each.is_closed() for each in made), what="it to be closed")
        server.close()
        await server.wait_closed()
        await wait_until(lambda: len(seen_off) == len(made), what="the mirror's side to end")


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("race"))


@loop_test
async def test_a_race_that_is_cancelled_at_any_moment_of_a_handshake_leaves_no_socket(
    authority: Authority,
) -> None:
    async def mirror(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError, ssl.SSLError):
            await reader.read()
        writer.close()

    def factory() -> UpstreamConnection:
        return UpstreamConnection(memoryview(bytearray(1024)), response_rules(), WriteBatch())

    limits = Limits(5, 5, authority.client_context())
    leaf = authority.issue("a.test").server_context()
    server = await asyncio.start_server(mirror, "127.0.0.1", 0, ssl=leaf)
    port = server.sockets[0].getsockname()[1]
    routes = [Route("a.test", address, port, b"a.test") for address in ("127.0.0.1", "127.0.0.2")]
    (await connect(routes, factory, limits)).connection.leave()
    sockets, won = _sockets(), False
    for turns in itertools.count():
        opening = asyncio.create_task(connect(routes, factory, limits))
        for _ in range(turns):
            await asyncio.sleep(0)
        won = opening.done()
        opening.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            (await opening).connection.leave()  # it was not too late: the caller's own
        await wait_until(lambda: _sockets() <= sockets, what="every socket to be closed")
        if won:
            break
    server.close()
    await server.wait_closed()


def _sockets() -> int:
    """Number of open sockets of this process, on either side."""
    fds = Path("/proc/self/fd")
    return sum(os.readlink(fds / fd).startswith("socket:") for fd in _names(fds))


def _names(fds: Path) -> list[str]:
    return [fd for fd in os.listdir(fds) if (fds / fd).is_symlink()]
