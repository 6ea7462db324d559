"""Others on the network that say whether we are online ourselves."""

from __future__ import annotations

import asyncio

from monitor.diagnosis.timing import NORMAL
from monitor.engine.anchors import Anchors
from tests.testkit.ports import free_port


async def test_a_question_meanwhile_waits_for_the_same_answer() -> None:
    anchors = Anchors(NORMAL, lambda: 100.0)
    anchors.configure([f"127.0.0.1:{free_port()}"])
    assert tuple(await asyncio.gather(anchors.ask(), anchors.ask())) == (False, False)
    assert anchors.silent
    assert not anchors.online


async def test_anchors_are_asked_once_a_second_at_most() -> None:
    now = [100.0]
    asked = []

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked.append(now[0])
        writer.close()

    anchors = Anchors(NORMAL, lambda: now[0])
    async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
        anchors.configure([f"127.0.0.1:{server.sockets[0].getsockname()[1]}"])
        for now[0] in (100.0, 100.9, 101.0):
            assert await anchors.ask()
    assert asked == [100.0, 101.0]
    assert anchors.online
