"""Whatever bytes go in, what leaves for a mirror is strict HTTP and only what was taken for it."""

from __future__ import annotations

import asyncio
import socket
from itertools import pairwise

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from router.forwarding.client_connection import ClientConnection
from router.forwarding.context import WorkerContext
from router.forwarding.exchange import Exchange
from tests.cases.malformed_requests import GROUPS
from tests.testkit.data_plane import DataPlane
from tests.testkit.event_loops import run_on
from tests.testkit.raw_http import StrictMirror
from tests.testkit.wait import wait_until_async

SEEDS = [
    case.data for cases in GROUPS.values() for case in cases if 0 < len(case.data) < 2048
]  # fmt: skip
PIECES = [
    *(b"\r\n", b"\n", b"\r", b"\0", b" ", b"\t", b":", b",", b";", b"0", b"\x0b", b"\x7f", b"\xff"),
    *(b"\r\n\r\n", b"Transfer-Encoding: chunked\r\n", b"Content-Length: 3\r\n", b"0\r\n\r\n"),
    *(b"Connection: upgrade\r\nUpgrade: h2c\r\n", b"Host: evil\r\n", b"Expect: 100-continue\r\n"),
    *(b"GET /v1/files/hidden HTTP/1.1\r\nHost: h\r\n\r\n", b" HTTP/1.1\r\n", b"../", b"%00", b"_"),
]
ANYWHERE = st.floats(0, 1)


@st.composite
def _mutated(draw: st.DrawFn) -> bytes:
    data = draw(st.sampled_from(SEEDS))
    for _ in range(draw(st.integers(1, 4))):
        a, b = sorted(int(draw(ANYWHERE) * len(data)) for _ in range(2))
        kind = draw(st.sampled_from(("insert", "delete", "repeat", "splice", "byte")))
        if kind == "insert":
            data = data[:a] + draw(st.sampled_from(PIECES)) + data[a:]
        elif kind == "delete":
            data = data[:a] + data[min(b, a + 20) :]
        elif kind == "repeat":
            data = data[:b] + data[a:b] + data[b:]
        elif kind == "splice":
            data = data[:a] + draw(st.sampled_from(SEEDS))
        else:
            data = data[:a] + draw(st.binary(min_size=1, max_size=2)) + data[a + 1 :]
    return data


class _CountingDoor(asyncio.BufferedProtocol):
    """A client connection before which stands what knows how much it has read, and whether it has
    gone."""

    def __init__(self, context: WorkerContext) -> None:
        self.read = 0
        self.lost = False
        self._connection = ClientConnection(context)
        self.connection_made = self._connection.connection_made  # type: ignore[method-assign]
        self.get_buffer = self._connection.get_buffer  # type: ignore[method-assign]
        self.eof_received = self._connection.eof_received  # type: ignore[method-assign]
        self.pause_writing = self._connection.pause_writing  # type: ignore[method-assign]
        self.resume_writing = self._connection.resume_writing  # type: ignore[method-assign]

    def buffer_updated(self, nbytes: int) -> None:
        self.read += nbytes
        self._connection.buffer_updated(nbytes)

    def connection_lost(self, exc: Exception | None) -> None:
        self._connection.connection_lost(exc)
        self.lost = True

    @property
    def gone(self) -> bool:
        """True if the connection has ended or belongs to aiohttp."""
        return self.lost or self._connection.transport.get_protocol() is not self


class _Gate:
    """A client of a data plane; it tells when nothing more will follow from its bytes."""

    def __init__(self, plane: DataPlane) -> None:
        self._context = plane.context
        self._door = _CountingDoor(plane.context)
        self._sent = 0

    async def take(self, pieces: list[bytes]) -> None:
        """Send these pieces, let everything that follows from them happen, and leave."""
        loop = asyncio.get_running_loop()
        ours, theirs = socket.socketpair()
        with ours:
            theirs.setblocking(False)
            await loop.create_connection(lambda: self._door, sock=theirs)
            for piece in pieces:
                self._sent += len(piece)
                try:
                    ours.sendall(piece)
                except ConnectionError:  # the answer to an earlier piece was the last
                    break
                await wait_until_async(self._at_rest, what="the router to be at rest")
        await wait_until_async(lambda: self._door.gone, what="the door to close")

    def _at_rest(self) -> bool:
        """Everything is read, or given to aiohttp, and no whole request is under way."""
        if any(not _waits_for_body(exchange) for exchange in self._context.exchanges):
            return False
        return self._door.gone or self._door.read == self._sent


def _waits_for_body(exchange: object) -> bool:
    assert isinstance(exchange, Exchange)
    return not exchange.body.complete


async def _send_all(examples: list[bytes], cuts: list[float]) -> tuple[StrictMirror, DataPlane]:
    mirror = StrictMirror()
    async with mirror, DataPlane([mirror.table()]) as plane:
        for data in examples:
            places = sorted({int(cut * len(data)) for cut in cuts} | {0, len(data)})
            pieces = [data[a:b] for a, b in pairwise(places)]
            await _Gate(plane).take(pieces)
    return mirror, plane


@settings(max_examples=80, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(_mutated(), min_size=1, max_size=8), st.lists(ANYWHERE, max_size=2))
def test_mutated_requests_never_bring_anything_malformed_to_a_mirror(
    examples: list[bytes], cuts: list[float]
) -> None:
    mirror, plane = run_on("uvloop", _send_all(examples, cuts))
    assert mirror.violations == []
    taken = iter([end.target for end in plane.finished])
    for request in mirror.requests:
        assert request.target in taken, "a request that nobody let in"
