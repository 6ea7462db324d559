"""Accepting clients, pausing, and stopping, in whatever order it is asked for."""

from __future__ import annotations

import asyncio
import errno
import os
import socket

import pytest

from monitor.common.metric_registry import MetricRegistry
from monitor.common.tasks import CRASHES, FAMILIES, Tasks
from router.process.listener import Acceptor, bind
from tests.testkit.event_loops import loop_test
from tests.testkit.wait import wait_until_async as wait_until


class Visitor(asyncio.Protocol):
    """Counts who comes."""

    def __init__(self, met: list[Visitor]) -> None:
        met.append(self)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        transport.close()


@pytest.mark.parametrize("turns", [0, 1, 2], ids=["at once", "a turn later", "two turns later"])
@loop_test
async def test_a_pause_holds_even_if_accepting_was_about_to_begin(turns: int) -> None:
    met: list[Visitor] = []
    listen = bind("127.0.0.1:0", "router.listen")
    acceptor = Acceptor(listen, lambda: Visitor(met), None)
    acceptor.set(True)
    for _ in range(turns):
        await asyncio.sleep(0)
    acceptor.set(False)
    for _ in range(5):
        await asyncio.sleep(0)
    _, writer = await asyncio.open_connection(*listen.getsockname())
    for _ in range(50):
        await asyncio.sleep(0)
    assert met == []
    acceptor.set(True)
    await wait_until(lambda: met, what="who waited is let in")
    writer.close()
    await writer.wait_closed()
    acceptor.stop()


@loop_test
async def test_nobody_is_accepted_after_a_stop_even_if_that_was_about_to_begin() -> None:
    listen = bind("127.0.0.1:0", "router.listen")
    address = listen.getsockname()
    acceptor = Acceptor(listen, asyncio.Protocol, None)
    acceptor.set(True)
    await asyncio.sleep(0)
    acceptor.stop()
    for _ in range(5):
        await asyncio.sleep(0)
    with pytest.raises(ConnectionRefusedError):
        await asyncio.open_connection(*address)


@pytest.mark.parametrize("proxied", [None, 5.0], ids=["plain", "proxied"])
@loop_test
async def test_accepting_that_fails_is_tried_again(proxied: float | None) -> None:
    """As where there was no descriptor left just when clients were to be let in again."""
    met: list[Visitor] = []
    totals = MetricRegistry(FAMILIES)
    listen = Stubborn(bind("127.0.0.1:0", "router.listen"))
    address = listen.getsockname()
    acceptor = Acceptor(listen, lambda *_: Visitor(met), None, proxied, Tasks(totals))
    acceptor.set(True)
    await wait_until(lambda: totals.get(CRASHES.name, ("accept",)) == 2)
    _, writer = await asyncio.open_connection(*address)
    if proxied is not None:
        writer.write(b"PROXY UNKNOWN\r\n")
    await wait_until(lambda: met, what="who came is let in")
    writer.close()
    await writer.wait_closed()
    acceptor.stop()


class Stubborn(socket.socket):
    """A listening socket that cannot be duplicated the first two times."""

    def __init__(self, listening: socket.socket) -> None:
        super().__init__(fileno=listening.detach())
        self.setblocking(False)
        self.failures = 2

    def dup(self) -> socket.socket:  # type: ignore[override]
        if self.failures:
            self.failures -= 1
            raise OSError(errno.EMFILE, "Too many open files")
        return socket.socket(fileno=os.dup(self.fileno()))
