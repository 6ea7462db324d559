"""The operator's limits towards a mirror are never exceeded; further requests queue."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from functools import partial

import pytest

from router.admission.client_address import named_key
from router.admission.shared_table import Table
from tests.testkit.clock import ManualClock
from tests.testkit.data_plane import DataPlane
from tests.testkit.raw_http import (
    CONTENT,
    SWITCHED,
    UPGRADE,
    ScriptedMirror,
    get,
    post,
    read_request,
)
from tests.testkit.wait import wait_until_async as wait_until

OK = b'HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n{"id": 1}'


class Guarded(ScriptedMirror):
    """Answers when it is let, and notes how much is asked of it at once and in a second."""

    def __init__(self, hold: bool = False) -> None:
        super().__init__(self._play)
        self.go_on = asyncio.Event()
        if not hold:
            self.go_on.set()
        self.open = self.most_open = self.most_in_a_second = 0
        self.asked: list[bytes] = []
        self._arrivals: deque[float] = deque()

    async def _play(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.open += 1
        self.most_open = max(self.most_open, self.open)
        try:
            while True:
                head, _ = await read_request(reader)
                self._arrived(head)
                await self.go_on.wait()
                writer.write(SWITCHED if b"websocket" in head else OK)
        finally:
            self.open -= 1

    def _arrived(self, head: bytes) -> None:
        now = time.monotonic()
        self.asked.append(head)
        self._arrivals.append(now)
        while now - self._arrivals[0] >= 1:
            self._arrivals.popleft()
        self.most_in_a_second = max(self.most_in_a_second, len(self._arrivals))


def held(plane: DataPlane) -> int:
    """Places that are held in the table."""
    return plane.context.limits.held


def is_queued(plane: DataPlane, number: int) -> bool:
    """True if so many wait."""
    return len(plane.context.queue) == number


async def test_a_mirror_never_has_more_connections_than_it_may() -> None:
    async with Guarded() as mirror, DataPlane([mirror.table(max_connections=2)]) as plane:
        answers = await asyncio.gather(*(plane.ask(post()) for _ in range(20)))
        assert [answer.status for answer in answers] == [200] * 20
        assert mirror.most_open <= 2
        assert len(plane.context.queue) == 0


async def test_requests_that_take_no_used_connection_make_room_by_closing_one() -> None:
    async with Guarded() as mirror, DataPlane([mirror.table(max_connections=1)]) as plane:
        for _ in range(3):
            assert (await plane.ask(get())).status == 200
            assert (await plane.ask(post("/v1/images/generations"))).status == 200
        await wait_until(lambda: mirror.open <= 1, what="the others to be closed")
        assert held(plane) <= 1


async def test_callers_are_served_in_the_order_in_which_they_came() -> None:
    async with Guarded(hold=True) as mirror, DataPlane([mirror.table(max_connections=1)]) as plane:
        clients = []
        for number in range(4):
            clients.append(await plane.send(get(f"/v1/models/{number}")))
            await wait_until(partial(is_queued, plane, number), what="it is queued")
        mirror.go_on.set()
        for client in clients:
            assert (await client.response()).status == 200
        assert [head.split()[1][-1:] for head in mirror.asked] == [b"0", b"1", b"2", b"3"]


async def test_a_caller_who_leaves_the_line_is_not_served() -> None:
    async with Guarded(hold=True) as mirror, DataPlane([mirror.table(max_connections=1)]) as plane:
        first = await plane.send(get())
        await wait_until(lambda: mirror.asked, what="the first is on its way")
        second = await plane.send(get())
        await wait_until(lambda: len(plane.context.queue) == 1, what="the second waits")
        await second.close()
        await wait_until(lambda: len(plane.context.queue) == 0, what="the second has left")
        mirror.go_on.set()
        assert (await first.response()).status == 200
        assert len(mirror.asked) == 1


@pytest.mark.parametrize("queue", [{"max_waiting": 0}, {"max_wait": 0.05}])
async def test_a_client_that_finds_no_room_learns_when_to_come_back(
    queue: dict[str, float],
) -> None:
    async with Guarded(hold=True) as mirror:
        async with DataPlane([mirror.table(max_connections=1)], {"queue": queue}) as plane:
            first = await plane.send(get())
            await wait_until(lambda: mirror.asked, what="the first is on its way")
            answer = await plane.ask(get())
            assert (answer.status, answer.error["code"]) == (503, "queue_full")
            assert answer["retry-after"] == "2"
            mirror.go_on.set()
            assert (await first.response()).status == 200


async def test_another_mirror_with_room_is_taken_instead_of_waiting() -> None:
    async with Guarded(hold=True) as full, Guarded() as free:
        tables = [full.table(max_connections=1), {**free.table(), "id": "b"}]
        async with DataPlane(tables) as plane:
            answers = [await plane.send(get()) for _ in range(6)]
            await wait_until(lambda: len(free.asked) >= 5, what="the free one serves")
            full.go_on.set()
            for client in answers:
                assert (await client.response()).status == 200
            assert full.most_open <= 1


async def test_no_more_is_asked_in_a_second_than_a_mirror_allows() -> None:
    rate = 20
    async with (
        Guarded() as mirror,
        DataPlane([mirror.table(max_requests_per_second=rate)]) as plane,
    ):
        answers = await asyncio.gather(*(plane.ask(get()) for _ in range(25)))
        assert [answer.status for answer in answers] == [200] * 25
        assert mirror.most_in_a_second <= rate


async def test_connections_of_other_workers_count_towards_the_limit() -> None:
    table = Table.alone()
    async with (
        Guarded() as mirror,
        DataPlane([mirror.table(max_connections=1)], table=table) as plane,
    ):
        place = table.acquire(named_key("mirror", "a"), 1)
        waiting = await plane.send(get())
        await wait_until(lambda: len(plane.context.queue) == 1, what="it waits for another worker")
        assert not mirror.asked
        table.release(place)
        assert (await waiting.response()).status == 200


async def test_a_tunnel_holds_its_place_until_both_ends_are_gone() -> None:
    async with Guarded() as mirror, DataPlane([mirror.table(max_connections=1)]) as plane:
        client = await plane.send(get("/v1/realtime", *UPGRADE))
        assert (await client.head())[0] == 101
        assert held(plane) == 2, "the client's place and the connection's"
        await client.close()
        await wait_until(lambda: held(plane) == 0, what="the place is given back")


async def test_a_connection_that_cannot_be_opened_holds_no_place() -> None:
    dead = {"id": "a", "url": "http://127.0.0.1:1", "addresses": ["127.0.0.1"]}
    async with DataPlane([{**dead, "max_connections": 1}]) as plane:
        for _ in range(3):
            assert (await plane.ask(get())).status == 502
        assert held(plane) == 0


async def test_a_callers_own_limit_ends_the_wait_for_room_and_says_so() -> None:
    async with Guarded(hold=True) as mirror:
        clock = ManualClock()
        table = mirror.table(max_connections=1)
        async with DataPlane([table], wheel=clock.wheel, clock=clock) as plane:
            first = await plane.send(post("/v1/chat/completions"))
            await wait_until(lambda: plane.in_flight == 1, what="the mirror is full")
            request = post("/v1/chat/completions", b"{}", "x-mirrorgate-timeout: 3")
            answer = await clock.run(plane.ask(request))
            assert (answer.status, answer.error["code"]) == (503, "queue_full")
            await first.close()


STREAMED = b'{"model": "m", "stream": true}'
EVENTS = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nContent-Length: %d\r\n\r\n%b" % (
    len(CONTENT) + 14,
    CONTENT + b"data: [DONE]\n\n",
)


async def test_an_answer_says_at_which_place_its_request_has_waited() -> None:
    async with Guarded(hold=True) as mirror, DataPlane([mirror.table(max_connections=1)]) as plane:
        clients = []
        for number in range(4):
            clients.append(await plane.send(get()))
            await wait_until(partial(is_queued, plane, number), what="it is queued")
        mirror.go_on.set()
        answers = [await client.response() for client in clients]
        assert "x-mirrorgate-queue" not in answers[0]
        assert [answer["x-mirrorgate-queue"] for answer in answers[1:]] == ["1", "2", "3"]


async def test_a_refused_client_learns_how_many_wait_or_its_own_place() -> None:
    queue = {"max_waiting": 1, "max_wait": 0.5}
    async with Guarded(hold=True) as mirror:
        async with DataPlane([mirror.table(max_connections=1)], {"queue": queue}) as plane:
            await plane.send(get())
            await wait_until(lambda: mirror.asked, what="the first is on its way")
            waiting = await plane.send(get())
            await wait_until(partial(is_queued, plane, 1), what="the second is queued")
            refused = await plane.ask(get("/v1/models", "Origin: https://app.test"))
            assert (refused.status, refused["x-mirrorgate-queue"]) == (503, "1")
            assert "x-mirrorgate-queue" in refused["access-control-expose-headers"]
            assert refused.error["message"].startswith("Many requests, please wait")
            late = await waiting.response()
            assert (late.status, late["x-mirrorgate-queue"]) == (503, "1")


async def test_retry_after_is_the_time_that_waiting_takes() -> None:
    async with Guarded(hold=True) as mirror:
        queue = {"max_waiting": 1}
        async with DataPlane([mirror.table(max_connections=1)], {"queue": queue}) as plane:
            await plane.send(get())
            await wait_until(lambda: mirror.asked, what="the first is on its way")
            await plane.send(get())
            await wait_until(partial(is_queued, plane, 1), what="the second is queued")
            for waited, told in ((0.0, "2"), (7.2, "8"), (500.0, "60")):
                plane.context.queue._waiting._usual = waited
                refused = await plane.ask(get())
                assert refused["retry-after"] == told
                assert f"Try again in {told} s." in refused.error["message"]


@pytest.mark.parametrize("style", ["comment", "chunk"])
async def test_a_stream_that_waits_is_told_its_place(style: str) -> None:
    clock = ManualClock()
    released = asyncio.Event()

    async def play(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            await read_request(reader)
            await released.wait()
            writer.write(EVENTS)

    async with ScriptedMirror(play) as mirror:
        router = {"stream": {"keepalive": 1, "keepalive_style": style}}
        plane = DataPlane([mirror.table(max_connections=1)], router, wheel=clock.wheel, clock=clock)
        async with plane:
            await plane.send(post(body=STREAMED))
            await wait_until(lambda: plane.in_flight == 1, what="the first is on its way")
            ahead, behind = await plane.send(post(body=STREAMED)), await plane.connect()
            await wait_until(partial(is_queued, plane, 1), what="the second is queued")
            await behind.send(post(body=STREAMED))
            await wait_until(partial(is_queued, plane, 2), what="the third is queued")
            clock.advance(3)
            status, _, fields = await behind.head()
            assert (status, dict(fields)["x-mirrorgate-queue"]) == (200, "2")
            said = await behind.chunk()
            if style == "chunk":
                assert said is not None
                assert said.startswith(b"data: {")
                assert b'"x_mirrorgate_queue": 2' in said
                return
            assert said == b": waiting, position 2\n"
            await ahead.close()
            await wait_until(partial(is_queued, plane, 1), what="the second has left")
            clock.advance(3)
            assert await behind.chunk() == b": waiting, position 1\n"
            released.set()
            rest, complete = await behind.chunks()
            assert complete
            assert rest.replace(b": keepalive\n", b"").startswith(CONTENT)
