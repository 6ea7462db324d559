"""A pretend resolver on the loopback address: UDP and TCP on one port, or HTTPS (RFC 8484).

async with DnsServer(Script({"alpha.mirror.test": [reply("203.0.113.7")]})) as resolver:
    ... resolver.port ... resolver.queries ...
"""

import asyncio
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

import dns.exception
import dns.message
import dns.rdatatype
from aiohttp import web

from tests.testkit.censor.dns_script import Script
from tests.testkit.censor.talks import Talks
from tests.testkit.certs import Leaf
from tests.testkit.ports import HOST

BIND_ATTEMPTS = 20
MEDIA_TYPE = "application/dns-message"


@dataclass(frozen=True, slots=True)
class Query:
    """A question, and the way it was asked."""

    transport: str
    """udp, tcp or https"""
    name: str
    kind: str
    """A, AAAA, ..."""


class _Answering:
    """Parts that all transports share."""

    def __init__(self, script: Script | None) -> None:
        self.script = script or Script()
        self.queries: list[Query] = []

    def _answers(self, wire: bytes, transport: str) -> list[tuple[float, bytes]]:
        """Return the answers of the script; none to what is no query."""
        try:
            query = dns.message.from_wire(wire)
        except dns.exception.DNSException:
            return []
        if not query.question:
            return []
        question = query.question[0]
        name = question.name.to_text(omit_final_dot=True).lower()
        self.queries.append(Query(transport, name, dns.rdatatype.to_text(question.rdtype)))
        return self.script.answers(query, udp=transport == "udp")


class DnsServer(_Answering):
    """Over UDP and TCP; a context manager."""

    def __init__(self, script: Script | None = None, host: str = HOST) -> None:
        super().__init__(script)
        self.host, self.port = host, 0
        self._datagrams: asyncio.DatagramTransport | None = None
        self._server: asyncio.Server | None = None
        self._talks = Talks(self._converse)
        self._later: set[asyncio.Task[None]] = set()

    @property
    def address(self) -> str:
        """HOST:PORT"""
        return f"{self.host}:{self.port}"

    async def __aenter__(self) -> Self:
        for left in reversed(range(BIND_ATTEMPTS)):
            self._server = await asyncio.start_server(self._talks.begin, self.host, 0)
            self.port = self._server.sockets[0].getsockname()[1]
            try:
                self._datagrams, _ = await asyncio.get_running_loop().create_datagram_endpoint(
                    lambda: _Datagrams(self), (self.host, self.port)
                )
            except OSError:
                self._server.close()
                if not left:
                    raise
            else:
                break
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        assert self._server is not None
        assert self._datagrams is not None
        self._server.close()
        self._datagrams.close()
        await self._talks.close()
        later = list(self._later)
        for task in later:
            task.cancel()
        await asyncio.gather(*later, return_exceptions=True)

    def reply_to(self, wire: bytes, client: Any) -> None:
        """Answer a datagram, now and later."""
        for after, answer in self._answers(wire, "udp"):
            task = asyncio.create_task(self._send(after, answer, client))
            self._later.add(task)
            task.add_done_callback(self._later.discard)

    async def _send(self, after: float, answer: bytes, client: Any) -> None:
        await asyncio.sleep(after)
        assert self._datagrams is not None
        self._datagrams.sendto(answer, client)

    async def _converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer queries that come with their length before them (RFC 1035 section 4.2.2)."""
        while length := await _exactly(2, reader):
            query = await _exactly(int.from_bytes(length), reader)
            for after, answer in self._answers(query, "tcp"):
                await asyncio.sleep(after)
                writer.write(len(answer).to_bytes(2) + answer)
                await writer.drain()


async def _exactly(length: int, reader: asyncio.StreamReader) -> bytes:
    """Read so many bytes; none at the end of the stream."""
    try:
        return await reader.readexactly(length)
    except asyncio.IncompleteReadError:
        return b""


class _Datagrams(asyncio.DatagramProtocol):
    def __init__(self, server: DnsServer) -> None:
        self._server = server

    def datagram_received(self, data: bytes, addr: Any) -> None:
        self._server.reply_to(data, addr)


class DohServer(_Answering):
    """Over HTTPS by POST, at /dns-query; silence is an answer that never comes."""

    def __init__(self, leaf: Leaf, script: Script | None = None, host: str = HOST) -> None:
        super().__init__(script)
        self.host, self.port, self._leaf = host, 0, leaf
        application = web.Application()
        application.router.add_post("/dns-query", self._post)
        self._runner = web.AppRunner(
            application, handler_cancellation=True, access_log=None, shutdown_timeout=0.1
        )

    @property
    def url(self) -> str:
        """By its address, for which the certificate must hold."""
        return f"https://{self.host}:{self.port}/dns-query"

    async def __aenter__(self) -> Self:
        await self._runner.setup()
        await web.TCPSite(
            self._runner, self.host, 0, ssl_context=self._leaf.server_context()
        ).start()
        self.port = self._runner.addresses[0][1]
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        await self._runner.cleanup()

    async def _post(self, request: web.Request) -> web.Response:
        if request.content_type != MEDIA_TYPE:
            raise web.HTTPUnsupportedMediaType
        answers = self._answers(await request.read(), "https")
        if not answers:
            await asyncio.Event().wait()
        after, answer = answers[0]
        await asyncio.sleep(after)
        return web.Response(body=answer, content_type=MEDIA_TYPE)
