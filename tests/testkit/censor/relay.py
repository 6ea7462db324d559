"""A censor in user space: listens before real servers, reads hellos, and does as its rules say.

    async with Censor() as censor:
        port = await censor.listen(("127.0.0.2", "127.0.0.3"), upstream=("127.0.0.1", 8443))
        censor.rules = (Rule(exactly("blocked.test"), RST, residual=Residual(2.0)),)
        ...
        assert not censor.handshakes(sni="blocked.test", address="127.0.0.2", since=then)

The kernel answers SYNs for it, so a residual block shows once the hello is out, never in connect().
"""

import asyncio
import contextlib
import errno
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from random import Random
from typing import Self

from tests.testkit.censor.rules import (
    Action,
    End,
    Ending,
    Hello,
    HelloReader,
    Read,
    Relay,
    ResidualTable,
    Rule,
    Unread,
    decide,
)
from tests.testkit.listener import Conversations, Listener, ProtocolFactory, reset
from tests.testkit.ports import free_port

BIND_ATTEMPTS = 20

CHUNK = 65536
SLICES_A_SECOND = 8
"""A throttle lets bytes through this often."""
Ends = tuple[asyncio.StreamReader, asyncio.StreamWriter]
Address = tuple[str, int]


async def listen_on(
    addresses: tuple[str, ...], port: int, serve: ProtocolFactory
) -> list[Listener]:
    """Serve on all these addresses at one port, any free one if it is 0."""
    for left in reversed(range(1 if port else BIND_ATTEMPTS)):
        chosen = port or free_port()
        endpoints = [Listener(serve, address, chosen) for address in addresses]
        try:
            for endpoint in endpoints:
                await endpoint.become("serve")
        except OSError as taken:
            for endpoint in endpoints:
                endpoint.close()
            if taken.errno != errno.EADDRINUSE or not left:
                raise
        else:
            return endpoints
    raise AssertionError("every attempt returns or raises")


async def close(writer: asyncio.StreamWriter) -> None:
    """End the connection with a FIN, once everything is sent."""
    writer.close()
    with contextlib.suppress(OSError):
        await writer.wait_closed()


async def hold(reader: asyncio.StreamReader) -> None:
    """Keep the connection in silence until the other end gives up."""
    with contextlib.suppress(OSError):
        while await reader.read(CHUNK):
            pass


async def relay(client: Ends, upstream: Ends, limits: Relay) -> None:
    """Carry bytes both ways until both ends have ended; a reset of one resets the other."""
    try:
        async with asyncio.TaskGroup() as both:
            both.create_task(_carry(client[0], upstream[1]))
            both.create_task(_carry_within(limits, upstream[0], client[1]))
    except* OSError:
        reset(client[1].transport)
        reset(upstream[1].transport)


