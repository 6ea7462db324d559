"""Ends of a WebSocket's tunnel, from either side, by every means, with bytes still on their way."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import pytest

from router.forwarding.tunnel import Tunnel
from tests.testkit.blocking_peers import FIN, RST, Peer, PeerListener
from tests.testkit.certs import Authority
from tests.testkit.clock import ManualClock
from tests.testkit.data_plane import DataPlane
from tests.testkit.event_loops import loop_test
from tests.testkit.raw_http import get
from tests.testkit.wait import wait_until_async as wait_until

UPGRADE = (
    "Connection: Upgrade",
    "Upgrade: websocket",
    "Sec-WebSocket-Version: 13",
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
)
SWITCH = (
    b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    b"Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n"
)
LARGE = 16_000_000
"""More than the kernel and the tunnel hold together with the buffers below."""
RECEIVE = 64 << 10


def pattern(size: int, seed: int) -> bytes:
    """Bytes whose order shows."""
    unit = b"".join(i.to_bytes(3, "big") for i in range(seed, seed + 10_000))
    return (unit * (size // len(unit) + 1))[:size]


UP, DOWN = pattern(LARGE, 1), pattern(LARGE, 500_000)


def is_up(data: bytes) -> bool:
    """Without a comparison that would print both."""
    return data == UP


def is_down(data: bytes) -> bool:
    return data == DOWN


@dataclass
class Joined:
    """A client and a mirror with a tunnel between them."""

    plane: DataPlane
    client: Peer
    mirror: Peer

    @property
    def ends(self) -> list[Any]:
        """The transports of the tunnel."""
        (exchange,) = self.plane.context.exchanges
        tunnel: Any = exchange._response._tunnel  # type: ignore[attr-defined]
        return [tunnel._client.transport, tunnel._mirror.transport]


@dataclass
class Secure:
    """Arguments for TLS."""

    server: ssl.SSLContext
    client: ssl.SSLContext
    ca_file: str


@pytest.fixture(scope="module")
def secure(tmp_path_factory: pytest.TempPathFactory) -> Secure:
    authority = Authority(tmp_path_factory.mktemp("authority"))
    return Secure(
        authority.issue().server_context(), authority.client_context(), str(authority.ca_file)
    )


@contextlib.asynccontextmanager
async def joined(secure: Secure, links: str = "plain-plain", **more: Any) -> AsyncIterator[Joined]:
    """A tunnel between a client and a mirror over these links; afterwards nothing is left of it."""
    of_client, of_mirror = (link == "tls" for link in links.split("-"))
    with PeerListener(secure.server if of_mirror else None, RECEIVE) as listening:
        table = listening.table(secure.ca_file)
        async with DataPlane([table], tls=secure.server if of_client else None, **more) as plane:
            context = secure.client if of_client else None
            accepted = asyncio.create_task(asyncio.to_thread(listening.accepted))
            client = await asyncio.to_thread(Peer.connected, plane.port, context, RECEIVE)
            await asyncio.to_thread(client.send, get("/v1/realtime?model=x", *UPGRADE))
            mirror = await accepted
            try:
                await asyncio.to_thread(mirror.head)
                await asyncio.to_thread(mirror.send, SWITCH)
                assert b" 101 " in await asyncio.to_thread(client.head)
                yield Joined(plane, client, mirror)
            finally:
                client.close()
                mirror.close()
            await wait_until(
                lambda: not plane.context.connections, what="the client's connection to end"
            )
            await wait_until(lambda: not plane.context.exchanges, what="the exchange to end")
            await wait_until(lambda: len(plane.context.wheel) == 1, what="places on the wheel")
            assert plane.in_flight == 0


LINKS = ("plain-plain", "tls-plain", "plain-tls", "tls-tls")
by_links = pytest.mark.parametrize("links", LINKS)
by_side = pytest.mark.parametrize("side", ["client", "mirror"])


def sides(tunnel: Joined, side: str) -> tuple[Peer, Peer]:
    """The side that ends it, and the other one."""
    both = (tunnel.client, tunnel.mirror)
    return both if side == "client" else both[::-1]


@by_side
@loop_test
async def test_a_half_close_is_relayed_and_the_other_direction_goes_on(
    side: str, secure: Secure
) -> None:
    async with joined(secure) as tunnel:
        first, second = sides(tunnel, side)
        await asyncio.to_thread(first.send, b"0123456789")
        await asyncio.to_thread(first.finish)
        assert await asyncio.to_thread(second.rest) == (b"0123456789", FIN)
        assert tunnel.plane.in_flight == 1
        await asyncio.to_thread(second.send, b"0123456789")
        await asyncio.to_thread(second.finish)
        assert await asyncio.to_thread(first.rest) == (b"0123456789", FIN)
        await wait_until(lambda: tunnel.plane.finished, what="its end")
        assert [end.outcome for end in tunnel.plane.finished] == ["success"]


@by_side
@loop_test
async def test_pending_data_both_ways_arrives_after_a_half_close(side: str, secure: Secure) -> None:
    async with joined(secure) as tunnel:
        first, second = sides(tunnel, side)
        sending = [
            asyncio.create_task(asyncio.to_thread(first.send, UP)),
            asyncio.create_task(asyncio.to_thread(second.send, DOWN)),
        ]
        ends = tunnel.ends
        await wait_until(lambda: not any(e.is_reading() for e in ends), what="both to be paused")
        assert not any(task.done() for task in sending)
        assert max(end.get_write_buffer_size() for end in ends) < 200_000, "back-pressure"
        got_second = asyncio.create_task(asyncio.to_thread(second.rest))
        await sending[0]
        await asyncio.to_thread(first.finish)
        got_first = asyncio.create_task(asyncio.to_thread(first.exactly, LARGE))
        await sending[1]
        data, how = await got_second
        assert (len(data), is_up(data), how) == (LARGE, True, FIN)
        assert is_down(await got_first)
        again = asyncio.create_task(asyncio.to_thread(second.send, DOWN))
        data = await asyncio.to_thread(first.exactly, LARGE)
        await again
        await asyncio.to_thread(second.finish)
        assert (len(data), is_down(data)) == (LARGE, True)
        assert await asyncio.to_thread(first.rest) == (b"", FIN)


@by_links
@by_side
@pytest.mark.parametrize("notice", [True, False], ids=["in order", "without close_notify"])
@loop_test
async def test_all_that_was_sent_before_an_end_arrives_over_any_link(
    links: str, side: str, notice: bool, secure: Secure
) -> None:
    async with joined(secure, links) as tunnel:
        first, second = sides(tunnel, side)
        pending = asyncio.create_task(asyncio.to_thread(first.send, UP))
        ends = tunnel.ends
        paused = ends[0 if side == "client" else 1]
        await wait_until(lambda: not paused.is_reading(), what="back-pressure")
        got = asyncio.create_task(asyncio.to_thread(second.rest))
        await pending
        await asyncio.to_thread(first.finish if notice else first.leave_without_notice)
        data, how = await got
        assert (len(data), is_up(data), how) == (LARGE, True, FIN)
        await asyncio.to_thread(second.finish)
        await wait_until(lambda: tunnel.plane.finished, what="its end")
        assert [end.outcome for end in tunnel.plane.finished] == ["success"]


@by_links
@by_side
@loop_test
async def test_an_end_over_tls_is_told_in_order_though_the_other_side_still_sends(
    links: str, side: str, secure: Secure
) -> None:
    async with joined(secure, links) as tunnel:
        first, second = sides(tunnel, side)
        reading = asyncio.to_thread(second.exactly_while_sending, 500_000, DOWN[:10_000])
        got = asyncio.create_task(reading)
        await asyncio.to_thread(first.exactly, 100_000)
        await asyncio.to_thread(first.send, UP[:500_000])
        await asyncio.to_thread(first.finish)
        assert await got == UP[:500_000]
        first.close()


def _until_refused(peer: Peer) -> None:
    with contextlib.suppress(OSError):
        for _ in range(10_000):
            peer.send(DOWN[:65536])


@by_links
@by_side
@loop_test
async def test_a_reset_is_told_as_one_behind_what_had_come_before(
    links: str, side: str, secure: Secure
) -> None:
    async with joined(secure, links) as tunnel:
        first, second = sides(tunnel, side)
        await asyncio.to_thread(second.send, DOWN[:20_000])
        await asyncio.to_thread(first.send, UP[:60_000])
        assert await asyncio.to_thread(second.exactly, 10_000) == UP[:10_000]
        transport = tunnel.ends[1 if side == "client" else 0]
        await wait_until(lambda: transport.get_write_buffer_size() == 0, what="all to be written")
        assert await asyncio.to_thread(second.exactly, 40_000) == UP[10_000:50_000]
        assert await asyncio.to_thread(first.exactly, 20_000) == DOWN[:20_000]
        first.reset()
        assert await asyncio.to_thread(second.rest) == (UP[50_000:60_000], RST)
        await wait_until(lambda: tunnel.plane.finished, what="its end")
        outcome = "client_abort" if side == "client" else "interrupted"
        assert [end.outcome for end in tunnel.plane.finished] == [outcome]


@by_links
@by_side
@loop_test
async def test_a_reset_with_much_on_its_way_is_no_clean_end(
    links: str, side: str, secure: Secure
) -> None:
    async with joined(secure, links) as tunnel:
        first, second = sides(tunnel, side)
        pending = asyncio.create_task(asyncio.to_thread(_until_refused, first))
        paused = tunnel.ends[0 if side == "client" else 1]
        await wait_until(lambda: not paused.is_reading(), what="back-pressure")
        first.reset()
        got, how = await asyncio.to_thread(second.rest)
        await pending
        stream = DOWN[:65536] * (len(got) // 65536 + 1)
        assert (how, got == stream[: len(got)]) == (RST, True)
        assert len(got) > RECEIVE


@by_side
@loop_test
async def test_a_tunnel_that_is_half_closed_and_silent_is_ended_in_time(
    side: str, secure: Secure
) -> None:
    clock = ManualClock(running=True)
    async with joined(secure, wheel=clock.wheel) as tunnel:
        first, second = sides(tunnel, side)
        await asyncio.to_thread(first.finish)
        assert await asyncio.to_thread(second.rest) == (b"", FIN)
        for _ in range(3):
            clock.advance(100)
            await asyncio.to_thread(second.send, b"still here")
            assert await asyncio.to_thread(first.exactly, 10) == b"still here"
        clock.advance(301)
        assert await asyncio.to_thread(first.rest) == (b"", RST)


@by_links
@loop_test
async def test_a_client_that_takes_nothing_is_given_up_and_the_mirror_is_told(
    links: str, secure: Secure
) -> None:
    clock = ManualClock(running=True)
    async with joined(secure, links, wheel=clock.wheel) as tunnel:
        pending = asyncio.create_task(asyncio.to_thread(_until_refused, tunnel.mirror))
        mirror = tunnel.ends[1]
        await wait_until(lambda: not mirror.is_reading(), what="back-pressure")
        clock.advance(59)
        assert not pending.done()
        clock.advance(3)
        await pending
        await wait_until(lambda: tunnel.plane.finished, what="its end")
        assert [end.outcome for end in tunnel.plane.finished] == ["client_abort"]


@by_links
@loop_test
async def test_a_worker_that_cuts_a_tunnel_says_so_to_both(links: str, secure: Secure) -> None:
    async with joined(secure, links) as tunnel:
        for door in tunnel.plane.context.connections.all():
            door.cut()
        assert await asyncio.to_thread(tunnel.client.rest) == (b"", RST)
        assert await asyncio.to_thread(tunnel.mirror.rest) == (b"", RST)


@by_links
@loop_test
async def test_data_sent_before_the_tunnel_opens_arrives_in_order(
    links: str, secure: Secure
) -> None:
    of_client, of_mirror = (link == "tls" for link in links.split("-"))
    early = 100_000
    with PeerListener(secure.server if of_mirror else None, RECEIVE) as listening:
        table = listening.table(secure.ca_file)
        async with DataPlane([table], tls=secure.server if of_client else None) as plane:
            context = secure.client if of_client else None
            accepted = asyncio.create_task(asyncio.to_thread(listening.accepted))
            client = await asyncio.to_thread(Peer.connected, plane.port, context, RECEIVE)
            request = get("/v1/realtime?model=x", *UPGRADE)
            await asyncio.to_thread(client.send, request + UP[:early])
            mirror = await accepted
            await asyncio.to_thread(mirror.head)
            door = next(iter(plane.context.connections.all()))
            transport: Any = door.transport  # type: ignore[attr-defined]
            await wait_until(lambda: not transport.is_reading(), what="the client to wait")
            answering = asyncio.create_task(asyncio.to_thread(mirror.send, SWITCH + DOWN))
            assert b" 101 " in await asyncio.to_thread(client.head)
            assert is_down(await asyncio.to_thread(client.exactly, LARGE))
            await answering
            assert await asyncio.to_thread(mirror.exactly, early) == UP[:early]
            client.close()
            mirror.close()


@loop_test
async def test_a_fault_in_a_tunnel_ends_it_for_both_and_leaves_nothing(secure: Secure) -> None:
    class Faulty:
        def feed(self, data: bytes) -> bytes:
            raise RuntimeError("a fault")

        def finish(self) -> bytes:
            return b""

    heard: list[Any] = []
    loop = asyncio.get_running_loop()
    before = loop.get_exception_handler()
    loop.set_exception_handler(lambda _, context: heard.append(context["exception"]))
    async with joined(secure) as tunnel:
        (exchange,) = tunnel.plane.context.exchanges
        exchange._response._tunnel.filter(Faulty(), Faulty())  # type: ignore[attr-defined]
        await asyncio.to_thread(tunnel.client.send, b"x")
        assert await asyncio.to_thread(tunnel.mirror.rest) == (b"", RST)
        assert await asyncio.to_thread(tunnel.client.rest) == (b"", RST)
    loop.set_exception_handler(before)
    assert [str(error) for error in heard] == ["a fault"]


@pytest.mark.parametrize("links", ["tls-plain", "tls-tls", "plain-plain"])
@loop_test
async def test_a_client_that_reads_slowly_gets_all_however_long_it_takes(
    links: str, secure: Secure
) -> None:
    clock, sent = ManualClock(running=True), DOWN[:2_000_000]
    async with joined(secure, links, wheel=clock.wheel) as tunnel:
        sending = asyncio.create_task(asyncio.to_thread(_send_and_finish, tunnel.mirror, sent))
        got = b""
        while len(got) < len(sent):
            got += await asyncio.to_thread(tunnel.client.exactly, min(50_000, len(sent) - len(got)))
            clock.advance(2)
        assert got == sent
        await sending


def _send_and_finish(peer: Peer, data: bytes) -> None:
    peer.send(data)
    peer.finish()


@by_links
@loop_test
async def test_a_client_that_is_reset_is_noticed_while_the_mirror_takes_nothing(
    links: str, secure: Secure
) -> None:
    async with joined(secure, links) as tunnel:
        client = tunnel.ends[0]
        await asyncio.to_thread(_until_stuck, tunnel.client)
        assert not client.is_reading()
        tunnel.client.reset()
        await wait_until(lambda: tunnel.plane.finished, what="its end")
        assert [end.outcome for end in tunnel.plane.finished] == ["client_abort"]


def _until_stuck(peer: Peer) -> None:
    """Send until nothing is taken for a while."""
    peer.sock.settimeout(0.5)
    with contextlib.suppress(TimeoutError):
        while True:
            peer.sock.send(DOWN[:65536])


@loop_test
async def test_a_tunnel_whose_deadline_cannot_be_handled_is_ended_all_the_same(
    secure: Secure, monkeypatch: pytest.MonkeyPatch
) -> None:
    reported: list[dict[str, Any]] = []
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(lambda loop, context: reported.append(context))

    def raises(tunnel: Tunnel) -> None:
        raise RuntimeError("planted")

    monkeypatch.setattr(Tunnel, "expired", raises)
    clock = ManualClock(running=True)
    async with joined(secure, wheel=clock.wheel) as tunnel:
        await asyncio.to_thread(tunnel.client.finish)
        await asyncio.to_thread(tunnel.mirror.rest)
        clock.advance(301)
        await wait_until(lambda: tunnel.plane.finished, what="its end")
    assert [str(context["exception"]) for context in reported] == ["planted"]
