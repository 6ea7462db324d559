"""A censor in user space: listens before real servers, reads hellos, and does as its rules say.

    async with Censor() as censor:
        port = await censor.listen(("127.0.0.2", "127.0.0.3"), upstream=("127.0.0.1", 8443))
        censor.rules = (Rule(exactly("blocked.test"), RST, residual=Residual(2.0)),)
        ...
        assert not censor.handshakes(sni="blocked.test", address="127.0.0.2", since=then)

The kernel answers SYNs for it, so a residual block shows once the hello is out, never in connect().
"""

import asyncio
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from random import Random
from types import TracebackType
from typing import Self

from tests.testkit.censor import pumps
from tests.testkit.censor.endpoint import Endpoint, listen_on
from tests.testkit.censor.hello import Hello, HelloReader, Read, Unread
from tests.testkit.censor.residual import ResidualTable
from tests.testkit.censor.rules import Action, End, Ending, Relay, Rule, decide
from tests.testkit.censor.talks import Talks

Address = tuple[str, int]


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
        self._endpoints: dict[Address, Endpoint] = {}
        self._upstreams: dict[Address, Address] = {}
        self._talks = Talks(self._serve)

    async def listen(self, addresses: Sequence[str], upstream: Address, port: int = 0) -> int:
        """Listen on all `addresses` before `upstream`; return the port, the same for all."""
        for endpoint in await listen_on(tuple(addresses), port, self._talks.begin):
            self._endpoints[endpoint.address, endpoint.port] = endpoint
            self._upstreams[endpoint.address, endpoint.port] = upstream
            port = endpoint.port
        return port

    async def become(self, mode: str, *addresses: str) -> None:
        """Serve, refuse or swallow (see `Endpoint`) at these addresses, at all if none is named."""
        for endpoint in self._endpoints.values():
            if not addresses or endpoint.address in addresses:
                await endpoint.become(mode)

    def cut(self, *addresses: str) -> None:
        """Reset the connections to these addresses, to all if none is named."""
        for writer in self._talks:
            if not addresses or _ends(writer)[1] in addresses:
                pumps.reset(writer)

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
        await self._talks.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
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
        while read is Unread.more and (segment := await reader.read(pumps.CHUNK)):
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
            pumps.reset(writer)
            return
        try:
            upstream[1].write(said)
            await pumps.relay((reader, writer), upstream, action)
            await pumps.close(writer)
        finally:
            upstream[1].transport.abort()


def _ends(writer: asyncio.StreamWriter) -> tuple[str, str, int]:
    """Return who connected, and to which address and port."""
    address, port = writer.get_extra_info("sockname")
    return writer.get_extra_info("peername")[0], address, port


async def _end(action: End, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(action.say)
    if action.ending is Ending.rst:
        pumps.reset(writer)
        return
    if action.ending is Ending.fin:
        writer.write_eof()
    await pumps.hold(reader)