async def _carry(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(CHUNK):
        writer.write(data)
        await writer.drain()
    _end_writing(writer)


async def _carry_within(
    limits: Relay, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
) -> None:
    """Return after the end of the stream, or when nothing more may arrive."""
    left = min((n for n in (limits.freeze_after, limits.reset_after) if n is not None), default=-1)
    chunk = max(int(limits.rate / SLICES_A_SECOND), 1) if limits.rate else CHUNK
    while data := await reader.read(min(chunk, left) if left > 0 else chunk):
        if limits.rate:
            await asyncio.sleep(len(data) / limits.rate)
        writer.write(data)
        await writer.drain()
        left -= len(data)
        if left == 0:
            if limits.reset_after is not None:
                raise ConnectionResetError("enough was said")
            return
    _end_writing(writer)


def _end_writing(writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        writer.write_eof()


@dataclass(frozen=True, slots=True)
class Handshake:
    """A handshake on one connection, and the treatment of it."""

    at: float
    """Seconds of the censor's clock (time.monotonic)."""
    source: str
    address: str
    port: int
    read: Read
    action: str
    residual: bool
    """It suffered for an earlier one."""

    @property
    def sni(self) -> str | None:
        return self.read.sni if isinstance(self.read, Hello) else None


class Censor:
    """Owns listeners and connections, and gives all of them back; `rules` may change any time.

    `reassemble_tcp` and `reassemble_records` say how good a reader it is.
    """

    def __init__(
        self,
        rules: Sequence[Rule] = (),
        *,
        rng: Random | None = None,
        clock: Callable[[], float] = time.monotonic,
        reassemble_tcp: bool = True,
        reassemble_records: bool = True,
    ) -> None:
        self.rules = tuple(rules)
        self.log: list[Handshake] = []
        self.residual = ResidualTable()
        self._rng, self.clock = rng or Random(0), clock
        self._how = {"reassemble_tcp": reassemble_tcp, "reassemble_records": reassemble_records}
        self._endpoints: dict[Address, Listener] = {}
        self._upstreams: dict[Address, Address] = {}
        self._conversations = Conversations(self._serve)

    async def listen(self, addresses: Sequence[str], upstream: Address, port: int = 0) -> int:
        """Listen on all `addresses` before `upstream`; return the port, the same for all."""
        for endpoint in await listen_on(tuple(addresses), port, self._conversations.protocol):
            self._endpoints[endpoint.address, endpoint.port] = endpoint
            self._upstreams[endpoint.address, endpoint.port] = upstream
            port = endpoint.port
        return port

    async def become(self, mode: str, *addresses: str) -> None:
        """Serve, refuse or swallow (see `Listener`) at these addresses, at all if none is named."""
        for endpoint in self._endpoints.values():
            if not addresses or endpoint.address in addresses:
                await endpoint.become(mode)

    def cut(self, *addresses: str) -> None:
        """Reset the connections to these addresses, to all if none is named."""
        for writer in self._conversations:
            if not addresses or _ends(writer)[1] in addresses:
                reset(writer.transport)

    def handshakes(
        self,
        sni: str | None = None,
        address: str | None = None,
        since: float = float("-inf"),
        until: float = float("inf"),
    ) -> list[Handshake]:
        """Return those with this name, to this address, in this time; all if not given."""
        return [
            seen
            for seen in self.log
            if sni in (None, seen.sni)
            and address in (None, seen.address)
            and since <= seen.at < until
        ]

    async def close(self) -> None:
        """Stop listening and end every connection."""
        for endpoint in self._endpoints.values():
            endpoint.close()
        await self._conversations.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        read, said = await self._read(reader)
        if not said:
            return
        action = self._judge(read, _ends(writer))
        if action.delay:
            await asyncio.sleep(action.delay)
        if isinstance(action, End):
            await _end(action, reader, writer)
        else:
            await self._relay(action, said, reader, writer)

    async def _read(self, reader: asyncio.StreamReader) -> tuple[Read, bytes]:
        """Read the hello; what came of it, and the bytes."""
        hello, said = HelloReader(**self._how), b""
        read: Read = Unread.more
        while read is Unread.more and (segment := await reader.read(CHUNK)):
            said += segment
            read = hello.feed(segment)
        return read, said

    def _judge(self, read: Read, ends: tuple[str, str, int]) -> Action:
        now = self.clock()
        action, suffers = self.residual.meet(ends, now), True
        if action is None:
            rule, suffers = decide(self.rules, read, ends[1], self._rng), False
            action = rule.action
            if rule.residual is not None:
                self.residual.arm(ends, rule.residual, now)
        self.log.append(Handshake(now, *ends, read, action.name, suffers))
        return action

    async def _relay(
        self,
        action: Relay,
        said: bytes,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
    ) -> None:
        _, address, port = _ends(writer)
        host, upstream_port = action.divert or self._upstreams[address, port]
        try:
            upstream = await asyncio.open_connection(host, upstream_port)
        except OSError:
            reset(writer.transport)
            return
        try:
            upstream[1].write(said)
            await relay((reader, writer), upstream, action)
            await close(writer)
        finally:
            upstream[1].transport.abort()


def _ends(writer: asyncio.StreamWriter) -> tuple[str, str, int]:
    """Return who connected, and to which address and port."""
    address, port = writer.get_extra_info("sockname")
    return writer.get_extra_info("peername")[0], address, port


async def _end(action: End, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(action.say)
    if action.ending is Ending.rst:
        reset(writer.transport)
        return
    if action.ending is Ending.fin:
        writer.write_eof()
    await hold(reader)
