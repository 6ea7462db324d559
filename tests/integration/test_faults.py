"""An unexpected exception is reported, costs its own request alone, and leaks nothing."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from typing import Any

import pytest

from monitor.common.compiled import COMPILED, form
from router.forwarding.attempts import Attempts
from router.forwarding.client_connection import ClientConnection
from router.forwarding.exchange import Exchange
from router.forwarding.response import Response
from router.forwarding.stats import Stats
from router.upstream.connection import UpstreamConnection
from router.upstream.opening import Opener, Opening
from router.wire.disconnects import DisconnectWatcher
from router.wire.request import RequestReader
from tests.integration.test_vanishing import NOTHING, held
from tests.testkit.data_plane import DataPlane
from tests.testkit.event_loops import each_loop, run_on
from tests.testkit.raw_http import OK, RawClient, ScriptedMirror, get, post, read_request
from tests.testkit.wait import wait_until_async as wait_until

PLACES = [
    (ClientConnection, "request_whole"),
    (ClientConnection, "_update_deadline"),
    (ClientConnection, "exchange_done"),
    (DisconnectWatcher, "forget"),
    (RequestReader, "end"),
    (Exchange, "begin"),
    (Exchange, "_admit"),
    (Exchange, "_attempt"),
    (Exchange, "send"),
    (Exchange, "_count"),
    (Exchange, "_settle"),
    (Exchange, "_leave_mirror"),
    (Attempts, "start"),
    (Attempts, "succeeded"),
    (Attempts, "give_back"),
    (Opener, "open"),
    (Opening, "_furnish"),
    (Response, "response_head"),
    (Response, "response_data"),
    (Response, "_commit"),
    (Response, "_give_back"),
    (Stats, "answered"),
    (Stats, "finished"),
    (UpstreamConnection, "ended"),
]


SILENT = post(body=b'{"silent": true}')


async def _answers_unless_silent(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter
) -> None:
    while b"silent" not in (await read_request(reader))[1]:
        writer.write(OK)
    await reader.read()


async def _answer_or_end(client: RawClient, request: bytes) -> None:
    with contextlib.suppress(ConnectionError, RuntimeError):  # uvloop: of a closed transport
        await client.send(request)
        await asyncio.wait_for(client.reader.read(1 << 16), 10)


class Planted(Exception):
    """Raised once, at one place."""


class Plant:
    """Makes a method raise once, the `nth` time it is called."""

    def __init__(self, patch: pytest.MonkeyPatch, owner: object, name: str, nth: int = 1) -> None:
        self.calls = 0
        self.raised = 0
        original = getattr(owner, name)

        def raising(*given: Any, **named: Any) -> Any:
            self.calls += 1
            if self.calls == nth:
                self.raised = 1
                raise Planted
            return original(*given, **named)

        patch.setattr(owner, name, raising)


async def _play(plant: Callable[[DataPlane], Plant]) -> None:
    """Requests during which something raises: that is reported, and nothing stays behind."""
    reported: list[dict[str, Any]] = []
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(lambda loop, context: reported.append(context))
    async with (
        ScriptedMirror(_answers_unless_silent) as mirror,
        DataPlane([mirror.table()]) as plane,
    ):
        on_wheel = len(plane.context.wheel)
        planted = plant(plane)
        client = await plane.connect()
        for _ in range(3):
            await _answer_or_end(client, post())
        client.writer.transport.abort()
        client = await plane.send(SILENT)
        await wait_until(lambda: plane.in_flight, what="the mirror to be asked")
        client.writer.transport.abort()
        await wait_until(lambda: planted.raised, what="the fault")
        await wait_until(lambda: held(plane) == NOTHING, what=f"{held(plane)} to be given back")
        assert len(plane.context.wheel) == on_wheel
        assert plane.context.limits.held == 0
        assert any(isinstance(context.get("exception"), Planted) for context in reported)
        assert (await plane.ask(get())).status == 200


@pytest.mark.skipif(
    form.name == COMPILED, reason="compiled code calls its methods without looking them up"
)
@pytest.mark.parametrize(
    ("owner", "name"), PLACES, ids=[f"{o.__name__}.{name}" for o, name in PLACES]
)
@each_loop
def test_a_fault_costs_its_own_request_alone(
    loop_name: str, owner: type, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    play = _play(lambda plane: Plant(monkeypatch, owner, name))
    run_on(loop_name, asyncio.wait_for(play, 30))


@pytest.mark.parametrize(
    ("part", "nth"), [("access", 1), ("wall", 1), *(("clock", n) for n in range(1, 9))]
)
@each_loop
def test_a_fault_of_a_part_that_was_handed_in_costs_its_own_request_alone(
    loop_name: str, part: str, nth: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The clock is looked at on all of a request's way: as it comes, and as its answer does."""
    play = _play(lambda plane: Plant(monkeypatch, plane.context, part, nth))
    run_on(loop_name, asyncio.wait_for(play, 30))


@each_loop
def test_a_deadline_that_raises_holds_up_nobody(
    loop_name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1 << 16)
        await reader.read(1 << 16)

    async def play() -> None:
        reported: list[dict[str, Any]] = []
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(lambda loop, context: reported.append(context))
        timeouts = {"timeouts": {"first_byte": "1s", "total": "1s"}, "retry": {"attempts": 1}}
        async with ScriptedMirror(silent) as mirror, DataPlane([mirror.table()], timeouts) as plane:
            plant = Plant(monkeypatch, Exchange, "expired")
            clients = [await plane.send(post()) for _ in range(20)]
            for client in clients:  # one is cut, the others are told
                await _answer_or_end(client, b"")
            assert plant.raised
            for client in clients:
                client.writer.transport.abort()
            await wait_until(lambda: held(plane) == NOTHING, what="everything to be given back")
        assert [type(context["exception"]) for context in reported] == [Planted]

    run_on(loop_name, asyncio.wait_for(play(), 30))
