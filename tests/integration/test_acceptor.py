"""Accepting clients, pausing, and stopping, in whatever order it is asked for."""

from __future__ import annotations

import asyncio
import socket

import pytest

from router.listener import Acceptor, bind
from tests.support.scenes import scene
from tests.support.wait import wait_until_async as wait_until


class Visitor(asyncio.Protocol):
    """Counts who comes."""

    def __init__(self, met: list[Visitor]) -> None:
        met.append(self)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        transport.close()


@pytest.mark.parametrize("turns", [0, 1, 2], ids=["at once", "a turn later", "two turns later"])
@scene
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


@scene
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


@scene
async def test_accepting_begins_once_there_are_descriptors_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    met: list[Visitor] = []
    fails = [OSError(24, "Too many open files")] * 2

    class FewDescriptors(socket.socket):
        def dup(self) -> FewDescriptors:
            if fails:
                raise fails.pop()
            return super().dup()

    listen = FewDescriptors(fileno=bind("127.0.0.1:0", "router.listen").detach())
    monkeypatch.setattr("router.listener._RETRY", 0.001)
    acceptor = Acceptor(listen, lambda: Visitor(met), None)
    acceptor.set(True)
    _, writer = await asyncio.open_connection(*listen.getsockname())
    await wait_until(lambda: met, what="who waited is let in")
    assert not fails
    writer.close()
    await writer.wait_closed()
    acceptor.stop()
