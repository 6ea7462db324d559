"""Writes that leave together, in order, and never to a connection that ends."""

from __future__ import annotations

import asyncio
from typing import cast

from router.wire.write_batch import AT_ONCE, WriteBatch


class FakeTransport:
    def __init__(self) -> None:
        self.written: list[bytes] = []
        self.closing = False

    def write(self, data: bytes) -> None:
        assert not self.closing
        self.written.append(data)

    def is_closing(self) -> bool:
        return self.closing


def _transport() -> tuple[FakeTransport, asyncio.Transport]:
    fake = FakeTransport()
    return fake, cast(asyncio.Transport, fake)


async def test_small_writes_wait_for_the_end_of_the_turn() -> None:
    outbox = WriteBatch()
    (one, first), (two, second) = _transport(), _transport()
    outbox.write(first, b"a")
    outbox.write(second, b"b")
    outbox.write(first, b"c")
    assert one.written == two.written == []
    await asyncio.sleep(0)
    assert (one.written, two.written) == ([b"a", b"c"], [b"b"])


async def test_a_large_piece_goes_at_once_and_takes_with_it_what_came_before() -> None:
    outbox = WriteBatch()
    fake, transport = _transport()
    outbox.write(transport, b"a")
    outbox.write(transport, b"x" * AT_ONCE)
    assert fake.written == [b"a", b"x" * AT_ONCE]


async def test_immediate_writes_never_overtake_waiting_ones() -> None:
    outbox = WriteBatch()
    fake, transport = _transport()
    outbox.write_now(transport, b"a")
    assert fake.written == [b"a"]
    outbox.write(transport, b"b")
    outbox.write_now(transport, b"c")
    assert fake.written == [b"a"]
    await asyncio.sleep(0)
    fake.closing = True
    outbox.write_now(transport, b"too late")
    assert fake.written == [b"a", b"b", b"c"]


async def test_a_last_write_waits_at_any_size() -> None:
    outbox = WriteBatch()
    fake, transport = _transport()
    outbox.write_last(transport, b"x" * 10 * AT_ONCE)
    assert fake.written == []
    before = outbox.flushes
    await asyncio.sleep(0)
    assert fake.written == [b"x" * 10 * AT_ONCE]
    assert outbox.flushes == before + 1


async def test_a_flush_comes_before_a_close_and_what_comes_after_is_dropped() -> None:
    outbox = WriteBatch()
    fake, transport = _transport()
    outbox.write(transport, b"last")
    outbox.flush()
    fake.closing = True
    outbox.write(transport, b"too late")
    await asyncio.sleep(0)
    assert fake.written == [b"last"]
