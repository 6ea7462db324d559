"""Probes count towards what a mirror may be asked; one that finds no room blames nobody."""

from __future__ import annotations

import pytest

from monitor.common.config import MirrorConfig, MonitorTimeouts
from monitor.common.settings import read
from monitor.engine.prober import Prober
from monitor.probes.capacity import NoCapacity
from monitor.probes.opening import Budget
from monitor.probes.results import Way
from router.admission.client_address import named_key
from router.admission.shared_table import Table
from router.control.monitor_capacity import SharedCapacity
from tests.testkit.raw_http import ScriptedMirror, answering

MODELS = b"HTTP/1.1 401 U\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}"


async def test_a_probe_takes_a_place_and_gives_it_back() -> None:
    table = Table.alone()
    held: list[int] = []

    class Watching(ScriptedMirror):
        async def _serve(self, reader, writer):
            held.append(table.held)
            await super()._serve(reader, writer)

    async with Watching(answering(MODELS)) as mirror:
        config = read(MirrorConfig, mirror.table(max_connections=1))
        prober = Prober(capacity=SharedCapacity(table))
        way = Way(config.host, "127.0.0.1")
        (result,) = (await prober.ask(config, [way], MonitorTimeouts(), Budget.of(5))).paths
        await prober.aclose()
    assert (result.last.failure, held, table.held) == (None, [1], 0)


async def test_a_probe_that_finds_no_room_is_put_off() -> None:
    table = Table.alone()
    async with ScriptedMirror(answering(MODELS)) as mirror:
        config = read(MirrorConfig, mirror.table(max_connections=1))
        place = table.acquire(named_key("mirror", config.id), 1)
        prober = Prober(capacity=SharedCapacity(table))
        way = Way(config.host, "127.0.0.1")
        with pytest.raises(NoCapacity):
            await prober.check_handshake(config, way, MonitorTimeouts(connect=0.05), Budget.of(5))
        assert mirror.connections == 0
        table.release(place)
        await prober.aclose()
    assert table.held == 0


async def test_a_mirror_without_limits_has_always_room() -> None:
    table = Table.alone()
    leave = await SharedCapacity(table).enter(read(MirrorConfig, {"id": "a", "url": "http://a"}), 0)
    assert table.held == 0
    leave()
