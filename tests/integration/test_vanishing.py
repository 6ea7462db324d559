"""A client or a mirror that vanishes at any point of a request's way leaves nothing held."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import ssl
from collections.abc import AsyncIterator, Callable
from typing import Any, cast

import pytest

from router.wire.closing import reset
from tests.cases.vanishing_points import BEFORE_A_MIRROR, ON_A_MIRROR, Point
from tests.testkit.certs import Authority
from tests.testkit.data_plane import DataPlane
from tests.testkit.event_loops import loop_test
from tests.testkit.listener import unanswered_port
from tests.testkit.processes import open_files
from tests.testkit.raw_http import RawClient, ScriptedMirror
from tests.testkit.wait import wait_until_async as wait_until

Leave = Callable[[asyncio.StreamWriter], None]
LEAVE: dict[str, Leave] = {
    "FIN": lambda writer: writer.close(),
    "RST": lambda writer: reset(cast(asyncio.Transport, writer.transport)),
}


def _fin(writer: asyncio.StreamWriter) -> None:
    """End TCP without a close_notify, as the kernel does for a process that is killed."""
    transport = cast(asyncio.Transport, writer.transport)
    with socket.socket(fileno=os.dup(transport.get_extra_info("socket").fileno())) as raw:
        with contextlib.suppress(OSError):  # the router was faster
            raw.shutdown(socket.SHUT_RDWR)
    transport.abort()


LEAVE_TLS: dict[str, Leave] = {"FIN": _fin, "RST": LEAVE["RST"]}
TIMEOUTS = {"timeouts": {"connect": 30, "tls": 30}}
EVERYWHERE = [*BEFORE_A_MIRROR, *ON_A_MIRROR]
Contexts = tuple[ssl.SSLContext, ssl.SSLContext]
NOTHING = dict.fromkeys(("in flight", "exchanges", "memory", "clients", "tasks"), 0)


def held(plane: DataPlane) -> dict[str, int]:
    """Resources that the worker holds for requests and clients."""
    context = plane.context
    tasks = [task for task in asyncio.all_tasks() if "/router/" in _file_of(task)]
    return {
        "in flight": plane.in_flight,
        "exchanges": len(context.exchanges),
        "memory": context.memory.used,
        "clients": len(context.connections),
        "tasks": len(tasks),
    }


def _file_of(task: asyncio.Task[Any]) -> str:
    code = getattr(task.get_coro(), "cr_code", None)
    return code.co_filename if code else ""


class Vanishing(ScriptedMirror):
    """A mirror that remembers its side of the connections."""

    def __init__(self, point: Point) -> None:
        self.writers: list[asyncio.StreamWriter] = []

        async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            self.writers.append(writer)
            await point.script(reader, writer)

        super().__init__(script)


async def _never(*_: Any, **__: Any) -> Any:
    await asyncio.get_running_loop().create_future()


@contextlib.asynccontextmanager
async def scenery(
    point: Point, tls: Contexts | None = None
) -> AsyncIterator[tuple[DataPlane, Vanishing]]:
    """The data plane with the mirror that the point needs."""
    with unanswered_port() as nobody:
        async with Vanishing(point) as mirror:
            table = mirror.table(**point.table)
            if table["url"] == "deaf":
                table["url"] = f"http://127.0.0.1:{nobody}"
            elif table["url"] == "https":
                table["url"] = f"https://127.0.0.1:{mirror.port}"
            elif point.table:
                table["addresses"] = []
            shown, trust = tls or (None, None)
            async with DataPlane([table], TIMEOUTS, tls=shown, trust=trust) as plane:
                yield plane, mirror


async def come_to(point: Point, plane: DataPlane, mirror: Vanishing) -> RawClient:
    """Send a request to the point."""
    client = await plane.send(point.sent)
    await wait_until(lambda: plane.context.connections, what="the client to be known")
    if point.table:
        await wait_until(lambda: plane.in_flight == 1, what="the attempt to begin")
    if point.asked:
        await wait_until(lambda: mirror.writers, what="the mirror to be connected")
    if point.seen:
        await asyncio.wait_for(client.reader.readuntil(point.seen), 10)
    if point.stalled:
        client.writer.transport.pause_reading()  # type: ignore[attr-defined]
        (door,) = cast(Any, plane.context.connections.all())
        await wait_until(lambda: door.transport.get_write_buffer_size(), what="the stall")
    for _ in range(20):
        await asyncio.sleep(0)  # what was written last arrives
    return client


async def nothing_is_held(plane: DataPlane, on_wheel: int, mirror: Vanishing) -> None:
    await wait_until(lambda: held(plane) == NOTHING, what=f"nothing but {held(plane)} to be held")
    await wait_until(lambda: len(plane.context.wheel) == on_wheel, what="no deadline to be left")
    for upstream in plane.context.upstreams:
        upstream.close_idle()
    await wait_until(lambda: mirror.closed == mirror.connections, what="mirrors to be released")


async def _vanish(point: Point, leave: Leave, tls: Contexts | None = None) -> None:
    """Bring a client to the point, let it vanish, and expect that nothing is left of it."""
    async with scenery(point, tls) as (plane, mirror):
        if "slow." in point.table.get("url", ""):
            cast(Any, plane.context).opener.resolver.addresses = _never
        on_wheel, files = len(plane.context.wheel), open_files(os.getpid())
        client = await come_to(point, plane, mirror)
        leave(client.writer)
        await nothing_is_held(plane, on_wheel, mirror)
        await wait_until(lambda: open_files(os.getpid()) <= files, what="descriptors to be closed")
        assert plane.suspected == []
        assert {end.outcome for end in plane.finished} <= {
            "client_abort",
            "success",
            "client_error",
        }


@pytest.mark.parametrize("leave", LEAVE.values(), ids=LEAVE)
@pytest.mark.parametrize("point", EVERYWHERE, ids=lambda point: point.name)
@loop_test
async def test_a_client_that_vanishes_leaves_nothing(point: Point, leave: Leave) -> None:
    await _vanish(point, leave)


@pytest.fixture(scope="module")
def tls(tmp_path_factory: pytest.TempPathFactory) -> Contexts:
    authority = Authority(tmp_path_factory.mktemp("tls"))
    return authority.issue().server_context(), authority.client_context()


@pytest.mark.parametrize("leave", LEAVE_TLS.values(), ids=LEAVE_TLS)
@pytest.mark.parametrize("point", EVERYWHERE, ids=lambda point: point.name)
@loop_test
async def test_a_client_that_vanishes_from_tls_leaves_nothing(
    point: Point, leave: Leave, tls: Contexts
) -> None:
    await _vanish(point, leave, tls)


@pytest.mark.parametrize("leave", LEAVE.values(), ids=LEAVE)
@pytest.mark.parametrize("point", ON_A_MIRROR, ids=lambda point: point.name)
@loop_test
async def test_a_mirror_that_vanishes_leaves_nothing(point: Point, leave: Leave) -> None:
    async with scenery(point) as (plane, mirror):
        on_wheel, files = len(plane.context.wheel), open_files(os.getpid())
        client = await come_to(point, plane, mirror)
        while mirror.writers:
            leave(mirror.writers.pop())
            if point.stalled or (point.half_closes and leave is LEAVE["FIN"]):
                break  # its end stands behind what the client does not read, or ends half of it
            await wait_until(lambda: _settled(plane, mirror), what="the end to be noticed")
        client.writer.transport.abort()
        await nothing_is_held(plane, on_wheel, mirror)
        await wait_until(lambda: open_files(os.getpid()) <= files, what="descriptors to be closed")


def _settled(plane: DataPlane, mirror: Vanishing) -> bool:
    """Nothing runs on the mirror, or the next request in a queue does."""
    return bool(mirror.writers) or plane.in_flight == 0
