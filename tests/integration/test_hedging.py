"""While a connection takes long to open, the request goes where one is ready."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Iterator

import pytest

from tests.testkit.road import OK, Road, ScriptedMirror, answering, get, post
from tests.testkit.wait import wait_until_async as wait_until


@contextlib.contextmanager
def deaf_port() -> Iterator[int]:
    """A port whose backlog is full: a connection to it never completes."""
    with contextlib.ExitStack() as stack:
        deaf = stack.enter_context(socket.socket())
        deaf.bind(("127.0.0.1", 0))
        deaf.listen(0)
        for _ in range(3):
            filler = stack.enter_context(socket.socket())
            filler.setblocking(False)
            with contextlib.suppress(BlockingIOError):
                filler.connect(deaf.getsockname())
        yield deaf.getsockname()[1]


@pytest.mark.parametrize(
    ("request_bytes", "moves"),
    [(post(), True), (post("/v1/images/generations"), False)],
    ids=["one that may take a kept connection", "one that must not"],
)
async def test_a_request_moves_to_a_ready_connection(request_bytes: bytes, moves: bool) -> None:
    with deaf_port() as port:
        slow = {"id": "a", "url": f"http://127.0.0.1:{port}", "addresses": ["127.0.0.1"]}
        async with ScriptedMirror(answering(OK), "b") as ready:
            served = {"paths": ["/v1/chat/", "/v1/images/"], "priority": 0}
            tables = [{**slow, **served}, ready.table(priority=1)]
            router = {"balance": {"policy": "priority"}, "timeouts": {"connect": "900ms"}}
            async with Road(tables, router) as road:
                assert (await road.ask(get())).status == 200, "now one is ready"
                assert (await road.ask(request_bytes)).status == 200
                assert road.totals.get("mirrorgate_requests_moved") == moves
                assert bool(road.totals.get("mirrorgate_retries", ("connect",))) is not moves
                kept = road.context.recent_requests.find(road.finished[-1].request_id)
                assert kept is not None
                first = ("a", "moved" if moves else "connect")
                assert [(t.mirror, t.outcome) for t in kept.tried] == [first, ("b", "success")]
                await wait_until(lambda: road.in_flight == 0, what="nothing is in flight")
