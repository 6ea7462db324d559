"""A connection to a mirror: whom it tells what, and when it may be used again."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator

import pytest

from monitor.common.config import MirrorConfig
from monitor.common.settings import read
from monitor.health.snapshot import MirrorHealth, PathHealth, State
from router.upstream.connection import UpstreamConnection
from router.upstream.upstream import Upstream
from router.wire.fields import response_rules
from router.wire.response import ResponseHead
from router.wire.write_batch import WriteBatch
from tests.testkit.wait import wait_until_async

ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"


class User:
    """Notes what a connection tells."""

    def __init__(self) -> None:
        self.told: list[object] = []

    def informational(self, head: ResponseHead) -> None:
        self.told.append(head.status)

    def response_head(self, head: ResponseHead) -> None:
        self.told.append(head.status)

    def response_data(self, parts: list[bytes], ended: bool) -> None:
        self.told.append((b"".join(parts), ended))

    def switched(self, rest: bytes) -> None:
        self.told.append(("switched", rest))

    def response_failed(self, why: str, silent: bool) -> None:
        self.told.append(("failed", silent))

    def abort(self) -> None:
        self.told.append("fault")

    def upstream_full(self) -> None:
        self.told.append("full")

    def upstream_drained(self) -> None:
        self.told.append("drained")


class Pair:
    """A connection and the socket of its mirror."""

    def __init__(self) -> None:
        self.mirror, self.ours = socket.socketpair()
        self.ours.setblocking(False)
        buffer = memoryview(bytearray(1 << 15))
        self.connection = UpstreamConnection(buffer, response_rules(), WriteBatch())
        self.user = User()

    async def open(self) -> None:
        loop = asyncio.get_running_loop()
        await loop.create_connection(lambda: self.connection, sock=self.ours)
        self.connection.take(self.user, to_head=False)

    async def told(self, count: int) -> list[object]:
        """Return the user's output, once it is that much."""
        await wait_until_async(lambda: len(self.user.told) >= count, what="the user to be told")
        return self.user.told


@pytest.fixture
async def pair() -> AsyncIterator[Pair]:
    pair = Pair()
    await pair.open()
    yield pair
    pair.connection.leave()
    pair.mirror.close()
    await asyncio.sleep(0)


async def test_an_answer_is_told_and_the_connection_can_be_used_again(pair: Pair) -> None:
    pair.mirror.send(ANSWER)
    assert await pair.told(2) == [200, (b"{}", True)]
    assert pair.connection.reusable()
    pair.connection.release()
    pair.connection.take(pair.user, to_head=False)
    pair.mirror.send(ANSWER)
    assert (await pair.told(4))[2:] == [200, (b"{}", True)]
    assert pair.connection.used == 2


@pytest.mark.parametrize(
    ("data", "silent"), [(b"", True), (b"HTTP/1.1 2", False), (ANSWER[:-1], False)]
)
async def test_an_end_before_the_answers_is_a_failure(
    pair: Pair, data: bytes, silent: bool
) -> None:
    pair.mirror.send(data)
    pair.mirror.close()
    await wait_until_async(lambda: ("failed", silent) in pair.user.told, what="the failure")
    assert pair.connection.is_closed()
    assert not pair.connection.reusable()


async def test_an_end_that_is_the_bodys_end_is_told_as_such(pair: Pair) -> None:
    pair.mirror.send(b"HTTP/1.1 200 OK\r\n\r\nabc")
    pair.mirror.close()
    assert (await pair.told(3))[-1] == (b"", True)
    assert not pair.connection.reusable()


async def test_unsolicited_bytes_close_an_idle_connection(pair: Pair) -> None:
    pair.mirror.send(ANSWER)
    await pair.told(2)
    pair.connection.release()
    pair.mirror.send(ANSWER)
    await wait_until_async(lambda: pair.connection.is_closed(), what="the connection to close")
    assert len(pair.user.told) == 2


async def test_one_under_another_name_is_closed_once_the_own_name_comes_first(pair: Pair) -> None:
    mirror = read(MirrorConfig, {"id": "a", "url": "http://own.test", "hostnames": ["alt.test"]})
    own, alternate = _health("own.test", "alt.test"), _health("alt.test", "own.test")
    upstream, late = Upstream(mirror, alternate), Pair()
    await late.open()
    for each in (pair, late):
        each.connection.authority = b"alt.test"
    upstream.keep(pair.connection, 0.0)
    upstream.see(own, {}, 1.0)
    upstream.keep(late.connection, 1.0)
    assert upstream.take_idle(2.0) is None
    assert pair.connection.is_closed()
    assert late.connection.is_closed()
    late.mirror.close()


def _health(*names: str) -> MirrorHealth:
    """Paths over these names are open, in this order."""
    paths = tuple(PathHealth(name, "192.0.2.1", usable=True) for name in names)
    return MirrorHealth("a", State.up, paths=paths)


@pytest.mark.parametrize("ends", [True, False])
async def test_bytes_before_the_request_was_sent_are_no_answer_to_it(
    pair: Pair, ends: bool
) -> None:
    upstream = Upstream(read(MirrorConfig, {"id": "a", "url": "http://a.test"}), MirrorHealth("a"))
    pair.mirror.send(ANSWER)
    await pair.told(2)
    upstream.give_back(pair.connection, 0.0)
    connection = upstream.take_idle(1.0)
    assert connection is pair.connection
    connection.take(pair.user, to_head=False)
    connection.ask(b"GET / HTTP/1.1\r\nHost: a.test\r\n\r\n")
    # What else the event loop finds in the same turn.
    if ends:
        connection.eof_received()
    else:
        connection.get_buffer(-1)[: len(ANSWER)] = ANSWER
        connection.buffer_updated(len(ANSWER))
    assert pair.user.told[2:] == [("failed", True)]
    await wait_until_async(lambda: connection.is_closed(), what="the connection to close")
    await asyncio.sleep(0)
    assert pair.mirror.recv(100) == b""


async def test_the_answer_to_a_request_that_has_left_is_told(pair: Pair) -> None:
    for _ in range(2):
        pair.connection.ask(b"GET / HTTP/1.1\r\nHost: a.test\r\n\r\n")
        await asyncio.sleep(0)
        assert pair.mirror.recv(100).startswith(b"GET")
        pair.mirror.send(ANSWER)
        await wait_until_async(lambda: pair.connection.reusable(), what="the answer")
        pair.connection.release()
        pair.connection.take(pair.user, to_head=False)
    assert pair.user.told == [200, (b"{}", True)] * 2


async def test_a_connection_that_is_left_tells_nothing_more(pair: Pair) -> None:
    pair.connection.leave()
    pair.mirror.close()
    await wait_until_async(lambda: pair.connection.is_closed(), what="the connection to close")
    await asyncio.sleep(0)
    assert pair.user.told == []
