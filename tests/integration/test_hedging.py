"""While a connection takes long to open, the request goes where one is ready."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from typing import Any

import pytest

from router.upstream import connector as connecting
from tests.testkit.data_plane import DataPlane
from tests.testkit.listener import fill_backlog, unanswered_port
from tests.testkit.raw_http import OK, ScriptedMirror, answering, get, post, read_request
from tests.testkit.wait import wait_until_async as wait_until


@pytest.mark.parametrize(
    ("request_bytes", "moves"),
    [(post(), True), (post("/v1/images/generations"), False)],
    ids=["one that may take a kept connection", "one that must not"],
)
async def test_a_request_moves_to_a_ready_connection(request_bytes: bytes, moves: bool) -> None:
    with unanswered_port() as port:
        slow = {"id": "a", "url": f"http://127.0.0.1:{port}", "addresses": ["127.0.0.1"]}
        async with ScriptedMirror(answering(OK), "b") as ready:
            served = {"paths": ["/v1/chat/", "/v1/images/"], "priority": 0}
            tables = [{**slow, **served}, ready.table(priority=1)]
            router = {"balance": {"policy": "priority"}, "timeouts": {"connect": "900ms"}}
            async with DataPlane(tables, router) as plane:
                assert (await plane.ask(get())).status == 200, "now one is ready"
                assert (await plane.ask(request_bytes)).status == 200
                assert plane.totals.get("mirrorgate_requests_moved") == moves
                assert bool(plane.totals.get("mirrorgate_retries", ("connect",))) is not moves
                kept = plane.context.recent_requests.find(plane.finished[-1].request_id)
                assert kept is not None
                first = ("a", "moved" if moves else "connect")
                assert [(t.mirror, t.outcome) for t in kept.tried] == [first, ("b", "success")]
                await wait_until(lambda: plane.in_flight == 0, what="nothing is in flight")


async def _moved(plane: DataPlane) -> None:
    assert (await plane.ask(get())).status == 200, "now one is ready"
    assert (await plane.ask(post())).status == 200
    assert plane.totals.get("mirrorgate_requests_moved") == 1


def _tables(port: int, ready: ScriptedMirror) -> list[dict[str, Any]]:
    slow = {"id": "a", "url": f"http://127.0.0.1:{port}", "addresses": ["127.0.0.1"]}
    return [{**slow, "paths": ["/v1/chat/"], "priority": 0}, ready.table(priority=1)]


PRIORITY = {"balance": {"policy": "priority"}}


async def test_a_connection_that_a_request_did_not_wait_for_counts_when_it_fails() -> None:
    with unanswered_port() as port:
        async with ScriptedMirror(answering(OK), "b") as ready:
            router = {**PRIORITY, "timeouts": {"connect": "900ms"}}
            async with DataPlane(_tables(port, ready), router) as plane:
                await _moved(plane)
                assert plane.suspected == []
                await wait_until(lambda: plane.suspected == ["a"], what="control to hear of it")
                assert plane.totals.get("mirrorgate_attempts", ("a", "connect")) == 1
                upstream = next(u for u in plane.context.upstreams if u.id == "a")
                assert upstream.watch.failed_last
                assert plane.in_flight == 0


async def test_a_connection_that_a_request_did_not_wait_for_is_there_for_the_next_one() -> None:
    with contextlib.ExitStack() as stack:
        deaf = stack.enter_context(socket.socket())
        deaf.bind(("127.0.0.1", 0))
        fill_backlog(deaf, stack)
        port = deaf.getsockname()[1]
        async with ScriptedMirror(answering(OK), "b") as ready:
            router = {
                **PRIORITY,
                "timeouts": {"connect": "9s"},
            }  # a SYN is sent again after 1 and 3
            async with DataPlane(_tables(port, ready), router) as plane:
                await _moved(plane)
                upstream = next(u for u in plane.context.upstreams if u.id == "a")
                deaf.setblocking(False)

                def accepted() -> bool:
                    with contextlib.suppress(BlockingIOError):
                        stack.enter_context(deaf.accept()[0])
                    return upstream.has_idle

                assert not upstream.has_idle
                await wait_until(accepted, what="the connection")
                assert (plane.in_flight, upstream.late) == (0, None)
                assert upstream.breaker.closed
                assert not upstream.watch.failed_last


async def test_a_connection_that_nobody_waits_for_ends_with_its_mirror() -> None:
    with unanswered_port() as port:
        async with ScriptedMirror(answering(OK), "b") as ready:
            async with DataPlane(_tables(port, ready), PRIORITY) as plane:
                await _moved(plane)
                assert plane.in_flight == 1
                plane.context.configure(plane.config([ready.table()]), plane.context.snapshot)
                assert plane.in_flight == 0


async def test_a_connection_that_was_kept_unused_may_be_stale_too(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A middlebox forgets idle connections; the mirror never saw the request that is reset."""
    tcp, opened = connecting._tcp, asyncio.Event()
    async with ScriptedMirror(answering(OK), "b") as ready:

        async def late(address: str, port: int, timeout: float) -> socket.socket:
            if port != ready.port:
                await opened.wait()
            return await tcp(address, port, timeout)

        async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await read_request(reader)
            if slow.connections > 1:
                writer.write(OK)

        monkeypatch.setattr(connecting, "_tcp", late)
        async with ScriptedMirror(script, "a") as slow:
            tables = [slow.table(priority=0, paths=["/v1/chat/"]), ready.table(priority=1)]
            async with DataPlane(tables, PRIORITY) as plane:
                await _moved(plane)
                opened.set()
                upstream = plane.context.upstreams.find("a")
                assert upstream is not None
                await wait_until(lambda: upstream.has_idle, what="the connection to be kept")
                assert (await plane.ask(post())).status == 200
                assert slow.connections == 2
